"""Small makers of what the sinks take, and a way to run one coroutine with a connection."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import tests.support  # noqa: F401 (sets the master key, also where no test runs: fuzzing)
from schemas.results import Cell, MetricValue
from streamproc.config import Settings
from streamproc.sinks.bronze import BronzeBatch, BronzeSink
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.dead_letters_store import DeadLetters
from streamproc.sinks.key_store import KeyStore
from streamproc.sinks.master_key import load_master_key
from streamproc.sinks.sealing import Sealing

T = TypeVar("T")

MINUTE = 60_000
START = 1_795_341_600_000
"""2026-11-22T10:00:00Z."""


def with_clickhouse(url: str, act: Callable[[ClickHouse], Awaitable[T]], timeout_s: float = 20.0) -> T:
    """Run with a connection that is closed afterwards."""

    async def run() -> T:
        clickhouse = ClickHouse(url, timeout_s)
        try:
            return await act(clickhouse)
        finally:
            await clickhouse.close()

    return asyncio.run(run())


def user_event(number: int, **fields: Any) -> dict[str, Any]:
    """A valid user event with an id of its own."""
    return {
        "event_id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
        "schema_version": "1.0.0",
        "occurred_at": "2026-11-22T10:00:00.123Z",
        "user_id": number,
        "activity_type": "view",
        **fields,
    }


def batch(
    log_id: str, offsets: list[int], payloads: list[Any], topic: str = "user-events", errors: tuple[str, ...] = ()
) -> BronzeBatch:
    """A batch of partition 0; dictionaries become JSON. All are user 7's unless they say whose, also what is no event."""
    encoded = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in payloads]
    users = [each.get("user_id") if isinstance(each, dict) else None for each in payloads]
    owners = [user if isinstance(user, int) and user < 2**63 else 7 for user in users]
    times = [START + offset for offset in offsets]
    return BronzeBatch(topic, 0, log_id, offsets, times, [b"k"] * len(offsets), encoded, errors, owners=owners)


def cell(measure: str, version: int, data: bytes = b"x", source: str = "t/0/log", **fields: Any) -> Cell:
    """A cell of a minute window."""
    known = {"dimension": "", "dimension_value": "", "size": "1m", "start_ms": START}
    return Cell(measure=measure, source=source, version=version, data=data, **(known | fields))


def value(metric: str, version: int, number: float | None = 1.0, start_ms: int = START, **fields: Any) -> MetricValue:
    """A value of a minute window."""
    known: dict[str, Any] = {
        "size": "1m",
        "dimension": "",
        "dimension_value": "",
        "count": 1,
        "sum_e4": 0,
        "status": "open",
        "late": 0,
        "updated_at_ms": START + version % 1000,
    }
    known |= fields
    return MetricValue(
        metric=metric,
        window_start_ms=start_ms,
        window_end_ms=start_ms + MINUTE,
        value=number,
        version=version,
        **known,
    )


MASTER = load_master_key(Settings())
"""All tests that share a server share its master key (tests/support/__init__.py)."""


def key_store(clickhouse: ClickHouse, **options: Any) -> KeyStore:
    """The store of users' keys on a server that tests share."""
    return KeyStore(clickhouse, MASTER, **options)


def bronze_sink(clickhouse: ClickHouse) -> BronzeSink:
    """Bronze as the archive worker writes it."""
    return BronzeSink(clickhouse, Sealing(key_store(clickhouse)))


def dead_letters(clickhouse: ClickHouse) -> DeadLetters:
    """meta.dead_letters as the archive worker writes it."""
    return DeadLetters(clickhouse, Sealing(key_store(clickhouse)))
