"""Two independent truths, the oracle's and that of tests/support, agree on generated logs: windows, totals, outcomes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from tests.oracle.breakers import ANY, BY_TOPIC
from tests.oracle.expect import expect
from tests.oracle.logs import Entry, connect, fill, made_up
from tests.oracle.rules import judge
from tests.oracle.traffic import Mix, Traffic
from tests.support.truth import Ended, Record, Truth, compute
from tests.support.truth_check import check_record
from tests.support.workload import Workload
from tests.support.workload_bad import ways

#: 2026-03-02 23:50:00 UTC: ten minutes before a day ends.
BEGIN = 1_772_495_400_000
_BAD = Mix(duplicates=0.2, late=0.3, malformed=0.05, future=0.02, hot_key=0.5, dear=0.3)


def _truth(entries: list[Entry]) -> Truth:
    return compute(Record(e.topic, e.partition, e.offset, e.timestamp, e.value) for e in entries)


def _messages(seed: int) -> list[Entry]:
    """The other generator's messages, three partitions a topic."""
    entries: list[Entry] = []
    ends: dict[tuple[str, int], int] = {}
    for m in Workload(seed, 4000, BEGIN).messages():
        part = len(m.key) % 3
        offset = ends.get((m.topic, part), 0)
        ends[m.topic, part] = offset + 1
        entries.append(Entry(m.topic, part, offset, m.timestamp_ms, m.key, m.value))
    return entries


@pytest.mark.parametrize("source", ["traffic 1", "traffic 2", "workload 3", "health 4"])
def test_both_truths_are_one(source: str) -> None:
    """Every window of every size, every total, every outcome."""
    name, seed = source.split()
    mix = replace(_BAD, health=0.4) if name == "health" else _BAD
    entries = _messages(int(seed)) if name == "workload" else made_up(int(seed), 4000, BEGIN, mix)
    truth = _truth(entries)
    with connect() as db:
        fill(db, entries)
        expect(db)
        rows = db.execute("SELECT metric, win, start, dim, dv, value, n, late FROM want").fetchall()
        while_open = db.execute("SELECT metric, win, start, dim, dv, value, n FROM want_open").fetchall()
        totals = db.execute("SELECT metric, 'all', 0, 'video_id', entity, sum_e4, n FROM want_total").fetchall()
        words = {
            (t, w): n for t, w, n in db.execute("SELECT topic, word, count(*) FROM outcome GROUP BY ALL").fetchall()
        }
        too_late = db.execute("SELECT count(*) FROM outcome WHERE late").fetchone()
    own = {tuple(row[:5]): row[5:] for row in rows}
    assert own.keys() == truth.windows.keys()
    for key, (value, n, late) in own.items():
        due, due_n, due_late = truth.windows[key]
        assert (n, late) == (due_n, due_late), key
        assert value == due if value is None or due is None else math.isclose(value, due, rel_tol=1e-12), key
    ended = {key: due for key, due in truth.windows.items() if isinstance(due, Ended)}
    assert {tuple(row[:5]) for row in while_open} == ended.keys()
    for *key, value, n in while_open:
        open_due = ended[tuple(key)].while_open  # type: ignore[index]  # rows are untyped
        assert n == open_due[1] and math.isclose(value, open_due[0] or 0.0, rel_tol=1e-12), key
    if name == "health":
        assert len(ended) > 300 and sum(tuple(due) != due.while_open for due in ended.values()) > 50
    assert {tuple(row[:5]): (row[5] / 10_000, row[6], 0) for row in totals} == truth.entities
    dead = {key: n for key, n in words.items() if key[1] not in ("counted", "duplicate", "repeat")}
    assert dead == truth.dead_by_topic
    assert {t: n for (t, w), n in words.items() if w == "duplicate"} == truth.duplicates
    assert {t: n for (t, w), n in words.items() if w == "repeat"} == truth.repeats
    assert truth.late and truth.entities and len(dead) > 6
    assert too_late is not None and (too_late[0] > 0 or name == "workload")


def test_the_first_amount_of_an_id_is_the_older_one_not_that_of_the_lower_offset() -> None:
    """Partitions were added, and an id came again to a young one with another amount (a fault run had this)."""
    event = b"""{"event_id":"4d9ed9e4-1a81-1e86-783b-468d41868fbe","schema_version":"1.0.0","""
    event += b""""occurred_at":"2026-03-02T23:50:00Z","video_id":7,"component":"script","amount_usd":"%d.0329"}"""
    entries = [
        Entry("cost-events", 2, 304, BEGIN, b"7", event % 0),
        Entry("cost-events", 2, 473, BEGIN + 700_000, b"7", event % 5),
        Entry("cost-events", 4, 88, BEGIN + 86_000, b"7", event % 90),
    ]
    truth = _truth(entries)
    with connect() as db:
        fill(db, entries)
        expect(db)
        assert db.execute("SELECT entity, sum_e4, n FROM want_total").fetchall() == [("7", 329, 1)]
    assert list(truth.entities.values()) == [(0.0329, 1, 0)]


@pytest.mark.parametrize("topic", list(BY_TOPIC))
def test_every_way_to_break_a_record_is_seen_by_both(topic: str) -> None:
    """And the two lists of ways were written apart."""
    health = 0.5 if topic == "ops-events" else 0.0
    traffic = Traffic(7, Mix(duplicates=0, late=0, malformed=0, future=0, oversized=0, health=health))
    whole: bytes | None = None
    while whole is None or judge(topic, whole)[0] or check_record(topic, whole)[0]:
        event = traffic.next(BEGIN)
        whole = event.value if event.topic == topic else None
    broken = [breaker(whole.decode()) for breaker in (*ANY, *BY_TOPIC[topic])]
    broken += [breaker(whole) for breaker in ways(topic).values()]
    for value in broken:
        verdict = judge(topic, value)[0]
        assert verdict == check_record(topic, value)[0], value
        # Two ways of the other list change nothing in an event that lacks the field or has one dimension less.
        assert verdict == "malformed" or value in (whole, *[b(whole) for b in ways(topic).values()]), value
