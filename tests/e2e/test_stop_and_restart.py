"""Graceful stops, restarts from snapshots, a broker that is away, and a second start of everything."""

from __future__ import annotations

import signal
import time

from tests.e2e.checks import check_archive, check_live, check_windows, messages
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.stack import Stack, read_all, wait_for


def _dead_letters(stack: Stack) -> list[tuple[bytes | None, int]]:
    import asyncio

    records = asyncio.run(read_all(stack.broker.bootstrap, ["dead-letters"]))
    return [(record.value, record.partition) for record in records]


def test_a_graceful_stop_under_load_and_a_restart_repeat_and_lose_nothing(running: Stack) -> None:
    """SIGTERM in the middle: exit 0 soon; the next one starts at the snapshot; each dead letter is sent once."""
    stack, events = running, messages(8, 8000)
    archive = stack.worker("archive", wait=False)
    first = stack.worker("windows")
    stack.produce(events[:6000])
    wait_for("work begins", lambda: first.metric("streamproc_events_total") > 1000)
    for worker in (first, archive):
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < 15
    second = stack.worker("windows")
    stack.worker("archive", wait=False)
    stack.produce(events[6000:])
    truth = check_windows(stack)
    check_live(stack, truth)
    check_archive(stack)
    assert len(_dead_letters(stack)) == sum(truth.dead.values())
    assert second.stop() == 0
    third = stack.worker("windows")
    stack.produce([(USER_EVENTS, b"1", encode(user_event(int(time.time() * 1000))))])
    wait_for("the new event", lambda: third.metric("streamproc_events_total") >= 1)
    assert third.metric("streamproc_events_total") <= 10
    check_windows(stack)


def test_a_stop_while_the_broker_is_away_ends_all_the_same(running: Stack) -> None:
    """A supervisor must not need SIGKILL."""
    stack = running
    workers = [stack.worker(role) for role in ("windows", "archive", "notify")]
    stack.produce(messages(9, 500))
    wait_for("work begins", lambda: workers[0].metric("streamproc_events_total") > 10)
    stack.broker.kill()
    began = time.monotonic()
    for worker in workers:
        worker.process.send_signal(signal.SIGTERM)
    assert [worker.stop() for worker in workers] == [0, 0, 0]
    assert time.monotonic() - began < 20


def test_a_second_start_of_everything_fires_nothing_again(running: Stack) -> None:
    """The broker comes back empty, ClickHouse was kept: alerts are known, and the totals go on."""
    stack, now = running, int(time.time() * 1000)
    roles = ("windows", "archive", "notify")
    workers = [stack.worker(role, wait=False) for role in roles]
    stack.produce([(COST_EVENTS, b"5", encode(cost_event(now, "2.7000", video_id=5)))])
    fired = (
        "SELECT rule, state, delivered_at > toDateTime64(0, 3) FROM gold.alerts FINAL"
        " WHERE kind = 'delivery' AND labels['video_id'] = '5' ORDER BY rule"
    )
    wait_for("delivered", lambda: len(stack.query(fired)) == 1, 40)
    for worker in workers:
        assert worker.stop() == 0
    lines = (stack.dir / "alerts.log").read_text()
    stack.lose_log()
    stack.redis.flushall()
    workers = [stack.worker(role) for role in roles]
    stack.produce([(COST_EVENTS, b"5", encode(cost_event(now, "0.1000", video_id=5)))])
    wait_for("the total goes on", lambda: stack.redis.hget("sp:entity:cost_per_video_usd:5", "value") == "2.8")
    stack.produce([(COST_EVENTS, b"6", encode(cost_event(now, "2.9000", video_id=6)))])
    wait_for("another alert", lambda: "'6'" in _texts(stack) or " 6" in _texts(stack) or '"6"' in _texts(stack))
    before = [line for line in _texts(stack).splitlines() if line not in lines.splitlines()]
    assert len(before) == 1, before
    assert len(stack.query(fired)) == 1


def _texts(stack: Stack) -> str:
    return (stack.dir / "alerts.log").read_text()


def test_prefixes_keep_two_installations_apart(running: Stack) -> None:
    """Two windows workers on one broker and one Redis, with prefixes of their own."""
    stack, now = running, int(time.time() * 1000)
    stack.worker("windows")
    other = stack.worker("windows", topic_prefix="eu.", app_id="eu", redis_prefix="eu:", partitions="2")
    stack.produce([(USER_EVENTS, b"1", encode(user_event(now, user_id=n))) for n in range(30)])
    stack.produce([("eu." + USER_EVENTS, b"1", encode(user_event(now, user_id=n))) for n in range(7)])
    for prefix, count in (("sp:", "30"), ("eu:", "7")):
        key = f"{prefix}live:user_events:1d"
        wait_for(key, lambda key=key, count=count: stack.redis.hget(key, "value") == count)
    assert other.metric("streamproc_events_total") == 7
