"""Demo traffic as a pure generator: seeded, plausible, bounded."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from streamproc.catalogue import METRICS
from streamproc.produce.demo import DemoTraffic, Message, rhythm
from tests.support.events import COST_EVENTS, USER_EVENTS, VIDEO_STATUS
from tests.support.truth import Record, Truth, compute

START = 1_772_445_600_000


def _run(seed: int, rate: float, seconds: int, start: int = START) -> list[Message]:
    return list(DemoTraffic(seed, rate, start).due(start + seconds * 1000))


def _truth(messages: list[Message]) -> Truth:
    offsets: Counter[str] = Counter()
    records = []
    for message in messages:
        records.append(Record(message.topic, 0, offsets[message.topic], message.due_ms, message.value))
        offsets[message.topic] += 1
    return compute(records)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_first_minute_shows_everything(seed: int) -> None:
    """At the default rate, within 60 s: every metric has a value, a video costs too much, some events are dead."""
    truth = _truth(_run(seed, 50, 60))
    with_value = {metric for (metric, *_), (value, *_) in truth.windows.items() if value is not None}
    assert with_value | {"cost_per_video_usd"} == {metric.name for metric in METRICS}
    totals = [value for value, *_ in truth.entities.values() if value is not None]
    assert any(2.5 < total <= 3.0 for total in totals)
    assert any(total > 3.0 for total in totals)
    assert 0 < sum(truth.dead.values()) < 30
    assert truth.duplicates


def test_the_same_seed_and_start_give_the_same_messages() -> None:
    """And another start gives other ids, so that a second run is no repetition of the first."""
    first = _run(5, 50, 30)
    assert first == _run(5, 50, 30)
    ids = {
        json.loads(m.value)["event_id"] for m in first if m.value.startswith(b'{"event_id"') and m.value.endswith(b"}")
    }
    later = _run(5, 50, 30, START + 1)
    assert not any(any(known in m.value.decode() for known in list(ids)[:50]) for m in later)


def test_rate_share_of_faults_and_memory_over_an_hour() -> None:
    """The rate is the day's mean times the hour's rhythm; faults stay small; what is planned does not grow."""
    traffic = DemoTraffic(9, 20, START)
    counts: Counter[str] = Counter()
    planned = []
    messages = []
    for minute in range(60):
        due = list(traffic.due(START + (minute + 1) * 60_000))
        counts.update(message.topic for message in due)
        messages += due
        planned.append(traffic.planned)
    assert sum(counts.values()) / 3600 == pytest.approx(20 * rhythm(START + 1_800_000), rel=0.05)
    assert counts[USER_EVENTS] > counts[COST_EVENTS] > counts[VIDEO_STATUS] * 0.8
    assert max(planned[30:]) < 20 * 10
    truth = _truth(messages)
    whole = len(messages)
    assert 0.0005 < sum(truth.dead.values()) / whole < 0.004
    assert 0.001 < sum(truth.duplicates.values()) / whole < 0.006
    assert 0.0002 < truth.late[USER_EVENTS, "1m"] / whole < 0.003
    assert not truth.repeats


def test_messages_come_in_order_and_a_pause_puts_everything_off() -> None:
    """After a shift nothing is due that was planned within the pause."""
    traffic = DemoTraffic(1, 50, START)
    due = [message.due_ms for message in traffic.due(START + 20_000)]
    assert due == sorted(due)
    traffic.shift(3_600_000)
    assert next(traffic.due(START + 3_600_000), None) is None
    assert next(traffic.due(START + 3_640_000)).due_ms >= START + 3_620_000


def test_rhythm_has_mean_one_and_is_quiet_at_night() -> None:
    """Averaged over a day the load is the rate that was asked for."""
    day = [rhythm(START + minute * 60_000) for minute in range(1440)]
    assert sum(day) / len(day) == pytest.approx(1.0, abs=0.001)
    assert rhythm(3 * 3_600_000) < 0.6 < 1.3 < rhythm(19 * 3_600_000)
