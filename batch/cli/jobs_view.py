"""Tables and JSON of `streamproc jobs`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from batch.scheduler.due import SCHEDULE, Attempt, next_fire, plan
from batch.scheduler.table import Job

_STYLES = {"done": "green", "failed": "red", "lost": "yellow", "skipped": "yellow", "running": "cyan"}


def print_jobs(
    jobs: Sequence[Job], attempts: Mapping[str, Sequence[Attempt]], paused: set[str], now_ms: int, as_json: bool
) -> None:
    """Every job, its last attempt and its next run."""
    rows = [_job_row(job, attempts[job.id], job.id in paused, now_ms) for job in jobs]
    if as_json:
        typer.echo(orjson.dumps(rows).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("job", "schedule", "zone", "state", "last run (UTC)", "next (UTC)", "what"):
        table.add_column(name, no_wrap=name in ("job", "schedule"))
    for row in rows:
        last = f"{_styled(row['last_status'])} {_short(row['last_started'])}" if row["last_status"] else "-"
        table.add_row(
            row["job"], row["schedule"], row["time_zone"], row["state"], last, _short(row["next"]), row["purpose"],
        )  # fmt: skip
    Console().print(table)


def print_history(attempts: Iterable[Attempt], as_json: bool) -> None:
    """Attempts as they are in the books."""
    rows = [_attempt_row(each) for each in attempts]
    if as_json:
        typer.echo(orjson.dumps(rows).decode())
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("job", "due (UTC)", "day", "try", "status", "took", "rows", "units", "origin", "who", "error"):
        table.add_column(name, justify="right" if name in ("try", "took", "rows", "units") else "left")
    for row in rows:
        took = "" if row["seconds"] is None else f"{row['seconds']:.1f} s"
        table.add_row(
            row["job"], _short(row["scheduled_for"]), row["day"], str(row["attempt"]),
            _styled(row["status"]), took, f"{row['rows']:,}", str(row["quota_units"]), row["origin"],
            row["who"].rpartition(":")[0], row["error"],
        )  # fmt: skip
    Console().print(table)


def _job_row(job: Job, attempts: Sequence[Attempt], is_paused: bool, now_ms: int) -> dict[str, Any]:
    last = max(attempts, key=lambda each: each.started_ms, default=None)
    state = "paused" if is_paused else "ready"
    upcoming: int | None = None
    if not job.is_available:
        state = "not available"
    elif not is_paused:
        due = plan(job, [each for each in attempts if each.origin == SCHEDULE], now_ms)
        upcoming = due.not_before_ms if due is not None and due.scheduled_ms else next_fire(job, now_ms)
        state = "due" if upcoming <= now_ms else state
    return {
        "job": job.id, "schedule": job.schedule, "time_zone": job.time_zone, "state": state, "purpose": job.purpose,
        "last_status": last.status if last else "", "last_started": _iso(last.started_ms if last else None),
        "next": _iso(upcoming), "depends_on": list(job.depends_on), "writes": list(job.writes), "timeout_s": job.timeout_s,
        "grace_s": job.grace_s, "retries": job.retries, "coalesce": job.coalesce,
    }  # fmt: skip


def _attempt_row(each: Attempt) -> dict[str, Any]:
    return {
        "job": each.job, "scheduled_for": _iso(each.scheduled_ms), "day": each.day.isoformat(), "attempt": each.attempt,
        "status": each.status, "origin": each.origin, "started": _iso(each.started_ms), "ended": _iso(each.ended_ms),
        "seconds": None if each.ended_ms is None else (each.ended_ms - each.started_ms) / 1000, "rows": each.rows,
        "quota_units": each.quota_units, "error": each.error, "who": each.who, "details": each.details,
    }  # fmt: skip


def _iso(ms: int | None) -> str | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds")


def _styled(status: str) -> str:
    return f"[{_STYLES[status]}]{status}[/]"


def _short(iso: str | None) -> str:
    return "-" if iso is None else iso[:16].replace("T", " ")
