"""The independent truth on hand-made logs whose answers are worked out by hand."""

from __future__ import annotations

import uuid
from collections import Counter

import pytest

from tests.support.events import (
    COST_EVENTS,
    USER_EVENTS,
    VIDEO_STATUS,
    Event,
    cost_event,
    encode,
    rfc3339,
    user_event,
    video_event,
)
from tests.support.truth import Ended, Record, compute, expected
from tests.support.truth_check import check_record, money_e4, time_ms
from tests.support.workload import Workload
from tests.support.workload_bad import ways

#: 2026-03-02 10:00:00 UTC, the start of an hour.
HOUR = 1_772_445_600_000
MINUTE = 60_000
DAY = HOUR - 10 * 60 * MINUTE
ID = "0f9619ff-8b86-4d01-b42d-00cf4fc964ff"


class Log:
    """Records with offsets of their partition; log time stands still at one hour unless told otherwise."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self._next: Counter[tuple[str, int]] = Counter()

    def add(self, topic: str, event: Event | bytes | None, partition: int = 0, at: int = HOUR + 60 * MINUTE) -> None:
        """Append one record to a partition."""
        offset = self._next[topic, partition]
        self._next[topic, partition] += 1
        value = encode(event) if isinstance(event, dict) else event
        self.records.append(Record(topic, partition, offset, at, value))


@pytest.fixture
def log() -> Log:
    """An empty log."""
    return Log()


def test_columns_of_nulls_alone(log: Log) -> None:
    """A long log of one topic leaves whole columns empty, of which DuckDB cannot guess the type."""
    for i in range(2000):
        log.add(USER_EVENTS, user_event(HOUR + i, response_time_ms=None))
    windows = expected(log.records)
    assert windows["user_events", "1m", HOUR, "", ""] == (2000, 2000, 0)
    assert expected([Record(COST_EVENTS, 0, i, HOUR, None) for i in range(2000)]) == {}


def test_counts_distinct_users_and_percentiles_by_nearest_rank(log: Log) -> None:
    """Twenty requests of four users: p95 is the 19th value, not an interpolation."""
    for i in range(20):
        log.add(USER_EVENTS, user_event(HOUR + i, user_id=i % 4, response_time_ms=(i + 1) * 10), partition=i % 3)
    log.add(USER_EVENTS, user_event(HOUR + 1, user_id=0, activity_type="login", response_time_ms=None))
    windows = expected(log.records)
    assert windows["active_users", "1m", HOUR, "", ""] == (4, 21, 0)
    assert windows["user_events", "1d", DAY, "", ""] == (21, 21, 0)
    assert windows["user_events", "5m", HOUR, "activity_type", "login"] == (1, 1, 0)
    assert windows["api_response_time_p95_ms", "1h", HOUR, "", ""] == (190, 20, 0)
    assert windows["api_response_time_p50_ms", "1h", HOUR, "", ""] == (100, 20, 0)
    assert windows["api_response_time_p99_ms", "1h", HOUR, "", ""] == (200, 20, 0)


def test_windows_are_half_open(log: Log) -> None:
    """The last millisecond belongs to the window, the next one does not; nanoseconds are cut off."""
    log.add(USER_EVENTS, user_event(HOUR + MINUTE - 1))
    log.add(USER_EVENTS, user_event(0, occurred_at="2026-03-02T10:00:59.999999999Z"))
    log.add(USER_EVENTS, user_event(HOUR + MINUTE))
    windows = expected(log.records)
    assert windows["user_events", "1m", HOUR, "", ""] == (2, 2, 0)
    assert windows["user_events", "1m", HOUR + MINUTE, "", ""] == (1, 1, 0)


def test_late_is_decided_per_size_at_exactly_ten_minutes(log: Log) -> None:
    """At window end + 10 min the 1m window is closed; one millisecond earlier it is open and counts `late`."""
    log.add(USER_EVENTS, user_event(HOUR + 11 * MINUTE - 1))
    log.add(USER_EVENTS, user_event(HOUR))
    log.add(USER_EVENTS, user_event(HOUR + 11 * MINUTE))
    log.add(USER_EVENTS, user_event(HOUR))
    log.add(USER_EVENTS, user_event(HOUR), partition=1)
    truth = compute(log.records)
    assert truth.windows["user_events", "1m", HOUR, "", ""] == (2, 2, 1)
    assert truth.windows["user_events", "5m", HOUR, "", ""] == (3, 3, 2)
    assert truth.windows["user_events", "1h", HOUR, "", ""] == (5, 5, 0)
    assert truth.late == {(USER_EVENTS, "1m"): 1}


def test_duplicates_by_log_time_in_either_case_and_per_partition(log: Log) -> None:
    """A chain: first, its duplicate at +10 min, then a new acceptance at +10 min + 1 ms from the first."""
    for at, event_id in ((0, ID), (600_000, ID.upper()), (600_001, ID), (1_200_001, ID), (1_200_002, ID)):
        log.add(USER_EVENTS, user_event(HOUR, event_id=event_id), at=HOUR + at)
    log.add(USER_EVENTS, user_event(HOUR, event_id=ID), partition=1)
    truth = compute(log.records)
    assert truth.duplicates == {USER_EVENTS: 2}
    assert truth.windows["user_events", "1h", HOUR, "", ""] == (4, 4, 0)


def test_log_time_is_a_running_maximum(log: Log) -> None:
    """A Kafka timestamp that steps back does not move log time back: the first event is not in its future."""
    log.add(USER_EVENTS, b"", at=HOUR + 10 * MINUTE)
    log.add(USER_EVENTS, user_event(HOUR + 15 * MINUTE), at=HOUR)
    log.add(USER_EVENTS, user_event(HOUR + 15 * MINUTE + 1), at=HOUR)
    truth = compute(log.records)
    assert truth.dead == {"malformed": 1, "future_event": 1}
    assert truth.accepted == {USER_EVENTS: 1}


def test_a_future_event_neither_closes_windows_nor_remembers_its_id(log: Log) -> None:
    """Sent again when its time has come, it counts."""
    log.add(USER_EVENTS, user_event(HOUR + 30 * MINUTE, event_id=ID), at=HOUR)
    log.add(USER_EVENTS, user_event(HOUR), at=HOUR)
    log.add(USER_EVENTS, user_event(HOUR + 30 * MINUTE, event_id=ID), at=HOUR + 30 * MINUTE)
    truth = compute(log.records)
    assert truth.dead == {"future_event": 1}
    assert truth.windows["user_events", "1m", HOUR, "", ""] == (1, 1, 0)
    assert truth.accepted == {USER_EVENTS: 2}


def test_videos_statuses_count_once_with_dimensions_and_means(log: Log) -> None:
    """A repeated status changes nothing, not even the highest event time."""
    log.add(VIDEO_STATUS, video_event(HOUR, "requested"))
    log.add(VIDEO_STATUS, video_event(HOUR, "started", requested_at=rfc3339(HOUR - 2_500)))
    log.add(VIDEO_STATUS, video_event(HOUR + 30 * MINUTE, "started"))
    log.add(VIDEO_STATUS, video_event(HOUR + 1, "completed"))
    log.add(VIDEO_STATUS, video_event(HOUR + 1, "completed", video_id=2, niche=None, requested_at=rfc3339(HOUR)))
    log.add(VIDEO_STATUS, video_event(HOUR + 2, "published"))
    truth = compute(log.records)
    windows = truth.windows
    assert truth.repeats == {VIDEO_STATUS: 1}
    assert truth.late == {}
    assert windows["videos_started", "1m", HOUR, "", ""] == (1, 1, 0)
    assert windows["queue_processing_time_seconds", "1m", HOUR, "queue", "video-generation"] == (2.5, 1, 0)
    assert windows["videos_completed", "1m", HOUR, "niche", "unknown"] == (1, 1, 0)
    assert windows["avg_generation_time_seconds", "1m", HOUR, "", ""] == (60.0005, 2, 0)
    assert windows["avg_generation_time_seconds", "1m", HOUR, "niche", "science"] == (120, 1, 0)
    assert windows["video_success_rate", "1m", HOUR, "", ""] == (50, 2, 0)


def test_success_rate_is_null_without_a_completed_video(log: Log) -> None:
    """Published alone has a row with no value."""
    log.add(VIDEO_STATUS, video_event(HOUR, "published"))
    assert expected(log.records)["video_success_rate", "1m", HOUR, "", ""] == (None, 0, 0)


def test_costs_are_exact_and_entity_totals_take_late_events_and_no_id_twice(log: Log) -> None:
    """Half to even; overhead is in the total, not in the mean; an id accepted twice is once in the video's total."""
    log.add(COST_EVENTS, cost_event(HOUR + 50 * MINUTE, "1.00005", event_id=ID))
    log.add(COST_EVENTS, cost_event(HOUR, 0.00015))
    log.add(COST_EVENTS, cost_event(HOUR + 50 * MINUTE, "-0.5", video_id=2, component="script"))
    log.add(COST_EVENTS, cost_event(HOUR + 50 * MINUTE, "9", video_id=None))
    log.add(COST_EVENTS, cost_event(HOUR + 50 * MINUTE, "1.00005", event_id=ID), at=HOUR + 90 * MINUTE)
    truth = compute(log.records)
    assert truth.late == {(COST_EVENTS, "1m"): 1, (COST_EVENTS, "5m"): 1}
    assert truth.windows["total_cost_usd", "1m", HOUR + 50 * MINUTE, "", ""] == (10.5, 4, 0)
    assert truth.windows["total_cost_usd", "1h", HOUR, "", ""] == (10.5002, 5, 0)
    assert truth.windows["total_cost_usd", "1h", HOUR, "component", "script"] == (-0.5, 1, 0)
    assert truth.windows["avg_cost_per_video_usd", "1m", HOUR + 50 * MINUTE, "", ""] == (0.75, 2, 0)
    assert truth.entities["cost_per_video_usd", "all", 0, "video_id", "1"] == (1.0002, 2, 0)


@pytest.mark.parametrize("topic", [USER_EVENTS, VIDEO_STATUS, COST_EVENTS])
def test_every_way_to_break_a_message_is_malformed(topic: str) -> None:
    """The builders are valid, and each way to break them is seen."""
    value = encode(
        {USER_EVENTS: user_event(HOUR), VIDEO_STATUS: video_event(HOUR), COST_EVENTS: cost_event(HOUR)}[topic]
    )
    assert check_record(topic, value)[0] == ""
    assert {name: check_record(topic, broken(value))[0] for name, broken in ways(topic).items()} == dict.fromkeys(
        ways(topic), "malformed"
    )


def test_reasons_have_an_order() -> None:
    """Size first, then version, then the fields."""
    assert check_record(USER_EVENTS, b"x" * (1024 * 1024 + 1))[0] == "too_large"
    assert check_record(USER_EVENTS, b'{"schema_version":"2.0.0"}')[0] == "unknown_version"
    assert check_record(USER_EVENTS, encode(user_event(HOUR, schema_version="1.9.3")))[0] == ""
    assert check_record(USER_EVENTS, encode(user_event(HOUR, schema_version="1")))[0] == "malformed"


def test_times_and_money_as_written() -> None:
    """Offsets, nine decimals, rounding half to even."""
    assert time_ms("2026-03-02T15:30:00.0009+05:30") == HOUR
    assert money_e4("0.00025") == 2
    assert money_e4("0.00035") == 4
    assert money_e4("-2.5") == -25_000


def test_workload_is_deterministic_and_holds_every_kind() -> None:
    """The same seed gives the same messages; every outcome of the rules occurs."""
    first = list(Workload(7, 12_000, HOUR).messages())
    assert first == list(Workload(7, 12_000, HOUR).messages())
    offsets: Counter[tuple[str, int]] = Counter()
    records = []
    for topic, key, value, at in first:
        partition = key[-1] % 2
        records.append(Record(topic, partition, offsets[topic, partition], at, value))
        offsets[topic, partition] += 1
    truth = compute(records)
    assert set(truth.dead) == {"malformed", "unknown_version", "future_event", "too_large"}
    assert set(truth.duplicates) == {USER_EVENTS, VIDEO_STATUS, COST_EVENTS}
    assert truth.repeats[VIDEO_STATUS] > 0
    assert {size for _, size in truth.late} == {"1m", "5m", "1h"}
    assert {size for _, size, *_ in truth.windows} == {"1m", "5m", "1h", "1d"}
    assert any(late for _, _, late in truth.windows.values())
    assert sum(truth.dead.values()) + sum(truth.duplicates.values()) + sum(truth.accepted.values()) == len(records)


def test_builders_draw_unique_ids_unless_given() -> None:
    """Two events of a builder are two events."""
    assert uuid.UUID(user_event(HOUR)["event_id"]) != uuid.UUID(user_event(HOUR)["event_id"])


def _health(log: Log, at: int, ok: bool, service: str = "api", event_id: str = "", partition: int = 0) -> None:
    event = {"event_id": event_id or str(uuid.uuid4()), "schema_version": "1.0.0", "occurred_at": rfc3339(at)}
    log.add(
        "ops-events", event | {"service": service, "kind": "health", "ok": ok, "interval_s": 30}, partition=partition
    )


def test_uptime_by_its_last_event_of_each_minute(log: Log) -> None:
    """The last of a minute counts (of two at one instant the higher id), silence is down, a service counts from its first."""
    for second, ok in ((0, True), (59, False), (130, True), (129, False)):
        _health(log, HOUR + second * 1000, ok)
    _health(log, HOUR + 200_000, True, event_id="B0000000-0000-4000-8000-000000000000")
    _health(log, HOUR + 200_000, False, event_id="a0000000-0000-4000-8000-000000000000", partition=1)
    _health(log, HOUR + 240_000, True, service="web")
    windows = compute(log.records).windows
    api, web = (
        windows["system_uptime", "1h", HOUR, "service", "api"],
        windows["system_uptime", "1h", HOUR, "service", "web"],
    )
    # Minutes 0 down, 1 silent, 2 and 3 up.
    assert isinstance(api, Ended) and (api, api.while_open) == ((100 * 2 / 60, 60, 0), (50.0, 4, 0))
    assert isinstance(web, Ended) and (web, web.while_open) == ((100 / 56, 56, 0), (100.0, 1, 0))
    every = windows["system_uptime", "1h", HOUR, "", ""]
    # All go to the newest minute that any told of.
    assert isinstance(every, Ended) and (every, every.while_open) == ((100 * 3 / 116, 116, 0), (50.0, 6, 0))
    assert windows["system_uptime", "1m", HOUR, "service", "api"] == (0.0, 1, 0)
    assert windows["system_uptime", "5m", HOUR, "", ""] == (50.0, 6, 0)
