"""R1 to R3: Redis refuses, lies, forgets: windows go on into ClickHouse, and Redis is complete again by itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.e2e.checks import Message, check_live, check_windows
from tests.faults.fragile import FragileStack
from tests.support import redis_proxy as resp
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.proxy import Mode
from tests.support.redis_proxy import RedisFault
from tests.support.stack import Worker, wait_for

HOUR = 3_600_000
#: A promise (item 4 of the fault run's list): after its return Redis is complete within this time.
COMPLETE_S = 10.0


def _strike(stack: FragileStack, fault: RedisFault, times: int = 10) -> None:
    before = stack.redis_proxy.struck[fault.name]
    stack.redis_proxy.apply(fault)
    try:
        stack.produce(stack.more(150))
        wait_for(fault.name, lambda: stack.redis_proxy.struck[fault.name] - before >= times, 40)
    finally:
        stack.redis_proxy.clear()


def test_all_errors_in_turn_change_nothing(running: FragileStack) -> None:
    """R3: -LOADING, -OOM, -READONLY, -NOAUTH, lost and cut replies; then refused and slow."""
    worker = running.worker("windows")
    for fault in resp.FAULTS:
        if fault is not resp.HALF_OPEN:
            _strike(running, replace(fault, share=0.7))
    for mode in (Mode.REFUSE, Mode.DELAY):
        running.redis_proxy.set(mode, 0.2)
        running.produce(running.more(150))
        running.caught_up(worker)
        running.redis_proxy.set(Mode.PASS)
    check_live(running, check_windows(running))
    assert worker.ready()


@pytest.mark.slow
@pytest.mark.parametrize("fault", resp.FAULTS, ids=lambda fault: fault.name)
def test_an_error_of_every_command_holds_nothing_up(running: FragileStack, fault: RedisFault) -> None:
    """R3: ClickHouse gets its windows meanwhile; Redis is complete within 10 s of the end."""
    worker = running.worker("windows")
    running.produce(running.more(500))
    running.redis_proxy.apply(fault)
    running.produce(running.more(1000))
    truth = check_windows(running)
    wait_for("it is told", lambda: worker.metric("streamproc_sink_up", sink="redis") == 0, 20)
    running.redis_proxy.clear()
    check_live(running, truth, timeout_s=COMPLETE_S)
    wait_for("ready", worker.ready, COMPLETE_S)


def _history(now: int) -> list[Message]:
    """Events of hours ago and of now; by event time in order, so that none is too late."""
    times = [now - back for back in range(20 * HOUR, 0, -HOUR)]
    events = [(USER_EVENTS, b"1", encode(user_event(at, user_id=n))) for n, at in enumerate(times)]
    costs = [(COST_EVENTS, b"7", encode(cost_event(at, "0.2000", video_id=7))) for at in times]
    return [*events, *costs]


def _all_values(stack: FragileStack) -> dict[str, dict[str, str]]:
    """What people read: live values, series, totals, alerts; without when they were written, and what has rolled since."""
    found = {}
    for kind in ("series", "entity", "alert"):
        for key in stack.redis.scan_iter(f"sp:{kind}:*", count=1000):
            fields = stack.redis.hgetall(key)
            found[key] = {name: text for name, text in fields.items() if name != "updated_at"}
    return found


def _notifier(stack: FragileStack) -> Worker:
    return stack.worker("notify", slack_webhook_url=stack.slack.url)


def test_an_empty_redis_is_complete_within_10_s_with_old_series_and_alerts(running: FragileStack) -> None:
    """R1: killed and back empty: series of hours ago that nobody holds any more, totals and alerts, the quiet metrics too."""
    windows, notify = running.worker("windows", idle_timeout_s="1"), _notifier(running)
    running.produce(_history(int(time.time() * 1000)))
    truth = check_windows(running)
    check_live(running, truth)
    running.slack.wait_for(1)
    wait_for("an alert is shown", lambda: list(running.redis.scan_iter("sp:alert:*")), 20)
    wait_for("old windows are let go", lambda: windows.metric("streamproc_open_windows") < 100, 30)
    before = _all_values(running)
    running.redis_server.kill()
    running.redis_server.start()
    began = time.monotonic()
    wait_for("all is there again", lambda: _all_values(running) == before, COMPLETE_S)
    assert time.monotonic() - began < COMPLETE_S * 6  # of a machine that does much beside
    wait_for("live values too", lambda: running.redis.hget("sp:live:dau:1d", "value"), COMPLETE_S)
    assert windows.ready() and notify.ready()


@pytest.mark.slow
def test_a_worker_that_starts_after_the_loss_fills_redis_too(running: FragileStack) -> None:
    """R1: Redis was lost while no worker ran, and the windows of its series are in ClickHouse only."""
    windows, notify = running.worker("windows", idle_timeout_s="1"), _notifier(running)
    running.produce(_history(int(time.time() * 1000)))
    check_live(running, check_windows(running))
    running.slack.wait_for(1)
    wait_for("an alert is shown", lambda: list(running.redis.scan_iter("sp:alert:*")), 20)
    before = _all_values(running)
    assert (windows.stop(), notify.stop()) == (0, 0)
    running.redis.flushall()
    running.worker("windows")
    _notifier(running)
    wait_for("all is there again", lambda: _all_values(running) == before, 30)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["allkeys-lru", "allkeys-random"])
def test_eviction_costs_only_what_people_see(running: FragileStack, policy: str) -> None:
    """R2: with 4 MB and any key to go, windows in ClickHouse stay equal; emptied and with room again, all is there."""
    windows, notify = running.worker("windows"), _notifier(running)
    running.redis.config_set("maxmemory-policy", policy)
    running.redis.config_set("maxmemory", "4mb")
    running.produce(running.more(15_000))
    truth = check_windows(running)
    assert int(running.redis.info("stats")["evicted_keys"]) > 0
    running.redis.config_set("maxmemory", "0")
    running.redis.flushall()
    check_live(running, truth)
    assert windows.ready() and notify.ready()


@pytest.mark.slow
def test_full_memory_is_waited_for(running: FragileStack) -> None:
    """R2, R3: noeviction and no room: writes are refused; the worker goes on, and all is there once there is room."""
    worker = running.worker("windows")
    running.produce(running.more(300))
    check_live(running, check_windows(running))
    running.redis.config_set("maxmemory-policy", "noeviction")
    running.redis.config_set("maxmemory", "1mb")
    running.produce(running.more(1000))
    truth = check_windows(running)
    wait_for("told", lambda: worker.metric("streamproc_sink_errors_total", reason="out_of_memory") > 0, 20)
    running.redis.config_set("maxmemory", "0")
    check_live(running, truth, timeout_s=COMPLETE_S)
