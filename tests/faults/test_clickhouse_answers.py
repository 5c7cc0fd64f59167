"""C1, C2, C4, C6: whatever ClickHouse answers or swallows, live values go on, and afterwards every number is equal."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.checks import check_archive, check_windows
from tests.faults.fragile import FragileStack
from tests.support.clickhouse_proxy import (
    LOST_ACK,
    MEMORY,
    READ_ONLY,
    RESET_IN_BODY,
    SERVER_ERROR,
    TOO_MANY_PARTS,
    TOO_MANY_REQUESTS,
    TRUNCATED,
    UNAVAILABLE,
    HttpFault,
)
from tests.support.stack import wait_for

pytestmark = pytest.mark.xdist_group("faults-clickhouse")

PASSING = (
    SERVER_ERROR, UNAVAILABLE, TOO_MANY_REQUESTS, TOO_MANY_PARTS, READ_ONLY, MEMORY, LOST_ACK, RESET_IN_BODY, TRUNCATED,
)  # fmt: skip


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FragileStack]:
    with FragileStack(tmp_path_factory.mktemp("clickhouse-answers")) as running:
        running.worker("windows", wait=False)
        running.worker("archive", wait=False)
        for worker in running.workers:
            worker.wait_ready()
        yield running


def _live_user_events(stack: FragileStack) -> int:
    return int(stack.redis.hget("sp:live:user_events:1d", "count") or 0)


def _strike(stack: FragileStack, fault: HttpFault, times: int) -> None:
    """Events come while the fault lasts, and reach Redis meanwhile; it ends after `times` requests."""
    windows, archive = stack.workers
    stack.clickhouse_proxy.apply(fault)
    try:
        before = stack.clickhouse_proxy.struck[fault.name]
        stack.produce(stack.more(300))
        stack.caught_up(windows)
        wait_for(f"{fault.name} struck", lambda: stack.clickhouse_proxy.struck[fault.name] - before >= times)
        assert windows.process.poll() is None and archive.process.poll() is None
    finally:
        stack.clickhouse_proxy.clear()


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_a_fault_that_passes_changes_nothing(stack: FragileStack, fault: HttpFault) -> None:
    """Nothing lost, nothing doubled, windows and archive; both workers live on and are ready again."""
    _strike(stack, fault, 6)
    check_windows(stack, timeout_s=30)
    check_archive(stack, timeout_s=30)
    for worker in stack.workers:
        wait_for(f"{worker.role} is ready again", worker.ready, 20)
