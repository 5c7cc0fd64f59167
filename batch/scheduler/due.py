"""What is due, from the table and the books alone; pure: the time is an argument."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from batch.scheduler.table import Job, trigger_of

RUNNING: Final = "running"
DONE: Final = "done"
FAILED: Final = "failed"
SKIPPED: Final = "skipped"
LOST: Final = "lost"

SCHEDULE: Final = "schedule"
BY_HAND: Final = "hand"

#: A run whose process died so often is given up: it may be the run that kills it.
MAX_LOST: Final = 5
_LONGEST_PAUSE_MS: Final = 3_600_000
#: Missed times that are counted one by one.
_MOST_FIRES: Final = 5000
#: By how much clocks are ever set forward or back at once.
_LARGEST_SHIFT: Final = timedelta(hours=3)
_LARGEST_SHIFT_MS: Final = 3 * 3_600_000

#: A run waits for others for this share of its grace, and not for one that rests longer than this.
_PATIENCE_SHARE: Final = 0.9
_REST_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt of one run as the books have it; times are epoch ms, `ended_ms` None while it runs.

    `details` may have `final` (no further attempt), `first_due_ms` (the oldest due time that the run stands for) and `coalesced`.
    """

    job: str
    scheduled_ms: int
    day: date
    attempt: int
    status: str
    origin: str
    started_ms: int
    ended_ms: int | None
    who: str
    version: int
    rows: int = 0
    quota_units: int = 0
    error: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The next run of a job, to begin at `not_before_ms`.

    `attempt` counts from 1. `first_due_ms` is the oldest due time that it stands for, `coalesced` how many it stands for beside its own.
    `left_running` was begun by somebody and never ended. `skipped`: the newest time that is too old to catch up, and how many.
    `scheduled_ms` is 0 if there is nothing to run, only to note.
    """

    scheduled_ms: int
    attempt: int
    first_due_ms: int
    not_before_ms: int
    coalesced: int = 0
    left_running: Attempt | None = None
    skipped: tuple[int, int] | None = None


def fire_times(job: Job, after_ms: int, until_ms: int, most: int = _MOST_FIRES) -> list[int]:
    """Due times in (after, until], epoch ms, ascending; at most `most`.

    A daily job fires once a local day: where clocks go forward over its time, as late as if they had not; where they go back, at the
    first of the two. Others fire in both of two equal hours. APScheduler's trigger is asked for wall times only: in a zone of its
    own it gives a daily job twice in autumn, and passes over the midnight after clocks went forward.
    """
    zone = ZoneInfo(job.time_zone)
    trigger = trigger_of(job.schedule)
    wall = datetime.fromtimestamp(after_ms / 1000, zone).replace(tzinfo=UTC) - _LARGEST_SHIFT
    found: set[int] = set()
    enough_ms: int | None = None
    while (wall := trigger.get_next_fire_time(None, wall + timedelta(milliseconds=1))) is not None:
        first_ms = _instant_ms(wall, zone, 0)
        for moment_ms in {first_ms} if job.is_daily else {first_ms, _instant_ms(wall, zone, 1)}:
            if after_ms < moment_ms <= until_ms:
                found.add(moment_ms)
        # Times of an hour that comes twice are found out of order, so what was found last may not be the end.
        if len(found) >= most and enough_ms is None:
            enough_ms = first_ms
        if first_ms - _LARGEST_SHIFT_MS > (until_ms if enough_ms is None else enough_ms):
            break
    return sorted(found)[:most]


def _instant_ms(wall: datetime, zone: ZoneInfo, fold: int) -> int:
    return round(wall.replace(tzinfo=zone, fold=fold).timestamp() * 1000)


def next_fire(job: Job, after_ms: int) -> int:
    """The first due time after a moment."""
    return fire_times(job, after_ms, after_ms + 400 * 86_400_000, most=1)[0]


def newest_run(attempts: Iterable[Attempt]) -> list[Attempt]:
    """The attempts of the newest scheduled run, in order; [] if there was none."""
    scheduled = [each for each in attempts if each.origin == SCHEDULE]
    if not scheduled:
        return []
    newest = max(each.scheduled_ms for each in scheduled)
    return sorted((each for each in scheduled if each.scheduled_ms == newest), key=lambda each: each.attempt)


def is_settled(job: Job, run: Sequence[Attempt]) -> bool:
    """Whether nothing more will be tried for this run (all of its attempts, in order)."""
    last = run[-1]
    if last.status in (DONE, SKIPPED) or (last.status == FAILED and last.details.get("final")):
        return True
    if last.status == FAILED:
        return sum(each.status == FAILED for each in run) > job.retries
    return False


def plan(job: Job, attempts: Iterable[Attempt], now_ms: int) -> Plan | None:
    """What is next for a job by its books; None if nothing is due."""
    run = newest_run(attempts)
    oldest_ms = now_ms - int(job.grace_s * 1000)
    after_ms = run[-1].scheduled_ms if run else oldest_ms - 1
    fires = fire_times(job, after_ms, now_ms)
    left = run[-1] if run and run[-1].status == RUNNING else None
    if run and not is_settled(job, run):
        newer_counts = job.coalesce and fires
        if run[-1].scheduled_ms >= oldest_ms and not newer_counts:
            first = int(run[-1].details.get("first_due_ms", run[-1].scheduled_ms))
            return Plan(run[-1].scheduled_ms, run[-1].attempt + 1, first, _again_ms(job, run), left_running=left)
    within = [each for each in fires if each >= oldest_ms]
    missed = fires[: len(fires) - len(within)]
    skipped = (missed[-1], len(missed)) if missed else None
    if not within:
        return Plan(0, 0, 0, now_ms, left_running=left, skipped=skipped) if left or skipped else None
    if not run:
        # The first run ever: the newest time, and nobody promised it before now.
        return Plan(within[-1], 1, now_ms, within[-1])
    if job.coalesce:
        return Plan(within[-1], 1, within[0], within[-1], len(within) - 1, left, skipped)
    return Plan(within[0], 1, within[0], within[0], 0, left, skipped)


def _again_ms(job: Job, run: Sequence[Attempt]) -> int:
    """When the next attempt of an unsettled run may begin: at once if its process died, after a pause if it failed."""
    last = run[-1]
    if last.status != FAILED or last.ended_ms is None:
        return last.scheduled_ms
    failures = sum(each.status == FAILED for each in run)
    pause_ms = int(job.retry_pause_s * 1000) << (failures - 1)
    return max(last.ended_ms + min(_LONGEST_PAUSE_MS, pause_ms), int(last.details.get("resume_at_ms", 0)))


def waits_for(job: Job, due: Plan, others: Iterable[tuple[Job, Sequence[Attempt]]], now_ms: int) -> str:
    """The job whose due run must be settled first; '' if there is none, it rests (for quota), or it was waited for long enough."""
    # Before `plan` calls it too old: it is to run then, not to be skipped.
    if now_ms >= due.scheduled_ms + int(job.grace_s * _PATIENCE_SHARE * 1000):
        return ""
    for other, attempts in others:
        if other.id not in job.depends_on or not other.is_available:
            continue
        found = plan(other, attempts, now_ms)
        if (
            found is not None
            and 0 < found.scheduled_ms <= due.scheduled_ms
            and found.not_before_ms <= now_ms + _REST_MS
        ):
            return other.id
    return ""
