"""A broker that lost its log in the middle of a day: the values of both logs add up."""

from __future__ import annotations

import time
import uuid

from tests.e2e.checks import settle
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.stack import Stack, wait_for

Message = tuple[str, bytes, bytes | None]


def _costs(count: int, amount: str = "0.0100") -> list[Message]:
    now = int(time.time() * 1000)
    found = [(COST_EVENTS, f"{n}".encode(), encode(cost_event(now, amount, video_id=n))) for n in range(count)]
    return [*found, *[(USER_EVENTS, b"7", encode(user_event(now, user_id=n))) for n in range(count)]]


def _day(stack: Stack) -> tuple[float, float, float]:
    """Cost of the day, user events of the day, cost of video 1, as stored (a test at midnight sees two days)."""
    cost, events = (
        stack.query(
            f"SELECT sum({what}) FROM gold.windows FINAL WHERE metric = '{metric}' AND window = '1d' AND dimension = ''"
        )[0][0]
        for metric, what in (("total_cost_usd", "sum_e4"), ("user_events", "count"))
    )
    video = stack.query("SELECT sum(sum_e4) FROM gold.entities FINAL WHERE entity = '1'")[0][0]
    return cost / 10_000, float(events), video / 10_000


def _check(stack: Stack, cost: float, events: float, video: float, timeout_s: float = 60.0) -> None:
    wanted = (cost, events, video)
    settle(lambda: [] if _day(stack) == wanted else [f"{_day(stack)}, wanted {wanted}"], timeout_s)
    live = "sp:live:daily_burn_rate_usd:1d"
    settle(lambda: [] if stack.redis.hget(live, "value") == f"{cost:g}" else [str(stack.redis.hgetall(live))], 15)


def test_a_worker_that_runs_through_it_adds_both_logs_up(running: Stack) -> None:
    """The new log is shorter at first; then it is lost once more, and refilled beyond the old offsets at once."""
    stack = running
    worker = stack.worker("windows")
    stack.produce(_costs(100))
    _check(stack, 1.0, 100, 0.01)
    stack.lose_log()
    stack.produce(_costs(40))
    _check(stack, 1.4, 140, 0.02)
    stack.lose_log()
    stack.produce(_costs(300))
    _check(stack, 4.4, 440, 0.03)
    assert worker.process.poll() is None


def test_a_restarted_worker_adds_both_logs_up(running: Stack) -> None:
    """The new log was refilled beyond the old offset before anybody looked, and ids of the old log may come again."""
    stack = running
    first = stack.worker("windows")
    repeated = encode(cost_event(int(time.time() * 1000), "1.0000", video_id=1, event_id=str(uuid.uuid4())))
    stack.produce([*_costs(100), (COST_EVENTS, b"1", repeated)])
    _check(stack, 2.0, 100, 1.01)
    assert first.stop() == 0
    stack.lose_log()
    stack.produce(_costs(250))
    second = stack.worker("windows")
    _check(stack, 4.5, 350, 1.02)
    second.kill()
    third = stack.worker("windows", wait=False)
    stack.produce(_costs(10))
    _check(stack, 4.6, 360, 1.03)
    wait_for("ready", third.ready)
