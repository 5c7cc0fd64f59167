"""The role `intake` as a process, on a real Redis and broker: every entry arrives, with its key and its bytes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.topics import COST_EVENTS, DEAD_LETTERS, MIB, OPS_EVENTS, USER_EVENTS
from streamproc.failpoints import EXIT_CODE
from streamproc.sinks.dead_letters_store import _letter
from tests.agents.intake_stack import GROUP, NOW, STREAM, IntakeStack, user_events
from tests.support.events import cost_event, encode, user_event
from tests.support.stack import wait_for

STREAMS = {STREAM: USER_EVENTS, "costs": COST_EVENTS, "sp:in:ops": OPS_EVENTS}


@pytest.fixture
def running(tmp_path: Path) -> Iterator[IntakeStack]:
    with IntakeStack(tmp_path / "stack") as stack:
        yield stack


def test_every_entry_arrives_once_with_its_key_bytes_and_order(tmp_path: Path) -> None:
    """Three streams; keys from the event, from the field `key`, and none; several batches."""
    with IntakeStack(tmp_path / "stack", STREAMS) as stack:
        events = user_events(1500)
        stack.add(events)
        worker = stack.intake()
        costs = [encode(cost_event(NOW, video_id=video)) for video in (42, None)]
        stack.add(costs, "costs")
        ops = {"event_id": "x", "service": "script-writer", "kind": "health", "ok": "true", "interval_s": "60"}
        stack.redis.xadd("sp:in:ops", ops)
        stack.redis.xadd("sp:in:ops", {"key": "mine", "payload": b"{}"})
        stack.wait_for_all(events)
        stack.wait_for_all([b"{}"], OPS_EVENTS)
        stack.wait_for_all(costs, COST_EVENTS)
        for stream in STREAMS:
            stack.wait_acknowledged(stream)
        found = stack.records()
        assert sorted(record.value for record in found) == sorted(events)
        by_user: dict[bytes, list[bytes]] = {}
        for record in found:
            by_user.setdefault(record.key, []).append(record.value)
        wanted: dict[bytes, list[bytes]] = {}
        for event in events:
            wanted.setdefault(str(json.loads(event)["user_id"]).encode(), []).append(event)
        assert by_user == wanted
        assert {record.key: record.value for record in stack.records(COST_EVENTS)} == {
            b"42": costs[0],
            b"overhead": costs[1],
        }
        as_json = json.dumps(ops | {"ok": True, "interval_s": 60}, separators=(",", ":")).encode()
        assert {r.key: r.value for r in stack.records(OPS_EVENTS)} == {b"script-writer": as_json, b"mine": b"{}"}
        assert worker.metric("streamproc_intake_sent_total", stream=STREAM, topic=USER_EVENTS) == 1500
        wait_for("gauges", lambda: worker.samples("streamproc_intake_lag_entries", stream=STREAM) == [0])
        assert worker.metric("streamproc_intake_pending", stream=STREAM) == 0
        assert worker.stop(15) == 0
        assert stack.redis.xinfo_consumers(STREAM, GROUP) == []


def test_killed_between_kafka_and_redis_it_sends_again_and_loses_nothing(running: IntakeStack) -> None:
    """kill -9 after Kafka's acknowledgement: the next start sends that batch again, byte by byte the same."""
    events = user_events(900)
    running.add(events)
    first = running.intake(wait=False, crash_at="after_intake:2")
    assert first.process.wait(60) == EXIT_CODE
    held = running.pending()
    assert held
    assert len(running.records()) > held
    second = running.intake(port=first.port)
    running.wait_for_all(events)
    running.wait_acknowledged()
    found = running.values()
    assert set(found) == set(events)
    assert sorted(found.values()) == [1] * (900 - held) + [2] * held
    assert second.metric("streamproc_intake_claimed_total") == 0


def test_a_second_one_takes_over_what_a_dead_one_held(running: IntakeStack) -> None:
    """Another host would be as a worker with another port: it claims what nobody acknowledges."""
    events = user_events(300)
    running.add(events)
    dead = running.intake(wait=False, crash_at="after_intake:1")
    assert dead.process.wait(60) == EXIT_CODE
    held = running.pending()
    assert held
    other = running.intake(intake_claim_after_s="1")
    running.wait_for_all(events)
    running.wait_acknowledged()
    assert other.metric("streamproc_intake_claimed_total", stream=STREAM) == held
    assert set(running.values()) == set(events)


def test_two_share_the_work(running: IntakeStack) -> None:
    """Each entry goes to one of them."""
    workers = [running.intake(wait=False) for _ in range(2)]
    for worker in workers:
        worker.wait_ready()
    sent: list[bytes] = []

    def both_have_some() -> bool:
        sent.extend(user_events(500, first=len(sent)))
        running.add(sent[-500:])
        return all(worker.metric("streamproc_intake_sent_total") for worker in workers)

    wait_for("both took some", both_have_some)
    running.wait_for_all(sent)
    running.wait_acknowledged()
    assert set(running.values().values()) == {1}
    assert sum(worker.metric("streamproc_intake_sent_total") for worker in workers) == len(sent)


def test_an_emptied_redis_gets_its_group_again(running: IntakeStack) -> None:
    """Redis is killed and comes back empty: what is added then arrives, from the stream's beginning."""
    worker = running.intake()
    before, after = user_events(50), user_events(50, first=50)
    running.add(before)
    running.wait_for_all(before)
    running.redis_server.kill()
    wait_for("it says so", lambda: "Redis" in worker.get("ready")[1])
    running.redis_server.start()
    running.add(after)
    running.wait_for_all(after)
    running.wait_acknowledged()
    assert set(running.values().values()) == {1}
    wait_for("it is well", worker.ready)
    assert worker.metric("streamproc_intake_errors_total", stream=STREAM, reason="no_group") > 0


def test_nothing_is_too_strange_to_get_through(running: IntakeStack) -> None:
    """No JSON, nothing, fields of its own, bytes that are no text, too large: what follows arrives all the same."""
    worker = running.intake()
    good = user_events(1)
    running.add([b"{no json", b"", b"\xff\xfe"])
    running.redis.xadd(STREAM, {"user_id": "7", "activity_type": "login", "raw": b"\xff"})
    running.redis.xadd(STREAM, {"key": "only a key"})
    large = b"x" * (33 * MIB)
    (entry,) = running.add([large])
    running.add(good)
    found = running.wait_for_all(good)
    running.wait_acknowledged()
    strange = [b"{no json", b"", b"\xff\xfe", b'{"user_id":7,"activity_type":"login","raw":"\xff"}', b"{}"]
    assert sorted(found.elements()) == sorted([*strange, *good])
    (letter,) = running.records(DEAD_LETTERS)
    headers = dict(letter.headers)
    assert large.startswith(letter.value)
    assert (headers["reason"], headers["topic"]) == (b"too_large", b"user-events")
    assert (headers["stream"], headers["entry_id"]) == (STREAM.encode(), entry)
    row = _letter(letter)
    assert (row.topic, row.reason, row.payload) == (DEAD_LETTERS, "too_large", letter.value)
    assert entry.decode() in row.error
    assert worker.metric("streamproc_invalid_total", topic=USER_EVENTS, reason="too_large") == 1


def test_a_stop_under_load_leaves_nothing_sent_and_unacknowledged(running: IntakeStack) -> None:
    """SIGTERM in the middle: within 15 s, and the next one repeats nothing."""
    first = running.intake()
    events: list[bytes] = []

    def feed() -> None:
        while first.process.poll() is None:
            more = user_events(200, first=len(events))
            running.add(more)
            events.extend(more)

    feeder = threading.Thread(target=feed)
    feeder.start()
    wait_for("it is at work", lambda: first.metric("streamproc_intake_sent_total"))
    begun = time.monotonic()
    assert first.stop(30) == 0
    assert time.monotonic() - begun < 15
    feeder.join()
    assert running.pending() == 0
    assert 0 < len(running.records()) < len(events)
    running.intake()
    running.wait_for_all(events, timeout_s=60)
    running.wait_acknowledged()
    assert set(running.values().values()) == {1}


def test_two_streams_of_one_topic_and_one_that_is_no_stream(tmp_path: Path) -> None:
    """A key of another type is said on /ready, and holds nobody else up."""
    with IntakeStack(tmp_path / "stack", {"a": USER_EVENTS, "b": USER_EVENTS, "c": USER_EVENTS}) as stack:
        stack.redis.set("b", "a text")
        worker = stack.intake(wait=False)
        events = [encode(user_event(NOW, user_id=user)) for user in range(2)]
        stack.add(events[:1], "a")
        stack.add(events[1:], "c")
        stack.wait_for_all(events)
        assert worker.get("ready") == (503, "Redis Stream b: Redis refuses or is away: wrong_type_of_key\n")
        assert worker.metric("streamproc_intake_errors_total", stream="b", reason="wrong_type_of_key") > 0
        stack.redis.delete("b")
        wait_for("it is ready", worker.ready)
