"""One reconciliation: wait until there is something to rest upon, compare, send what is lacking, see that it arrived."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Final

from batch.reconcile.compare import compare
from batch.reconcile.counted import counted_and_stored
from batch.reconcile.mend import Found, Mender
from batch.reconcile.recipes import RECIPES, TOTALS
from batch.reconcile.truth import DAY_MS, Scope
from schemas import internal, topics
from schemas.outcomes import ALLOWED_LATENESS_MS
from schemas.results import ALL, Cell
from streamproc.agents.publisher import Message, Publisher
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings
from streamproc.errors import ConfigError, RetryableError
from streamproc.sinks.clickhouse_client import ClickHouse

_PATIENCE_S: Final = 120.0
_CHUNK_BYTES: Final = 512 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """What one run found, by measure, and how many cells it sent (0 in a dry run)."""

    day: date
    found: tuple[Found, ...]
    sent: int

    @property
    def drift(self) -> int:
        """Windows that differed for another reason than late events."""
        return sum(each.drift + each.wrong for each in self.found)

    @property
    def stuck(self) -> int:
        """Windows that hold more than silver: nothing that is added can mend them."""
        return sum(each.stuck for each in self.found)


class Steps:
    """What a run tells of its progress; the command shows it."""

    def __init__(self, step: Callable[[str], None], note: Callable[[str], None]) -> None:
        self.step = step
        self.note = note


async def reconcile(settings: Settings, day: date, steps: Steps, *, dry_run: bool = False) -> Report:
    """Reconcile one UTC day. A second run finds nothing to do.

    Raises:
        ConfigError: the day is not over.
        RetryableError: 'archive_behind', 'windows_behind', 'not_published', or what a server says.
        PermanentError: ClickHouse's reason.
    """
    day_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    over_ms = day_ms + DAY_MS + ALLOWED_LATENESS_MS
    if now_ms() < over_ms:
        raise ConfigError(
            f"--day {day}: its windows take events until {datetime.fromtimestamp(over_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC;"
            " allowed are days before that"
        )
    clickhouse = ClickHouse(settings.clickhouse_url.get_secret_value(), timeout_s=600.0)
    try:
        steps.step("waiting until archive and windows are as far as each other")
        scope = Scope(day_ms, await counted_and_stored(settings, clickhouse, steps.note))
        found = await _find(clickhouse, scope, day, steps)
        cells = [cell for each in found for cell in each.cells]
        if cells and not dry_run:
            steps.step(f"sending {len(cells)} cells")
            await _send(settings, cells)
            steps.step("waiting until they are published")
            await _published(clickhouse, cells)
        report = Report(day, tuple(found), 0 if dry_run else len(cells))
        if not dry_run:
            await _note_run(clickhouse, report)
        return report
    finally:
        await clickhouse.close()


async def _find(clickhouse: ClickHouse, scope: Scope, day: date, steps: Steps) -> list[Found]:
    mender = Mender(clickhouse, scope, day.isoformat())
    found: list[Found] = []
    for recipe in RECIPES:
        steps.step(f"comparing {recipe.measure}")
        found.append(await mender.mend(recipe, await compare(clickhouse, recipe, scope)))
    for measure, (topic, entity, amount) in TOTALS.items():
        steps.step(f"comparing {measure}")
        found.append(await mender.mend_totals(measure, topic, entity, amount))
    return found


async def _send(settings: Settings, cells: Sequence[Cell]) -> None:
    """The cells as records of window-partials, and every acknowledgement."""
    groups: dict[int, list[list[Cell]]] = {}
    for cell in cells:
        entity = cell.dimension_value if cell.size == ALL else ""
        place = internal.partition_of_window(cell.measure, cell.dimension, entity, settings.partitions)
        parts = groups.setdefault(place, [[]])
        if sum(len(each.data) + 120 for each in parts[-1]) > _CHUNK_BYTES:
            parts.append([])
        parts[-1].append(cell)
    topic = settings.topic(topics.WINDOW_PARTIALS)
    messages = [
        Message(topic, place, part[0].source.encode(), internal.encode(internal.Partials(part[0].source, 0, part)))
        for place, parts in groups.items()
        for part in parts
    ]
    publisher = Publisher(settings.bootstrap_servers)
    await publisher.start()
    try:
        await publisher.send_all(messages)
    finally:
        await publisher.stop()


async def _published(clickhouse: ClickHouse, cells: Sequence[Cell]) -> None:
    """Wait until all cells are stored by the windows worker: it stores cells first, then the values that follow."""
    waiting = {(c.measure, c.dimension, c.dimension_value, c.size, c.start_ms): c.version for c in cells}
    source, deadline = cells[0].source, monotonic() + _PATIENCE_S
    while True:
        rows = await clickhouse.rows(
            "SELECT measure, dimension, dimension_value, size, start_ms, version FROM meta.window_sources FINAL"
            " WHERE source = {source:String}",
            {"source": source},
        )
        left = sum(1 for *key, version in rows if waiting.get(tuple(key), -1) <= version and tuple(key) in waiting)
        if left == len(waiting):
            return
        if monotonic() > deadline:
            raise RetryableError(
                "not_published",
                f"{len(waiting) - left} of {len(waiting)} cells were sent but are not stored after {_PATIENCE_S:.0f} s;"
                " is a windows worker running? They will be taken in when it is",
            )
        await asyncio.sleep(0.5)


async def _note_run(clickhouse: ClickHouse, report: Report) -> None:
    """The run, and a row a measure, into the books."""
    now = now_ms()
    run_id = str(uuid.uuid4())
    details = json.dumps(
        {
            each.measure: {"late": each.late_events, "wrong": each.wrong, "drift": each.drift, "stuck": each.stuck}
            for each in report.found
            if each.late_events or each.wrong or each.drift or each.stuck
        }
    )
    stamp = f"fromUnixTimestamp64Milli(toInt64({now}), 'UTC')"
    await clickhouse.command(
        "INSERT INTO meta.job_runs (job, logical_date, run_id, attempt, status, started_at, finished_at, rows, error, details, version)"
        f" SELECT 'reconcile', toDate('{report.day}'), toUUID('{run_id}'), 1, 'done', {stamp}, {stamp}, {report.sent}, '', '{details}', {now}"
    )
    rows = ", ".join(
        f"('reconcile', 'gold.windows of {each.measure}', {stamp}, toUUID('{run_id}'),"
        f" '{'failed' if each.drift or each.wrong else 'passed'}', 'critical', {each.drift + each.wrong}, '0',"
        f" {max(0, each.drift + each.wrong)}, 'day {report.day}')"
        for each in report.found
    )
    await clickhouse.command(
        "INSERT INTO meta.quality_results (check_name, dataset, checked_at, run_id, status, severity, observed, expected,"
        f" failing_rows, details) VALUES {rows}"
    )
