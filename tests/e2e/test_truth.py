"""Truth: a messy workload through the real stack, every value equal to an independent recomputation in SQL."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.compare import differences
from tests.support.stack import Stack, wait_for
from tests.support.truth import compute
from tests.support.workload import Workload


def _messages(seed: int, events: int) -> list[tuple[str, bytes, bytes | None]]:
    return [(m.topic, m.key, m.value) for m in Workload(seed, events, int(time.time() * 1000), 0.1).messages()]


@pytest.fixture
def stack(tmp_path: Path):
    with Stack(tmp_path / "stack") as running:
        yield running


def check(stack: Stack, timeout_s: float = 60.0) -> None:
    """ClickHouse equals the truth of what the broker has; waits until it does, or fails with the differences."""
    truth = compute(stack.log_records())
    expected = truth.windows | truth.entities
    deadline = time.monotonic() + timeout_s
    while True:
        wrong = differences(stack.windows(), expected)
        if not wrong or time.monotonic() > deadline:
            break
        time.sleep(0.3)
    assert not wrong, f"{len(wrong)} differences, e.g.\n" + "\n".join(wrong[:15])


def test_windows_in_clickhouse_equal_the_truth(stack: Stack) -> None:
    """One worker, no fault."""
    stack.create_topics()
    worker = stack.worker("windows")
    stack.produce(_messages(1, 20_000))
    check(stack)
    assert worker.stop() == 0


def test_killed_workers_change_nothing(stack: Stack) -> None:
    """Workers killed in the middle and a second one that joins: the same equality."""
    stack.create_topics()
    messages = _messages(2, 20_000)
    first = stack.worker("windows")
    stack.produce(messages[:8000])
    first.kill()
    second = stack.worker("windows", wait=False)
    stack.produce(messages[8000:14000])
    third = stack.worker("windows")
    second.wait_ready()
    stack.produce(messages[14000:])
    third.kill()
    wait_for("everything is taken", lambda: second.metric("streamproc_lag_records") == 0, 30)
    check(stack)
