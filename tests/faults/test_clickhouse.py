"""C1 to C9: whatever ClickHouse answers, swallows or loses, live values go on, and afterwards every number is equal."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from tests.e2e.checks import check_archive, check_live, check_windows
from tests.faults.fragile import FragileStack
from tests.support import clickhouse_proxy as http
from tests.support.clickhouse_proxy import HttpFault
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import wait_for

#: Those that end at once, so that many fit into one test; the others need a time-out or their time.
QUICK = tuple(fault for fault in http.PASSING if fault.kind not in (http.Kind.HALF_OPEN, http.Kind.SLOW))


def _started(stack: FragileStack) -> None:
    stack.worker("windows", wait=False)
    stack.worker("archive", wait=False)
    for worker in stack.workers:
        worker.wait_ready()


def _equal(stack: FragileStack) -> None:
    """Windows, live values and archive are what the log says; both workers live and are ready again."""
    truth = check_windows(stack)
    check_live(stack, truth)
    check_archive(stack)
    for worker in stack.workers:
        wait_for(f"{worker.role} is ready", worker.ready, 30)


def _strike(stack: FragileStack, fault: HttpFault, events: int, times: int) -> None:
    """Events come while the fault lasts and are taken without ClickHouse; it ends after `times` requests."""
    before = stack.clickhouse_proxy.struck[fault.name]
    stack.clickhouse_proxy.apply(fault)
    try:
        stack.produce(stack.more(events))
        stack.caught_up(stack.workers[0])
        wait_for(f"{fault.name}", lambda: stack.clickhouse_proxy.struck[fault.name] - before >= times, 60)
    finally:
        stack.clickhouse_proxy.clear()
    assert [worker.process.poll() for worker in stack.workers] == [None, None]


def test_all_quick_faults_in_turn_change_nothing(running: FragileStack) -> None:
    """C1, C2, C4, C6: six of ten requests fail, one fault after the other."""
    _started(running)
    for fault in QUICK:
        _strike(running, replace(fault, share=0.6), 150, 2)
    _equal(running)


@pytest.mark.slow
@pytest.mark.parametrize("fault", (*QUICK, http.SLOW), ids=lambda fault: fault.name)
def test_a_fault_of_every_request_changes_nothing(running: FragileStack, fault: HttpFault) -> None:
    """C1, C2, C4, C5, C6: each alone, and nothing gets through meanwhile (if slowly, all does)."""
    _started(running)
    running.produce(running.more(500))
    _strike(running, fault, 1500, 8)
    _equal(running)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_half_open_connection_is_given_up(running: FragileStack) -> None:
    """C3: accepted and never answered: both workers give up within 30 s, say so, and go on when it is over."""
    _started(running)
    running.produce(running.more(500))
    windows, archive = running.workers
    began = time.monotonic()
    running.clickhouse_proxy.apply(http.HALF_OPEN)
    running.produce(running.more(500))
    wait_for("the archive is not ready", lambda: not archive.ready(), 40)
    wait_for("the sink counts as away", lambda: windows.metric("streamproc_sink_up", sink="clickhouse") == 0, 40)
    assert windows.metric("streamproc_sink_errors_total", reason="timeout") > 0
    assert windows.ready()
    assert time.monotonic() - began < 45
    running.clickhouse_proxy.clear()
    _equal(running)


@pytest.mark.slow
def test_a_wrong_password_is_told_and_waited_for(running: FragileStack) -> None:
    """C6: a permanent error makes the workers not ready and says why; nothing is dropped, live values go on."""
    _started(running)
    running.produce(running.more(300))
    windows, archive = running.workers
    running.clickhouse_proxy.apply(http.AUTHENTICATION)
    running.produce([*running.more(300), _cost(990_002)])
    for worker in (windows, archive):
        wait_for(f"{worker.role} says why", lambda w=worker: "authentication_failed" in w.get("ready")[1], 40)
        assert worker.get("ready")[0] == 503 and worker.get("live")[0] == 200
    total = "sp:entity:cost_per_video_usd:990002"
    wait_for("the live value", lambda: running.redis.hget(total, "value") == "0.5", 30)
    running.clickhouse_proxy.clear()
    _equal(running)


def _cost(video: int) -> tuple[str, bytes, bytes]:
    event = cost_event(int(time.time() * 1000), "0.5000", video_id=video)
    return COST_EVENTS, str(video).encode(), encode(event)


@pytest.mark.slow
@pytest.mark.parametrize("table", ["gold.windows", "meta.window_sources", "bronze.user_events", "silver.user_activity"])
def test_a_missing_table_loses_nothing_once_it_is_back(running: FragileStack, table: str) -> None:
    """C7: also the target of a view behind bronze: the insert is refused as a whole, or done again as a whole."""
    _started(running)
    running.produce(running.more(500))
    running.query(f"RENAME TABLE {table} TO {table}_away")
    running.produce(running.more(500))
    role = 0 if table in ("gold.windows", "meta.window_sources") else 1
    told = running.workers[role]
    wait_for("it is told", lambda: told.get("ready")[0] == 503 and "unknown_table" in told.get("ready")[1], 40)
    running.query(f"RENAME TABLE {table}_away TO {table}")
    _equal(running)


@pytest.mark.slow
def test_killed_again_and_again_in_the_middle_of_inserts(running: FragileStack) -> None:
    """C9: six times SIGKILL while records come; no row lost, none twice, none in part."""
    _started(running)
    for _ in range(6):
        running.produce(running.more(400))
        bronze = running.workers[1]
        stored = bronze.metric("streamproc_archived_records_total")
        wait_for("inserts go on", lambda b=bronze, n=stored: b.metric("streamproc_archived_records_total") > n, 40)
        running.kill_clickhouse()
        running.produce(running.more(200))
        running.restart_clickhouse()
    _equal(running)
