"""A producer release that breaks everything: its topic pauses and says so, the others go on, and good records pass later."""

from __future__ import annotations

import time

from tests.e2e.checks import settle
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.stack import Stack, wait_for


def test_a_flood_of_bad_records_pauses_its_topic_only(running: Stack) -> None:
    """Paused and recorded as an alert; costs go on; SIGTERM is obeyed at once; good records end it."""
    stack, now = running, int(time.time() * 1000)
    paused = stack.worker("windows", flood_probe_s="600")
    stack.worker("notify", wait=False)
    stack.produce([(USER_EVENTS, b"1", b'{"event_id": broken')] * 3000)
    wait_for("paused", lambda: paused.metric("streamproc_paused", topic=USER_EVENTS) == 1)
    stack.produce([(COST_EVENTS, b"1", encode(cost_event(now, "1.0000", video_id=1)))])
    wait_for("costs go on", lambda: stack.redis.hget("sp:entity:cost_per_video_usd:1", "value") == "1")
    bad = paused.metric("streamproc_invalid_total", topic=USER_EVENTS)
    assert 400 <= bad <= 1100
    firing = "SELECT count() FROM gold.alerts FINAL WHERE rule = 'stream_paused' AND state = 'firing'"
    wait_for("recorded", lambda: stack.query(firing)[0][0] == 1)
    assert paused.get("live")[0] == 200
    began = time.monotonic()
    assert paused.stop() == 0
    assert time.monotonic() - began < 15
    worker = stack.worker("windows", flood_probe_s="0.1")
    stack.produce([(USER_EVENTS, b"1", encode(user_event(now, user_id=n))) for n in range(700)])
    counted = "SELECT count FROM gold.windows FINAL WHERE metric = 'user_events' AND window = '1d' AND dimension = ''"
    settle(lambda: [] if sum(row[0] for row in stack.query(counted)) == 700 else ["not all good ones"], 40)
    wait_for("it goes on", lambda: worker.metric("streamproc_paused", topic=USER_EVENTS) == 0)
    states = "SELECT state, count() FROM gold.alerts FINAL WHERE rule = 'stream_paused' AND kind = 'transition' GROUP BY state"
    wait_for(
        "resolved", lambda: dict(stack.query(states)).get("resolved", 0) == dict(stack.query(states)).get("firing")
    )
    assert dict(stack.query(states))["firing"] <= 2
