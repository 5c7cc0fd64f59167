"""Alerts of jobs, derived from the books alone: whoever reads the same books says the same, under the same ids."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Final

from batch.scheduler.due import DONE, FAILED, SCHEDULE, Attempt, fire_times, is_settled, newest_run
from batch.scheduler.table import Job
from schemas.alerts import AlertState, AlertTransition

JOB_FAILED: Final = "job_failed"
JOB_LATE: Final = "job_late"

_SEVERITY: Final = {JOB_FAILED: "critical", JOB_LATE: "warning"}


def transitions(job: Job, attempts: Iterable[Attempt], now_ms: int) -> list[AlertTransition]:
    """Every transition that the books of a job lead to, in order. The numbers of an instance grow with the time of its run,
    so that of two that meet the later has the last word."""
    found = list(attempts)
    return [*_failed(job, found), *_late(job, found, now_ms)]


def overdue_ms(job: Job, attempts: Iterable[Attempt], now_ms: int) -> tuple[int, int]:
    """(since when the oldest unsettled run is due, for how long), (0, 0) if none is. A time that is too old to be caught
    up counts too, until the books have it as skipped."""
    run = newest_run(attempts)
    if run and not is_settled(job, run):
        first = int(run[-1].details.get("first_due_ms", run[-1].scheduled_ms))
        return first, now_ms - first
    # Without any books nobody promised anything yet.
    fires = fire_times(job, run[-1].scheduled_ms, now_ms, most=1) if run else []
    return (fires[0], now_ms - fires[0]) if fires else (0, 0)


def _failed(job: Job, attempts: Sequence[Attempt]) -> list[AlertTransition]:
    """Firing when a run failed for good, resolved by the next that is done, by schedule or by hand."""
    out: list[AlertTransition] = []
    firing = False
    for scheduled_ms, run in _runs(attempts):
        last = run[-1]
        if last.ended_ms is None:
            continue
        failed = last.status == FAILED and (last.origin != SCHEDULE or is_settled(job, run))
        # A run by hand that fails is seen by whoever started it.
        if failed and last.origin == SCHEDULE:
            firing = True
            text = f"job {job.id} failed for {last.day} after {last.attempt} attempts: {last.error}"
            out.append(_transition(JOB_FAILED, job, scheduled_ms, AlertState.FIRING, text, last.ended_ms))
        elif last.status == DONE and firing:
            firing = False
            text = f"job {job.id} is done again ({last.day})"
            out.append(_transition(JOB_FAILED, job, scheduled_ms, AlertState.RESOLVED, text, last.ended_ms))
    return out


def _late(job: Job, attempts: Sequence[Attempt], now_ms: int) -> list[AlertTransition]:
    """Firing when a run is not settled `late_s` after it was due, resolved when it is."""
    out: list[AlertTransition] = []
    limit_ms = int(job.late_s * 1000)
    text = f"job {job.id} is late: due for more than {job.late_s / 3600:g} h"
    for scheduled_ms, run in _runs([each for each in attempts if each.origin == SCHEDULE]):
        ended_ms = run[-1].ended_ms
        first_ms = int(run[-1].details.get("first_due_ms", scheduled_ms))
        if ended_ms is not None and is_settled(job, run) and ended_ms - first_ms > limit_ms:
            out.append(_transition(JOB_LATE, job, first_ms, AlertState.FIRING, text, first_ms + limit_ms))
            done = f"job {job.id} is late no more: {run[-1].status}"
            out.append(_transition(JOB_LATE, job, scheduled_ms, AlertState.RESOLVED, done, ended_ms))
    since_ms, waited_ms = overdue_ms(job, attempts, now_ms)
    if since_ms and waited_ms > limit_ms:
        out.append(_transition(JOB_LATE, job, since_ms, AlertState.FIRING, text, since_ms + limit_ms))
    return out


def _runs(attempts: Sequence[Attempt]) -> list[tuple[int, list[Attempt]]]:
    ordered = sorted(attempts, key=lambda each: (each.scheduled_ms, each.origin, each.attempt))
    return [(key[0], list(run)) for key, run in groupby(ordered, key=lambda each: (each.scheduled_ms, each.origin))]


def _transition(rule: str, job: Job, run_ms: int, state: AlertState, summary: str, at_ms: int) -> AlertTransition:
    """All of it follows from the books: two schedulers write the same bytes."""
    identity = hashlib.sha256(f"{rule}/{job.id}".encode()).hexdigest()[:16]
    seq = run_ms // 1000 * 2 + (1 if state is AlertState.FIRING else 2)
    return AlertTransition(
        transition_id=hashlib.sha256(f"{identity}/{seq}/{state}".encode()).hexdigest()[:32],
        fingerprint=identity, seq=seq, rule=rule, severity=_SEVERITY[rule], state=state, labels={"job": job.id},
        metric="", window="", window_start_ms=0, window_end_ms=0, value=None,
        threshold=job.late_s if rule == JOB_LATE else 1.0, operator=">=", unit="s" if rule == JOB_LATE else "runs",
        summary=summary[:1000], event_time_ms=at_ms, recorded_at_ms=at_ms,
    )  # fmt: skip
