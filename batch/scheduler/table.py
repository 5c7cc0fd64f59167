"""The table of jobs: when each runs, how long it may take, what it waits for, what it writes. One place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from streamproc.errors import ConfigError

_HOUR: Final = 3600.0
_MINUTE: Final = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """One row. Times are seconds; `schedule` is a crontab line in `time_zone`.

    `body` is `module:function` (batch/scheduler/bodies.py), '' for a job that has none yet: it is listed and never runs. A missed run
    is caught up if it is not older than `grace_s`; with `coalesce` several missed runs become the newest of them, without it
    each is run, oldest first. `retries` are more attempts after a failure, `retry_pause_s` apart and doubling. A run waits for due runs
    of `depends_on`, for at most `grace_s`. `late_s`: a run that is not settled so long after it was due raises an alert. The day of
    a run is the local day of its time and `day_offset`.
    """

    id: str
    schedule: str
    purpose: str
    body: str
    writes: tuple[str, ...]
    grace_s: float
    timeout_s: float
    late_s: float
    time_zone: str = "UTC"
    coalesce: bool = True
    retries: int = 2
    retry_pause_s: float = 60.0
    depends_on: tuple[str, ...] = ()
    day_offset: int = 0

    @property
    def is_available(self) -> bool:
        """Whether there is something to run."""
        return bool(self.body)

    @property
    def is_daily(self) -> bool:
        """Minute and hour are fixed: once a local day, whatever the clocks do."""
        minute, hour, *_ = self.schedule.split()
        return minute.isdigit() and hour.isdigit()

    @property
    def takes_day(self) -> bool:
        """Whether a run by hand may name another day."""
        return self.is_daily and self.day_offset != 0

    def day_of(self, scheduled_ms: int) -> date:
        """The day that a run is for."""
        local = datetime.fromtimestamp(scheduled_ms / 1000, UTC).astimezone(ZoneInfo(self.time_zone))
        return local.date() + timedelta(days=self.day_offset)


@lru_cache(maxsize=256)
def trigger_of(schedule: str) -> Any:
    """APScheduler's trigger of a crontab line, for wall times (written as UTC).

    Raises:
        ValueError: the line is none.
    """
    from apscheduler.triggers.cron import CronTrigger

    return CronTrigger.from_crontab(schedule, timezone=UTC)


_BODIES: Final = "batch.scheduler.bodies"

JOBS: Final[tuple[Job, ...]] = (
    Job(
        "reconcile", "30 0 * * *", "yesterday's windows against silver; late events are brought in",
        f"{_BODIES}:reconcile_day", ("window-partials", "meta.quality_results"),
        # Each day is a run of its own: a day that was left out would stay without its late events.
        grace_s=5 * 24 * _HOUR, timeout_s=2 * _HOUR, late_s=3 * _HOUR, coalesce=False, retry_pause_s=300.0, day_offset=-1,
    ),
    Job(
        "youtube_daily", "0 2 * * *", "YouTube's channels, videos and analytics of yesterday",
        f"{_BODIES}:youtube_day", ("bronze.youtube", "silver.youtube_*"),
        grace_s=22 * _HOUR, timeout_s=4 * _HOUR, late_s=2 * _HOUR, coalesce=False, retry_pause_s=600.0, day_offset=-1,
    ),
    Job(
        "youtube_recent", "5 * * * *", "public statistics of recent videos, within what is left of the quota",
        "", ("bronze", "silver.youtube_videos"),
        grace_s=50 * _MINUTE, timeout_s=30 * _MINUTE, late_s=55 * _MINUTE,
    ),
    Job(
        "warehouse_build", "20 * * * *", "silver to gold by dbt, and the newest daily metrics into Redis",
        f"{_BODIES}:warehouse_build", ("gold", "sp:daily:*", "meta.datasets"),
        grace_s=55 * _MINUTE, timeout_s=50 * _MINUTE, late_s=2 * _HOUR, depends_on=("youtube_daily", "youtube_recent"),
    ),
    Job(
        "features", "*/15 * * * *", "feature vectors of users, channels and videos",
        "", ("gold.features_*", "sp:feature:*"),
        grace_s=14 * _MINUTE, timeout_s=14 * _MINUTE, late_s=20 * _MINUTE,
    ),
    Job(
        "quality", "45 * * * *", "the quality rules: completeness, freshness, volume, validity, uniqueness",
        "", ("meta.quality_results",),
        grace_s=50 * _MINUTE, timeout_s=30 * _MINUTE, late_s=1.5 * _HOUR, depends_on=("warehouse_build",),
    ),
    Job(
        "datasets", "50 * * * *", "what each table holds, how much and how fresh",
        f"{_BODIES}:count_datasets", ("meta.datasets",),
        grace_s=50 * _MINUTE, timeout_s=15 * _MINUTE, late_s=2 * _HOUR,
    ),
    Job(
        "retention", "0 4 * * *", "every table is kept as long as promised, by its own TTL",
        f"{_BODIES}:check_retention", (),
        grace_s=20 * _HOUR, timeout_s=15 * _MINUTE, late_s=6 * _HOUR,
    ),
)  # fmt: skip


def job_named(name: str, jobs: Iterable[Job] = JOBS) -> Job:
    """The job of that id.

    Raises:
        ConfigError: there is none.
    """
    known = {job.id: job for job in jobs}
    if name not in known:
        raise ConfigError(f"there is no job {name!r}; allowed are {', '.join(known)}")
    return known[name]
