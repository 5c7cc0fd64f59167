"""Retention that overtakes a worker: what was deleted unread is counted exactly."""

from __future__ import annotations

import asyncio
import time

import pytest

from schemas import internal
from tests.e2e.checks import settle
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.kafka import KafkaCluster
from tests.support.stack import Stack, read_all, wait_for

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


def lost_rows(stack: Stack) -> list[tuple[str, int, int, int, str]]:
    """What meta.lost_offsets says."""
    columns = "topic, partition, first, last, reason"
    return stack.query(f"SELECT DISTINCT {columns} FROM meta.lost_offsets FINAL ORDER BY ALL")  # type: ignore[return-value]


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
    wanted = [(COST_EVENTS, partition_of(kafka), 300, 649, "deleted_before_counted")]
    wait_for("the row", lambda: lost_rows(stack) == wanted)
    wait_for("no lag", lambda: second.metric("streamproc_lag_records") == 0)
    second.kill()
    stack.worker("windows")
    stack.produce(costs(10))
    check(stack, 460)


def recorded(stack: Stack) -> int:
    """Up to which offset of the costs every cell was sent, as progress records say."""
    records = asyncio.run(read_all(stack.broker.bootstrap, ["window-progress"]))
    known = [internal.decode_progress(record.value) for record in records]
    return max(each.sent for each in known if each.topic == COST_EVENTS)


def killed_at_500_saved_at_200(stack: Stack) -> None:
    """500 events are counted and published; the last snapshot has 200 of them."""
    worker = stack.worker("windows", snapshot_interval_s="600")
    stack.produce(costs(200))
    check(stack, 200)
    assert worker.stop() == 0
    second = stack.worker("windows", snapshot_interval_s="600")
    stack.produce(costs(300))
    check(stack, 500)
    # Progress is recorded once a second: cells sent after the last record count on, but nobody knows that all were sent.
    wait_for("progress up to 499", lambda: recorded(stack) == 499)
    second.kill()


def test_what_was_published_never_falls_though_its_records_are_gone(running: Stack, kafka: KafkaCluster) -> None:
    """kill -9 at 500 with no snapshot since 200, retention up to 400: those 200 were sent as cells, so nothing is lost."""
    stack = running
    killed_at_500_saved_at_200(stack)
    stack.produce(costs(100))
    kafka.delete_records(COST_EVENTS, partition_of(kafka), before=400)
    third = stack.worker("windows", snapshot_interval_s="600")
    check(stack, 600)
    assert third.metric(LOST) == 0
    third.kill()
    fourth = stack.worker("windows")
    stack.produce(costs(50))
    check(stack, 650)
    assert fourth.metric(LOST) == 0
    assert lost_rows(stack) == []


def test_only_what_no_worker_ever_counted_is_lost(running: Stack, kafka: KafkaCluster) -> None:
    """The same, but retention up to 550: 50 records that nobody had read are lost, and have a row; 550 of 600 count."""
    stack = running
    killed_at_500_saved_at_200(stack)
    stack.produce(costs(100))
    kafka.delete_records(COST_EVENTS, partition_of(kafka), before=550)
    third = stack.worker("windows", snapshot_interval_s="600")
    check(stack, 550)
    assert third.metric(LOST, topic=COST_EVENTS) == 50
    wanted = [(COST_EVENTS, partition_of(kafka), 500, 549, "deleted_before_counted")]
    wait_for("the row", lambda: lost_rows(stack) == wanted)
    third.kill()
    fourth = stack.worker("windows")
    stack.produce(costs(50))
    check(stack, 600)
    assert fourth.metric(LOST) == 0
    assert lost_rows(stack) == wanted
