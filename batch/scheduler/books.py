"""The books of the scheduler: every attempt in meta.job_runs, pauses in meta.job_pauses."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import date, datetime
from typing import Final

import orjson

from batch.scheduler.due import Attempt
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, Column, block, integers, nullable_integers, texts

#: How many attempts of a job the planning looks back; a run has a handful.
_RECENT: Final = 60
_NAMESPACE: Final = uuid.UUID("5f1c1f6e-6d7b-4f0c-9c39-7a3f6a0d0e55")

_COLUMNS: Final = (
    "job, toUnixTimestamp64Milli(scheduled_for), logical_date, attempt, status, origin, toUnixTimestamp64Milli(started_at),"
    " if(isNull(finished_at), NULL, toUnixTimestamp64Milli(assumeNotNull(finished_at))), who, version, rows, quota_units,"
    " error, details"
)


def run_id(job: str, scheduled_ms: int, attempt: int, origin: str) -> str:
    """The identity of an attempt: the same whoever writes it, however often."""
    return str(uuid.uuid5(_NAMESPACE, f"{origin}/{job}/{scheduled_ms}/{attempt}"))


class Books:
    """Reads and writes them. Nothing is retried here.

    Every method raises RetryableError or PermanentError with ClickHouse's reason.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    async def recent(self, jobs: Sequence[str]) -> dict[str, list[Attempt]]:
        """The newest attempts of each job by schedule or by hand, newest first."""
        # A run by hand says nothing about what is due, so that it must not crowd out those that do.
        sql = (
            f"SELECT {_COLUMNS} FROM meta.job_runs FINAL WHERE job IN {{jobs:Array(String)}} AND origin != ''"  # noqa: S608 (names of ours)
            f" ORDER BY job, scheduled_for DESC, attempt DESC LIMIT {_RECENT} BY job, origin"
        )
        found: dict[str, list[Attempt]] = {job: [] for job in jobs}
        for row in await self._clickhouse.rows(sql, {"jobs": list(jobs)}):
            found[row[0]].append(_attempt(row))
        return found

    async def history(self, job: str, limit: int) -> list[Attempt]:
        """Attempts of one job ('' : of all), the last begun first."""
        sql = (
            f"SELECT {_COLUMNS} FROM meta.job_runs FINAL WHERE origin != '' AND (job = {{job:String}} OR {{job:String}} = '')"  # noqa: S608 (names of ours)
            " ORDER BY started_at DESC, job LIMIT {limit:UInt32}"
        )
        return [_attempt(row) for row in await self._clickhouse.rows(sql, {"job": job, "limit": limit})]

    async def write(self, attempt: Attempt) -> None:
        """Note an attempt; of two that say different things of the same one, the higher version counts."""
        columns: list[Column] = [
            texts("job", [attempt.job]),
            texts("logical_date", [attempt.day.isoformat()]),
            texts("run_id", [run_id(attempt.job, attempt.scheduled_ms, attempt.attempt, attempt.origin)]),
            integers("attempt", "UInt16", [attempt.attempt]),
            texts("status", [attempt.status]),
            integers("started_at", DATETIME_MS, [attempt.started_ms]),
            nullable_integers("finished_at", DATETIME_MS, [attempt.ended_ms]),
            integers("rows", "UInt64", [attempt.rows]),
            texts("error", [attempt.error]),
            texts("details", [orjson.dumps(dict(attempt.details), default=str).decode()]),
            integers("version", "UInt64", [attempt.version]),
            integers("scheduled_for", DATETIME_MS, [attempt.scheduled_ms]),
            texts("origin", [attempt.origin]),
            integers("quota_units", "UInt64", [attempt.quota_units]),
            texts("who", [attempt.who]),
        ]
        await self._clickhouse.insert("meta.job_runs", [name for name, _, _ in columns], block(columns, 1))

    async def paused(self) -> dict[str, tuple[str, datetime]]:
        """Job -> who paused it and when, of those that are paused."""
        rows = await self._clickhouse.rows(
            "SELECT job, changed_by, changed_at FROM meta.job_pauses FINAL WHERE paused ORDER BY job"
        )
        return {job: (who, when) for job, who, when in rows}

    async def pause(self, job: str, paused: bool, who: str, now_ms: int) -> None:
        """Pause a job, or let it go on."""
        columns: list[Column] = [
            texts("job", [job]),
            integers("paused", "UInt8", [int(paused)]),
            integers("changed_at", DATETIME_MS, [now_ms]),
            texts("changed_by", [who]),
        ]
        await self._clickhouse.insert("meta.job_pauses", [name for name, _, _ in columns], block(columns, 1))


def _attempt(row: tuple[object, ...]) -> Attempt:
    job, scheduled, day, attempt, status, origin, started, ended, who, version, rows, units, error, details = row
    assert isinstance(day, date)
    return Attempt(
        str(job), _int(scheduled), day, _int(attempt), str(status), str(origin), _int(started),
        None if ended is None else _int(ended), str(who), _int(version), _int(rows), _int(units), str(error),
        orjson.loads(str(details)) if details else {},
    )  # fmt: skip


def _int(value: object) -> int:
    return int(str(value))
