"""The month: the same by seed, in the order of its log, and with every nastiness in it, counted."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.warehouse.columns import DIM_USER, METRICS
from tests.warehouse.month import CDC_TOPICS, EVENT_TOPICS, write_month
from tests.warehouse.month_company import Plan
from tests.warehouse.month_write import Census
from tests.warehouse.read import records
from tests.warehouse.truth import Truth, compute
from tests.warehouse.truth_videos import day_of

_AGAIN = (
    "identical, soon",
    "identical, in the same millisecond",
    "identical, days later",
    "id in the other case, soon",
    "id in the other case, days later",
    "other content, soon",
    "other content, days later",
    "refused as future, later valid",
    "refused as malformed, later valid",
)
_INVALID = (
    "cut off",
    "nothing",
    "tombstone",
    "no UTF-8",
    "NaN",
    "no event_id",
    "occurred_at is a number",
    "unknown major version",
    "too far ahead",
    "a millisecond too far ahead",
    "too_large",
)
_ARRIVALS = (
    "late by minutes",
    "late by hours",
    "late by days",
    "ahead of log time",
    "exactly 5 minutes ahead",
    "upper-case event_id",
)
#: What must be in every month beside that, by topic.
_MUST = {
    "users": ("signed up within the month", "away for weeks, then back"),
    "user-events": (
        "only the required fields",
        "optional fields null",
        "unknown extra fields",
        "upper-case session_id",
        "non-ASCII text",
        "empty texts",
        "number beyond doubles",
        "no key",
    ),
    "video-status": (
        "published",
        "failed",
        "failed before it started",
        "failed and retried with the first request's time",
        "failed and retried with a new request",
        "completed and never published",
        "only started",
        "only requested",
        "repeats of statuses within 7 days",
        "all again after more than 7 days",
        "completed again after exactly 7 days of log time",
        "completed again a millisecond after 7 days of log time",
        "completed and published in one millisecond",
        "two completions in one millisecond",
        "statuses out of order in the file",
        "statuses days late",
        "channel changes",
        "first heard of when started",
        "title empty at last",
        "no niche",
        "niche null and no video_type",
    ),
    "cost-events": (
        "other",
        "no user_id",
        "user_id null",
        "another user",
        "before the video's first status",
        "days after the video",
        "corrected later",
        "of a video that nobody knows",
    ),
    "cost-events amount": (
        "text",
        "number",
        "half a unit to even, down",
        "half a unit to even, up",
        "half a unit as a number",
        "number with an exponent",
        "below 0 and half a unit",
    ),
    "cost-events overhead": ("video_id null", "no video_id", "of a user"),
    "ops-events": ("queue", "api_request", "ai_call", "ai_call that failed"),
    "ops-events health": (
        "outage begins",
        "silence begins",
        "flapping minute",
        "flapping within a millisecond",
        "several healthy events in a minute",
    ),
    "billing-events": (
        "goes up",
        "goes down",
        "changed to the same price",
        "cancelled",
        "cancelled and back",
        "free first",
        "changed to nothing",
        "two changes in one millisecond",
        "changed arrives before started",
        "several subscriptions of a user",
        "payment",
        "refund",
    ),
    "cdc": (
        "again, identical",
        "again, told in another style",
        "again, days later",
        "out of order",
        "source time goes back",
        "snapshot again",
        "deleted",
        "inserted again",
        "tombstone",
    ),
    "cdc beside": ("heartbeat", "heartbeat with schema", "transaction begins", "transaction ends"),
    "cdc user": ("active alone", "plan", "plan and back", "two in one millisecond", "nothing"),
    "cdc channel": ("updated_at alone", "niche to null", "two in one millisecond"),
    "cdc style": (
        "plain, micros, text",
        "plain, micros, number",
        "plain, ISO, text",
        "plain, ISO, number",
        "schema, millis, precise",
        "schema, micros, precise",
        "schema, ISO, text",
        "schema, millis, number",
    ),
    "cdc invalid": ("cut off", "an array"),
}
for _topic in EVENT_TOPICS:
    _MUST[f"{_topic} again"] = _AGAIN
    _MUST[f"{_topic} invalid"] = _INVALID
    _MUST[_topic] = (*_MUST[_topic], *_ARRIVALS)

Made = tuple[Path, Census, Truth]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Made:
    directory = tmp_path_factory.mktemp("month")
    census = write_month(Plan(), directory)
    return directory, census, compute(directory)


def _lines(directory: Path, topic: str) -> Iterator[dict[str, Any]]:
    with (directory / f"{topic}.ndjson").open(encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def test_the_same_by_seed_and_another_by_another(tmp_path: Path, month: Made) -> None:
    """Also in another process, where hashes are others."""
    command = [sys.executable, "-m", "tests.warehouse.month", "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=Path(__file__).parents[2], stdout=subprocess.DEVNULL)
    write_month(Plan(seed=2), tmp_path / "other")
    for topic in (*EVENT_TOPICS, *CDC_TOPICS):
        made = (month[0] / f"{topic}.ndjson").read_bytes()
        assert made == (tmp_path / f"{topic}.ndjson").read_bytes()
        assert made != (tmp_path / "other" / f"{topic}.ndjson").read_bytes()


def test_nothing_that_was_declared_is_missing(month: Made) -> None:
    census = month[1]
    assert [kind for kind, number in census.items() if not number] == []


def test_every_nastiness_is_there(month: Made) -> None:
    """As the list says: a kind that a maker lost would be declared no more."""
    census = month[1]
    assert [
        f"{topic}: {kind}" for topic, kinds in _MUST.items() for kind in kinds if not census[f"{topic}: {kind}"]
    ] == []


def test_files_are_in_log_order(month: Made) -> None:
    for topic in (*EVENT_TOPICS, *CDC_TOPICS):
        times = [ts for ts, _ in records(month[0] / f"{topic}.ndjson")]
        assert times == sorted(times)
        assert len(times) == month[1][f"{topic}: records"]


def test_all_records_of_an_id_have_one_key(month: Made) -> None:
    """Else the rule that the first offset wins would say nothing; statuses go by their video."""
    for topic in EVENT_TOPICS:
        keys: dict[str, set[str | None]] = {}
        for line in _lines(month[0], topic):
            try:
                event = json.loads(line["value"])
                # Ids that are no UUIDs are refused, whatever else bears them.
                if len(event["event_id"]) == 36:
                    keys.setdefault(event["event_id"].lower(), set()).add(line["key"])
            except (KeyError, TypeError, ValueError, AttributeError):
                continue
        assert max(map(len, keys.values())) == 1
    for line in _lines(month[0], "video-status"):
        assert line["key"].isdigit()


def test_the_truth_refuses_what_was_broken_and_nothing_else(month: Made) -> None:
    """The makers and the reader were written apart: their counts must meet."""
    _, census, truth = month
    for topic in EVENT_TOPICS:
        invalid = Counter[str]()
        for kind, number in census.items():
            if kind.startswith(f"{topic} invalid: "):
                reason = {
                    "unknown major version": "unknown_version",
                    "too far ahead": "future_event",
                    "a millisecond too far ahead": "future_event",
                    "too_large": "too_large",
                }.get(kind.split(": ", 1)[1], "malformed")
                invalid[reason] += number
        again = {kind: census[f"{topic} again: {kind}"] for kind in _AGAIN}
        invalid["future_event"] += again["refused as future, later valid"]
        invalid["malformed"] += again["refused as malformed, later valid"]
        assert {reason: truth.counts[topic, reason] for reason in invalid} == invalid
        duplicates = sum(number for kind, number in again.items() if not kind.startswith("refused"))
        assert truth.counts[topic, "duplicate"] == duplicates
        assert sum(n for (t, _), n in truth.counts.items() if t == topic) == census[f"{topic}: records"]


def test_there_are_days_without_users_costs_and_health(month: Made) -> None:
    truth, plan = month[2], Plan()
    silent = {what: day_of(plan.quiet(what)[0]) for what in ("user", "cost", "health")}
    assert truth.metric(silent["user"], "dau") == 0.0
    assert truth.metric(silent["cost"], "daily_burn_rate_usd") == 0.0
    assert truth.metric(silent["cost"], "cost_efficiency") is None
    assert truth.metric(silent["health"], "system_uptime") is None
    assert truth.days == (day_of(plan.begin_ms), day_of(plan.end_ms - 1))


def test_movements_lead_from_one_day_to_the_next(month: Made) -> None:
    """mrr = that of the day before + new + expansion - contraction - churn, and every movement occurs."""
    truth = month[2]
    days = sorted({key[0] for key in truth.gold[METRICS.name] if key[2] == "day"})
    before, moved = 0.0, Counter[str]()
    for day in days:
        values = {
            name: truth.metric(day, f"mrr_{name}_usd") or 0.0 for name in ("new", "expansion", "contraction", "churn")
        }
        after = truth.metric(day, "mrr_usd") or 0.0
        assert after == pytest.approx(
            before + values["new"] + values["expansion"] - values["contraction"] - values["churn"]
        )
        before = after
        moved.update({name: value > 0 for name, value in values.items()})
    assert min(moved.values()) > 0
    assert any(truth.metric(day, "clv_usd") is not None for day in days)


def test_versions_follow_each_other(month: Made) -> None:
    """No two versions of a user overlap; some users have gaps, and some are gone."""
    rows = sorted(month[2].gold[DIM_USER.name].items())
    place = list(DIM_USER.columns).index("valid_to")
    gaps = 0
    for ((user, since), row), ((other, later), _) in pairwise(rows):
        assert since < row[place]
        if user == other:
            assert row[place] <= later
            gaps += row[place] < later
    assert gaps > 0
    current = Counter(user for (user, _), row in rows if row[place + 1])
    assert set(current.values()) == {1}
    assert len(current) < len({user for (user, _), _ in rows})


def test_a_month_over_the_end_of_a_year(tmp_path: Path) -> None:
    """Its cohorts begin on Mondays of both years."""
    write_month(Plan(users=20, videos=40, events=2000, days=34, begin=date(2026, 12, 10)), tmp_path)
    truth = compute(tmp_path)
    assert truth.days == ("2026-12-10", "2027-01-12")
    weeks = {monday for monday, _ in truth.gold["retention_weekly"]}
    assert all(date.fromisoformat(monday).isoweekday() == 1 for monday in weeks)
    assert min(weeks) == "2026-12-07"
    assert ("2026-12-07", 5) in truth.gold["retention_weekly"]
    months = {key[0] for key in truth.gold[METRICS.name] if key[2] == "month"}
    assert months == {"2026-12-01", "2027-01-01"}


def test_a_month_that_is_too_small_is_refused() -> None:
    with pytest.raises(ValueError, match="a month needs"):
        Plan(days=3)
