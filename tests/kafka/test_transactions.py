"""Transactional producers: markers leave holes in the offsets, and aborted records are none."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest
from aiokafka import AIOKafkaProducer

from tests.e2e.checks import Message, check_archive, check_live, check_windows, messages
from tests.support.stack import Stack, wait_for

pytestmark = pytest.mark.kafka_only("the embedded broker has no transactions")


def transact(stack: Stack, parts: Iterable[tuple[list[Message], bool]]) -> None:
    """Produce each part in a transaction of its own, which is committed or aborted."""

    async def act() -> None:
        producer = AIOKafkaProducer(
            bootstrap_servers=stack.broker.bootstrap, transactional_id="tests", max_request_size=16 << 20
        )
        await producer.start()
        try:
            for events, commit in parts:
                await producer.begin_transaction()
                futures = [await producer.send(topic, value, key=key) for topic, key, value in events]
                await asyncio.gather(*futures)
                await (producer.commit_transaction() if commit else producer.abort_transaction())
        finally:
            await producer.stop()

    asyncio.run(act())


def test_markers_are_no_lag_and_no_loss(running: Stack) -> None:
    """Every partition ends with a marker: nothing is behind, nothing is lost, and a restart goes on after it."""
    stack, events = running, messages(41, 3000)
    worker, archive = stack.worker("windows"), stack.worker("archive")
    transact(stack, [(events[start : start + 500], True) for start in range(0, 2000, 500)])
    check_windows(stack)
    for each in (worker, archive):
        wait_for("no lag", lambda each=each: each.metric("streamproc_lag_records") == 0, 10)
    worker.kill()
    second = stack.worker("windows")
    transact(stack, [(events[2000:], True)])
    truth = check_windows(stack)
    check_live(stack, truth)
    check_archive(stack)
    assert second.metric("streamproc_lost_offsets_total") == 0
    wait_for("no lag", lambda: second.metric("streamproc_lag_records") == 0, 10)


def test_aborted_records_never_count(running: Stack) -> None:
    """Neither in windows nor in the archive; also when the log begins and ends with them, and over a restart."""
    stack, events = running, messages(42, 3000)
    worker = stack.worker("windows")
    stack.worker("archive", wait=False)
    transact(stack, [(events[:400], False), (events[400:1500], True), (events[1500:1900], False)])
    check_windows(stack)
    worker.kill()
    second = stack.worker("windows")
    transact(stack, [(events[1900:], True), (events[:300], False)])
    check_live(stack, check_windows(stack))
    check_archive(stack)
    wait_for("no lag", lambda: second.metric("streamproc_lag_records") == 0, 10)
