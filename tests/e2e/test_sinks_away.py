"""ClickHouse or Redis away: what does not need them goes on, and nothing is missing when they are back."""

from __future__ import annotations

import time

from tests.e2e.checks import check_live, check_windows, messages
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import Stack, wait_for
from tests.support.truth import compute


def _video_cost(video: int, amount: str) -> tuple[str, bytes, bytes]:
    now = int(time.time() * 1000)
    return (COST_EVENTS, str(video).encode(), encode(cost_event(now, amount, video_id=video)))


def _alerts(stack: Stack, video: int) -> list[str]:
    found = stack.query(
        f"SELECT rule, state FROM gold.alerts FINAL WHERE kind = 'transition' AND labels['video_id'] = '{video}'"
    )
    return sorted(f"{rule} {state}" for rule, state in found)


def test_without_clickhouse_live_values_and_alerts_go_on_and_a_restart_loses_nothing(running: Stack) -> None:
    """ClickHouse dies; live values and an alert come all the same; the windows worker is killed meanwhile, twice."""
    stack, events = running, messages(6, 4000)
    worker = stack.worker("windows")
    stack.worker("notify", wait=False)
    stack.produce(events[:1500])
    wait_for("some windows stored", lambda: stack.query("SELECT count() FROM gold.windows")[0][0] > 500)
    stack.kill_clickhouse()
    stack.produce([*events[1500:2500], _video_cost(990_001, "2.6000")])
    total = lambda: stack.redis.hget("sp:entity:cost_per_video_usd:990001", "value")  # noqa: E731
    wait_for("the live value", lambda: total() == "2.6")
    alerts = stack.dir / "alerts.log"
    wait_for("the alert", lambda: alerts.exists() and "990001" in alerts.read_text())
    worker.kill()
    second = stack.worker("windows", wait=False)
    stack.produce([*events[2500:3500], _video_cost(990_001, "0.1000")])
    second.wait_ready()
    wait_for("all is taken", lambda: second.metric("streamproc_lag_records") == 0)
    second.kill()
    third = stack.worker("windows", wait=False)
    stack.produce(events[3500:])
    third.wait_ready()
    stack.restart_clickhouse()
    truth = check_windows(stack)
    check_live(stack, truth)
    wait_for("one warning recorded", lambda: _alerts(stack, 990_001) == ["video-cost-warning firing"])
    assert third.stop() == 0


def test_redis_away_holds_nothing_up_and_an_empty_one_is_filled_again(running: Stack) -> None:
    """Redis is killed and comes back empty under load; then it is flushed while nothing at all happens."""
    stack, events = running, messages(7, 4000)
    worker = stack.worker("windows")
    stack.produce(events[:1500])
    wait_for("live values", lambda: stack.redis.dbsize() > 50)
    stack.redis_server.kill()
    stack.produce(events[1500:3000])
    truth = check_windows(stack)
    assert worker.metric("streamproc_sink_up", sink="redis") == 0
    stack.redis_server.start()
    check_live(stack, truth, timeout_s=30)
    stack.produce(events[3000:])
    truth = check_windows(stack)
    check_live(stack, truth)
    stack.redis.flushall()
    check_live(stack, compute(stack.log_records()), timeout_s=30)
    assert stack.redis.hget("sp:live:user_events:1m", "window_start")
    assert worker.stop() == 0
