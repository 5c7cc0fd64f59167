"""From XADD to live values: what was added to a Redis Stream is what Redis shows, though some of it was sent twice."""

from __future__ import annotations

import json
import time

from streamproc.failpoints import EXIT_CODE
from tests.e2e.checks import check_windows, settle
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.stack import Stack, wait_for
from tests.support.truth import compute

STREAMS = json.dumps({"sp:in:user-events": USER_EVENTS, "sp:in:cost-events": COST_EVENTS})
USERS = 40


def test_live_values_are_what_was_added(running: Stack) -> None:
    """The intake is killed twice between Kafka's acknowledgement and Redis': its batches come again as duplicates."""
    stack = running
    stack.env["STREAMPROC_INTAKE_STREAMS"] = STREAMS
    windows = stack.worker("windows")
    now = int(time.time() * 1000)
    pipe = stack.redis.pipeline(transaction=False)
    for number in range(1200):
        event = user_event(now - number, user_id=number % USERS, activity_type="login")
        pipe.xadd("sp:in:user-events", {"value": encode(event)})
    for number in range(30):
        pipe.xadd("sp:in:cost-events", {"value": encode(cost_event(now - number, "0.1000", video_id=880_001))})
    pipe.xadd("sp:in:user-events", {"value": "{no json"})
    pipe.execute()
    port = 0
    for passing in (2, 3):
        dying = stack.worker("intake", wait=False, port=port, crash_at=f"after_intake:{passing}")
        assert dying.process.wait(60) == EXIT_CODE
        port = dying.port
    intake = stack.worker("intake", port=port)

    def shown() -> list[str]:
        # Summed over days: the test may run around midnight.
        days = stack.redis.hgetall("sp:series:user_events:1d").values()
        events = sum(float(value) for value in days)
        cost = stack.redis.hget("sp:entity:cost_per_video_usd:880001", "value")
        return [] if (events, cost) == (1200.0, "3") else [f"{events} events, cost {cost}"]

    settle(shown, 60)
    truth = check_windows(stack, compute(stack.log_records()))
    assert truth.dead_by_topic == {(USER_EVENTS, "malformed"): 1}
    wait_for("all is seen", lambda: windows.metric("streamproc_lag_records") == 0)
    doubled = len(stack.log_records()) - 1231
    assert doubled > 0
    assert windows.metric("streamproc_duplicates_total") >= doubled - 1
    assert stack.redis.xpending("sp:in:user-events", "streamproc-intake")["pending"] == 0
    assert intake.stop(15) == 0
