"""The metadata store `meta.datasets`: what lies where, how much of it, how fresh, how long kept, and who answers for it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from schemas.datasets import DATASETS, Dataset
from schemas.retention import RETENTION
from streamproc import __version__
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.migrate import known_migrations
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, Column, block, integers, nullable_integers, texts


@dataclass(frozen=True, slots=True)
class Described:
    """One table as it is now. `newest` is UTC, None if it is empty; `retention_days` 0 means for ever.

    `schema_version` is the number of the migration that changed it last, or `models VERSION` for what dbt makes
    (`store VERSION`: the key store).
    """

    dataset: Dataset
    schema_version: str
    partitions: int
    rows: int
    size: int
    newest: datetime | None
    retention_days: int


async def refresh(clickhouse: ClickHouse, settings: Settings) -> list[Described]:
    """Count what there is, write it to meta.datasets, and return it; tables that are not there yet are left out.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    sizes = {
        name: (rows, size)
        for name, rows, size in await clickhouse.rows(
            "SELECT database || '.' || name, ifNull(total_rows, 0), ifNull(total_bytes, 0) FROM system.tables"
            " WHERE database IN ('bronze', 'silver', 'gold', 'meta', 'keys') AND engine LIKE '%MergeTree'"
        )
    }
    parts = {
        name: (partitions, written)
        for name, partitions, written in await clickhouse.rows(
            "SELECT database || '.' || table, uniqExact(partition), max(modification_time) FROM system.parts"
            " WHERE active GROUP BY 1"
        )
    }
    versions, kept = _versions(), {each.dataset: max(each.days, default=0) for each in RETENTION}
    found = []
    for dataset in DATASETS:
        if dataset.name not in sizes:
            continue
        rows, size = sizes[dataset.name]
        partitions, written = parts.get(dataset.name, (0, None))
        newest = await _newest(clickhouse, dataset, written) if rows else None
        # Keys have a store of their own, which makes its tables itself.
        made = "models" if dataset.layer == "gold" else "store"
        version = versions.get(dataset.name, f"{made} {__version__}")
        found.append(Described(dataset, version, partitions, rows, size, newest, kept.get(dataset.name, 0)))
    await clickhouse.insert("meta.datasets", *_encoded(found, settings))
    return found


async def _newest(clickhouse: ClickHouse, dataset: Dataset, written: datetime | None) -> datetime | None:
    if not dataset.newest:
        return written
    rows = await clickhouse.rows(f"SELECT max({dataset.newest}) FROM {dataset.name}")  # noqa: S608 (names of ours)
    newest: datetime = rows[0][0]
    return newest


def _versions() -> dict[str, str]:
    """Table -> the migration that named it last in a statement that makes or changes a table."""
    versions = {}
    for migration in known_migrations():
        for statement in migration.statements:
            match = re.match(r"\s*(?:CREATE|ALTER) TABLE (?:IF NOT EXISTS )?([a-z]+\.[a-z0-9_]+)", statement)
            if match:
                versions[match[1]] = f"{migration.version:04}"
    return versions


def _encoded(found: list[Described], settings: Settings) -> tuple[tuple[str, ...], bytes]:
    url = urlsplit(settings.clickhouse_url.get_secret_value())
    columns: list[Column] = [
        texts("dataset", [each.dataset.name for each in found]),
        texts("layer", [each.dataset.layer for each in found]),
        texts("purpose", [each.dataset.purpose for each in found]),
        texts("owner", [each.dataset.owner for each in found]),
        texts("schema_version", [each.schema_version for each in found]),
        texts("location", [f"clickhouse://{url.hostname}:{url.port or 8123}/{each.dataset.name}" for each in found]),
        integers("partitions", "UInt64", [each.partitions for each in found]),
        integers("rows", "UInt64", [each.rows for each in found]),
        integers("bytes", "UInt64", [each.size for each in found]),
        nullable_integers("newest", DATETIME_MS, [_ms(each.newest) for each in found]),
        integers("retention_days", "UInt32", [each.retention_days for each in found]),
        integers("updated_at", DATETIME_MS, [now_ms()] * len(found)),
    ]
    return tuple(name for name, _, _ in columns), block(columns, len(found))


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp() * 1000)
