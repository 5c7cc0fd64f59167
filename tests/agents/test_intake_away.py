"""The intake while Redis or Kafka is away: it waits, says so, holds little, and nothing is missing afterwards."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from schemas.topics import DEAD_LETTERS, USER_EVENTS
from streamproc.agents.intake_send import IntakeSender
from streamproc.agents.publisher import Message
from streamproc.config import Settings
from tests.agents.intake_stack import STREAM, IntakeStack, user_events
from tests.support.redis_proxy import FAULTS, NO_AUTH, RedisProxy
from tests.support.stack import wait_for


@pytest.fixture
def running(tmp_path: Path) -> Iterator[IntakeStack]:
    with IntakeStack(tmp_path / "stack") as stack:
        yield stack


def test_a_stopped_kafka_holds_the_reading(running: IntakeStack) -> None:
    """The broker is frozen: one batch is in hand, the rest stays in Redis, /ready says why; thawed, all arrives."""
    worker = running.intake()
    first = user_events(10)
    running.add(first)
    running.wait_for_all(first)
    running.broker.signal(signal.SIGSTOP)
    events = user_events(3000, first=10)
    running.add(events)
    wait_for("it is not ready", lambda: "Kafka refuses or is away" in worker.get("ready")[1], 40)
    (group,) = running.redis.xinfo_groups(STREAM)
    assert 0 < group["pending"] <= 256
    assert group["lag"] >= 3000 - 256
    assert worker.get("live")[0] == 200
    running.broker.signal(signal.SIGCONT)
    found = running.wait_for_all(events, timeout_s=60)
    running.wait_acknowledged()
    assert set(found) == {*first, *events}
    wait_for("it is well", worker.ready)


def test_a_stop_without_kafka_ends_in_time_and_loses_nothing(running: IntakeStack) -> None:
    """What is in hand stays pending; who starts in its place sends it."""
    worker = running.intake()
    events = user_events(600)
    running.broker.signal(signal.SIGSTOP)
    running.add(events)
    wait_for("a batch is in hand", running.pending)
    begun = time.monotonic()
    assert worker.stop(30) == 0
    assert time.monotonic() - begun < 15
    running.broker.signal(signal.SIGCONT)
    running.intake(port=worker.port)
    assert set(running.wait_for_all(events, timeout_s=60)) == set(events)
    running.wait_acknowledged()


def test_every_fault_of_redis_passes(running: IntakeStack) -> None:
    """Errors, lost and cut replies, no replies: half of all commands each, then none; entries come again, and none is missing."""
    proxy = RedisProxy(running.redis_server.port)
    try:
        worker = running.intake(redis_url=f"redis://127.0.0.1:{proxy.port}/0")
        sent: list[bytes] = []
        for fault in FAULTS:
            events = user_events(400, first=len(sent))
            sent += events
            proxy.apply(fault)
            running.add(events)
            if not fault.writes_only or fault.share:
                wait_for(f"{fault.name} strikes", lambda name=fault.name: proxy.struck[name] > 0)
            if fault is NO_AUTH:
                wait_for("it says so", lambda: "Redis refuses or is away: authentication" in worker.get("ready")[1])
            proxy.clear()
            running.wait_for_all(events)
            running.wait_acknowledged()
        assert set(running.values()) == set(sent)
        wait_for("it is well", worker.ready)
    finally:
        proxy.stop()


@pytest.mark.kafka_only("the embedded broker takes records of any size")
def test_a_batch_that_is_too_large_is_no_reason_to_refuse_small_entries(tmp_path: Path) -> None:
    """The broker refuses a batch as a whole; one of its messages is too large, and no other one becomes a dead letter."""
    with IntakeStack(tmp_path / "stack") as stack:

        async def act() -> None:
            admin = AIOKafkaAdminClient(bootstrap_servers=stack.broker.bootstrap)
            await admin.start()
            config = {"max.message.bytes": "5000"}
            await admin.create_topics([NewTopic("small", 1, 1, topic_configs=config)])
            await admin.close()
            sender = IntakeSender(Settings(broker_url=stack.broker.url))
            await sender.start()
            messages = [
                Message("small", None, b"k", b"%04d" % i + b"x" * (9000 if i == 30 else 200)) for i in range(60)
            ]
            done: set[int] = set()
            left = list(range(60))
            refused: list[int] = []
            while left:
                outcome = await sender.round(messages, left, done)
                left = outcome.left
                refused += outcome.refused
            await sender.stop()
            assert refused == [30]
            assert done == set(range(60)) - {30}

        asyncio.run(act())
        assert len(stack.records("small")) == 59
        assert stack.records(DEAD_LETTERS) == stack.records(USER_EVENTS) == []
