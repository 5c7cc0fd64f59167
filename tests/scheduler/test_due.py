"""What is due: days on which clocks change, missed runs, attempts, and what waits for what."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from batch.scheduler.due import (
    BY_HAND,
    DONE,
    FAILED,
    LOST,
    RUNNING,
    SCHEDULE,
    SKIPPED,
    Attempt,
    fire_times,
    plan,
    waits_for,
)
from batch.scheduler.table import JOBS, Job, trigger_of
from tests.scheduler.support import DAY_MS, HOUR_MS, job


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def at(moment_ms: int) -> str:
    return f"{datetime.fromtimestamp(moment_ms / 1000, UTC):%m-%d %H:%M}"


def ran(each: Job, scheduled: str, status: str = DONE, attempt: int = 1, **more: Any) -> Attempt:
    scheduled_ms = ms(scheduled)
    made = Attempt(
        each.id, scheduled_ms, each.day_of(scheduled_ms), attempt, status, SCHEDULE, scheduled_ms,
        None if status == RUNNING else scheduled_ms + 60_000, "one", 1,
    )  # fmt: skip
    return replace(made, **more)


@pytest.mark.parametrize(
    "zone", ["UTC", "Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "America/St_Johns"]
)
@pytest.mark.parametrize("schedule", ["0 2 * * *", "30 2 * * *", "30 1 * * *", "0 0 * * *", "30 0 * * *"])
def test_a_daily_job_runs_once_every_local_day(zone: str, schedule: str) -> None:
    """Two years, with every change of the clocks: no day without a run, none with two."""
    daily = job("daily", schedule, time_zone=zone)
    found = fire_times(daily, ms("2026-01-01"), ms("2028-01-01"))
    days = [datetime.fromtimestamp(each / 1000, ZoneInfo(zone)).date() for each in found]
    assert len(days) >= 729
    assert [(b - a).days for a, b in pairwise(days)] == [1] * (len(days) - 1)
    gaps = {b - a for a, b in pairwise(found)}
    assert gaps <= {round(hours * HOUR_MS) for hours in (23, 23.5, 24, 24.5, 25)}


def test_the_days_on_which_clocks_change() -> None:
    """02:30 in Berlin: there is none on the last Sunday of March, and two on that of October: 03:30, and the first."""
    berlin = job("berlin", "30 2 * * *", time_zone="Europe/Berlin", day_offset=-1)
    spring = fire_times(berlin, ms("2026-03-28"), ms("2026-03-31"))
    assert [at(each) for each in spring] == ["03-28 01:30", "03-29 01:30", "03-30 00:30"]
    autumn = fire_times(berlin, ms("2026-10-24"), ms("2026-10-27"))
    assert [at(each) for each in autumn] == ["10-24 00:30", "10-25 00:30", "10-26 01:30"]
    assert [berlin.day_of(each) for each in autumn] == [date(2026, 10, 23), date(2026, 10, 24), date(2026, 10, 25)]


@pytest.mark.parametrize("schedule", ["*/15 * * * *", "10 * * * *"])
def test_frequent_jobs_go_on_through_the_hour_that_comes_twice(schedule: str) -> None:
    frequent = job("often", schedule, time_zone="Europe/Berlin")
    found = fire_times(frequent, ms("2026-10-24 12:00"), ms("2026-10-26"))
    assert len({b - a for a, b in pairwise(found)}) == 1


def test_the_table_is_sound() -> None:
    """Ids once, dependencies known, schedules and zones readable; nothing is waited for that waits itself."""
    names = [each.id for each in JOBS]
    assert len(set(names)) == len(names)
    for each in JOBS:
        assert trigger_of(each.schedule) and ZoneInfo(each.time_zone)
        assert set(each.depends_on) <= set(names) - {each.id}
        assert each.timeout_s > 0 and each.grace_s > 0 and each.late_s > 0
    slots = {"youtube_daily": "0 2 * * *", "youtube_recent": "5 * * * *", "features": "*/15 * * * *"}
    assert {each.id: each.schedule for each in JOBS if each.id in slots} == slots


def test_missed_runs_are_caught_up_once() -> None:
    """With coalesce the newest; without, each, oldest first; what is older than the grace is skipped and counted."""
    hourly = job("hourly", "0 * * * *", grace_s=3 * 3600.0)
    found = plan(hourly, [ran(hourly, "2026-11-01 02:00")], ms("2026-11-01 10:30"))
    assert found is not None
    assert (at(found.scheduled_ms), at(found.first_due_ms), found.coalesced) == ("11-01 10:00", "11-01 08:00", 2)
    assert found.skipped == (ms("2026-11-01 07:00"), 5)
    each_one = replace(hourly, coalesce=False)
    found = plan(each_one, [ran(hourly, "2026-11-01 02:00")], ms("2026-11-01 10:30"))
    assert found is not None and at(found.scheduled_ms) == "11-01 08:00"
    skipped = ran(hourly, "2026-11-01 07:00", SKIPPED)
    done = plan(hourly, [skipped, ran(hourly, "2026-11-01 10:00")], ms("2026-11-01 10:30"))
    assert done is None


def test_the_first_run_ever_is_the_newest() -> None:
    """Nobody promised the days before there was a scheduler."""
    daily = job("daily", grace_s=5 * 24 * 3600.0, coalesce=False)
    found = plan(daily, [], ms("2026-11-10 12:00"))
    assert found is not None and at(found.scheduled_ms) == "11-10 02:00"
    assert found.first_due_ms == ms("2026-11-10 12:00")
    by_hand = ran(daily, "2026-11-10 11:00", origin=BY_HAND)
    assert plan(daily, [by_hand], ms("2026-11-10 12:00")) == found


def test_attempts_and_their_pauses() -> None:
    """60 s, then 120 s; then it has failed for good. A process that died is followed at once."""
    daily = job("daily", retries=2, retry_pause_s=60.0)
    now = ms("2026-11-10 02:10")
    failed = [ran(daily, "2026-11-10 02:00", FAILED)]
    found = plan(daily, failed, now)
    assert found is not None and found.attempt == 2 and found.not_before_ms == failed[0].ended_ms + 60_000  # type: ignore[operator]
    failed.append(ran(daily, "2026-11-10 02:00", FAILED, 2))
    found = plan(daily, failed, now)
    assert found is not None and found.attempt == 3 and found.not_before_ms == failed[1].ended_ms + 120_000  # type: ignore[operator]
    assert plan(daily, [*failed, ran(daily, "2026-11-10 02:00", FAILED, 3)], now) is None
    assert plan(daily, [ran(daily, "2026-11-10 02:00", FAILED, details={"final": True})], now) is None
    left = ran(daily, "2026-11-10 02:00", RUNNING)
    found = plan(daily, [left], now)
    assert found is not None and (found.attempt, found.left_running, found.not_before_ms <= now) == (2, left, True)
    found = plan(daily, [replace(left, status=LOST, ended_ms=now)], now)
    assert found is not None and (found.attempt, found.left_running) == (2, None)


def test_an_old_attempt_gives_way_to_the_next_day() -> None:
    """A run that is still being tried when the next is due stands back for it, unless each day counts."""
    daily = job("daily")
    left = ran(daily, "2026-11-10 02:00", RUNNING)
    found = plan(daily, [left], ms("2026-11-11 03:00"))
    assert found is not None
    assert (at(found.scheduled_ms), found.attempt, found.left_running) == ("11-11 02:00", 1, left)
    each_day = replace(daily, coalesce=False, grace_s=5 * DAY_MS / 1000)
    found = plan(each_day, [left], ms("2026-11-11 03:00"))
    assert found is not None and (at(found.scheduled_ms), found.attempt) == ("11-10 02:00", 2)


def test_a_job_waits_for_what_it_depends_on() -> None:
    """Until that is settled, however it went, and no longer than the grace."""
    load = job("load", "0 2 * * *", retries=0)
    build = job("build", "20 * * * *", depends_on=("load",), grace_s=3300.0)
    now = ms("2026-11-10 02:21")
    due = plan(build, [ran(build, "2026-11-10 01:20")], now)
    assert due is not None
    before = [ran(load, "2026-11-09 02:00")]
    assert waits_for(build, due, [(load, before)], now) == "load"
    assert waits_for(build, due, [(load, [ran(load, "2026-11-10 02:00", RUNNING)])], now) == "load"
    assert waits_for(build, due, [(load, [ran(load, "2026-11-10 02:00", FAILED)])], now) == ""
    assert waits_for(build, due, [(replace(load, body=""), before)], now) == ""
    assert waits_for(build, due, [(load, before)], now + 3_300_000) == ""
    rests = [ran(load, "2026-11-10 02:00", FAILED, details={"resume_at_ms": now + 5 * 3_600_000})]
    assert waits_for(build, due, [(replace(load, retries=2), rests)], now) == "", "until its quota is there again"


def test_a_job_that_waits_in_vain_runs_all_the_same() -> None:
    """It was skipped: what it waited for let it go in the very moment in which it was too old."""
    load = job("load", "0 2 * * *")
    build = job("build", "20 * * * *", depends_on=("load",), grace_s=3300.0)
    running = [ran(load, "2026-11-10 02:00", RUNNING)]
    at_ms, books = ms("2026-11-10 02:20"), [ran(build, "2026-11-10 01:20")]
    while at_ms < ms("2026-11-10 04:00"):
        due = plan(build, books, at_ms)
        if due is not None and not waits_for(build, due, [(load, running)], at_ms):
            break
        at_ms += 60_000
    assert due is not None and at(due.scheduled_ms) == "11-10 02:20" and due.skipped is None


def test_a_run_that_ran_out_of_quota_goes_on_when_there_is_some() -> None:
    daily = job("daily", retries=2, retry_pause_s=60.0)
    resume = ms("2026-11-10 08:00")
    failed = [ran(daily, "2026-11-10 02:00", FAILED, details={"resume_at_ms": resume})]
    found = plan(daily, failed, ms("2026-11-10 02:30"))
    assert found is not None and (found.attempt, found.not_before_ms) == (2, resume)
