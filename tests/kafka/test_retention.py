"""Retention that overtakes a worker: what was deleted unread is counted exactly."""

from __future__ import annotations

import time

import pytest

from tests.e2e.checks import settle
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.kafka import KafkaCluster
from tests.support.stack import Stack, wait_for

pytestmark = pytest.mark.kafka_only("the embedded broker has no DeleteRecords")

LOST = "streamproc_lost_offsets_total"


def costs(count: int) -> list[tuple[str, bytes, bytes]]:
    """Costs of one video (so of one partition), a cent each."""
    now = int(time.time() * 1000)
    return [(COST_EVENTS, b"7", encode(cost_event(now, "0.0100", video_id=7))) for _ in range(count)]


def partition_of(kafka: KafkaCluster) -> int:
    """The partition that holds them."""
    return next(number for number, (_, end) in kafka.bounds(COST_EVENTS).items() if end)


def counted(stack: Stack) -> tuple[int, float]:
    """How many costs the days count (a test at midnight sees two), and the video's total in cents."""
    days = (
        "SELECT sum(count) FROM gold.windows FINAL WHERE metric = 'total_cost_usd' AND window = '1d' AND dimension = ''"
    )
    total = stack.query("SELECT sum(sum_e4) / 100 FROM gold.entities FINAL WHERE entity = '7'")[0][0]
    return int(stack.query(days)[0][0]), float(total)


def check(stack: Stack, events: int) -> None:
    """That many events count, and each as a cent."""
    wanted = (events, float(events))
    settle(lambda: [] if counted(stack) == wanted else [f"{counted(stack)}, wanted {wanted}"], 40)


def test_records_deleted_while_the_worker_was_away_are_counted_exactly(running: Stack, kafka: KafkaCluster) -> None:
    """It stopped gracefully at 300; 500 came, of which 350 were deleted: 350 are lost, and 450 count."""
    stack = running
    worker = stack.worker("windows")
    stack.produce(costs(300))
    check(stack, 300)
    assert worker.stop() == 0
    stack.produce(costs(500))
    kafka.delete_records(COST_EVENTS, partition_of(kafka), before=650)
    second = stack.worker("windows")
    check(stack, 450)
    assert second.metric(LOST, topic=COST_EVENTS) == 350
    assert second.metric(LOST) == 350
    wait_for("no lag", lambda: second.metric("streamproc_lag_records") == 0)
    second.kill()
    stack.worker("windows")
    stack.produce(costs(10))
    check(stack, 460)


def test_after_a_crash_what_retention_took_is_said_and_nothing_else_is_missing(
    running: Stack, kafka: KafkaCluster
) -> None:
    """kill -9 at 500 with no snapshot since 200, retention up to 400: a restart folds from the snapshot on, so that the
    200 between are lost again and counted as lost, once, and the 400 others count."""
    stack = running
    worker = stack.worker("windows", snapshot_interval_s="600")
    stack.produce(costs(200))
    check(stack, 200)
    assert worker.stop() == 0
    second = stack.worker("windows", snapshot_interval_s="600")
    stack.produce(costs(300))
    check(stack, 500)
    second.kill()
    stack.produce(costs(100))
    kafka.delete_records(COST_EVENTS, partition_of(kafka), before=400)
    third = stack.worker("windows", snapshot_interval_s="600")
    check(stack, 400)
    assert third.metric("streamproc_events_total", topic=COST_EVENTS) == 200
    assert third.metric(LOST, topic=COST_EVENTS) == 200
    wait_for("a snapshot after the hole", lambda: third.metric("streamproc_snapshot_seconds_count") == 1)
    third.kill()
    fourth = stack.worker("windows")
    stack.produce(costs(50))
    check(stack, 450)
    assert fourth.metric(LOST) == 0
