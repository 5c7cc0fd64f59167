"""A backfill from its first slice to its last, with its progress in meta.job_runs so that a killed one goes on."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache

from batch.backfill.derive import Derived, Deriver, drop_old_staging
from batch.backfill.slices import Slice, slices_of
from schemas.topics import CHANGES, SOURCES
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import ConfigError
from streamproc.sinks.bronze import TABLES
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.key_store import KeyStore, keys_clickhouse
from streamproc.sinks.master_key import load_master_key
from streamproc.sinks.sealing import Sealing

JOB = "backfill silver"


@dataclass(slots=True)
class Run:
    """One run over days of ingestion; `done` are names of slices."""

    first: date
    last: date
    topics: tuple[str, ...]
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    started_ms: int = 0
    done: list[str] = field(default_factory=list)
    written: int = 0
    deleted: int = 0
    resumed: bool = False

    @property
    def what(self) -> dict[str, object]:
        """By which a run that was killed is known again."""
        return {"from": str(self.first), "to": str(self.last), "topics": list(self.topics)}


def topics_named(names: Sequence[str]) -> tuple[str, ...]:
    """Contract topics to derive; all if none is named.

    Raises:
        ConfigError: no such topic.
    """
    every = (*SOURCES, *CHANGES)
    for name in names:
        if name not in every:
            raise ConfigError(f"--topic {name}: allowed are {', '.join(every)}")
    return tuple(names) or every


async def backfill_silver(
    settings: Settings,
    first: date,
    last: date,
    topics: Sequence[str],
    planned: Callable[[int, int], None],
    advanced: Callable[[str, int], None],
) -> Run:
    """Derive silver again for what was ingested on these days (both included). Safe to repeat, to kill, and beside the stream.

    Args:
        planned: told how many rows of bronze there are, and how many of them are done already.
        advanced: told of each slice: its topic, and its rows.

    Raises:
        ConfigError: wrong days or topics.
        RetryableError, PermanentError: ClickHouse's reason.
    """
    if last < first:
        raise ConfigError(f"--to {last}: lies before --from {first}")
    clickhouse = ClickHouse(settings.clickhouse_url.get_secret_value(), timeout_s=600.0)
    try:
        await drop_old_staging(clickhouse)

        @cache
        def sealing() -> Sealing:
            return Sealing(KeyStore(keys_clickhouse(settings, clickhouse), load_master_key(settings)))

        run = await _begun(clickhouse, Run(first, last, topics_named(topics), started_ms=now_ms()))
        plan: dict[str, list[Slice]] = {}
        for topic in run.topics:
            plan[topic] = await slices_of(clickhouse, TABLES[topic], topic, first, last)
        known = set(run.done)
        every = [piece for pieces in plan.values() for piece in pieces]
        planned(sum(piece.rows for piece in every), sum(piece.rows for piece in every if piece.name in known))
        for topic, pieces in plan.items():
            left = [piece for piece in pieces if piece.name not in known]
            if not left:
                continue
            async with Deriver(clickhouse, topic, sealing) as deriver:
                _count(run, await deriver.derive_raised())
                for piece in left:
                    _add(run, piece, await deriver.derive(piece))
                    await _note(clickhouse, run, "running")
                    advanced(topic, piece.rows)
        await _note(clickhouse, run, "done")
        return run
    finally:
        await clickhouse.close()


def _add(run: Run, piece: Slice, derived: Derived) -> None:
    run.done.append(piece.name)
    _count(run, derived)


def _count(run: Run, derived: Derived) -> None:
    run.written += derived.written
    run.deleted += derived.deleted


async def _begun(clickhouse: ClickHouse, run: Run) -> Run:
    """The same run if it was killed before its end, else a new one."""
    rows = await clickhouse.rows(
        "SELECT toString(run_id), status, details, toUnixTimestamp64Milli(started_at) FROM meta.job_runs FINAL"
        " WHERE job = {job:String} ORDER BY started_at DESC",
        {"job": JOB},
    )
    for run_id, status, details, started_ms in rows:
        found = json.loads(details)
        if {name: found.get(name) for name in run.what} != run.what:
            continue
        if status != "running":
            break
        return Run(
            run.first, run.last, run.topics, run_id, started_ms, found["done"], found["written"], found["deleted"], True
        )
    return run


async def _note(clickhouse: ClickHouse, run: Run, status: str) -> None:
    details = json.dumps(run.what | {"done": run.done, "written": run.written, "deleted": run.deleted})
    ended = "NULL" if status == "running" else f"fromUnixTimestamp64Milli(toInt64({now_ms()}), 'UTC')"
    await clickhouse.command(
        "INSERT INTO meta.job_runs"
        " (job, logical_date, run_id, attempt, status, started_at, finished_at, rows, error, details, version)"
        f" SELECT '{JOB}', toDate('{run.first}'), toUUID('{run.run_id}'), 1, '{status}',"
        f" fromUnixTimestamp64Milli(toInt64({run.started_ms}), 'UTC'), {ended}, {run.written}, '', '{details}', {now_ms()}"
    )
