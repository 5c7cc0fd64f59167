"""Sending files and demo traffic to a real broker."""

from __future__ import annotations

import asyncio
import io
import uuid
from collections.abc import Callable

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.partitioner import murmur2

from streamproc.clock import monotonic
from streamproc.config import Settings, load_settings
from streamproc.errors import RetryableError
from streamproc.produce.connect import supports_idempotence
from streamproc.produce.demo_loop import run_demo
from streamproc.produce.file import Options, Report, send_file
from tests.support.broker import Broker, chosen_broker, start_broker
from tests.support.events import COST_EVENTS, USER_EVENTS, cost_event, encode, user_event
from tests.support.ports import free_port

NOW = 1_772_445_600_000
Row = tuple[int, bytes | None, bytes | None]


@pytest.fixture
def settings(broker: Broker) -> Settings:
    """Settings with topics of their own."""
    return load_settings(broker_url=broker.url, topic_prefix=f"t{uuid.uuid4().hex[:8]}.", partitions=4)


async def _read(settings: Settings, topic: str, enough: Callable[[list[Row]], bool]) -> list[Row]:
    """(partition, key, value) of a topic's records, until there are enough."""
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    await consumer.start()
    try:
        partitions = [TopicPartition(settings.topic(topic), number) for number in range(settings.partitions)]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        rows: list[Row] = []
        deadline = monotonic() + 20
        while not enough(rows) and monotonic() < deadline:
            for records in (await consumer.getmany(timeout_ms=100)).values():
                rows += [(record.partition, record.key, record.value) for record in records]
        return rows
    finally:
        await consumer.stop()


def _send(settings: Settings, lines: list[bytes], options: Options) -> Report:
    return asyncio.run(send_file(settings, io.BytesIO(b"\n".join(lines)), options))


def test_a_file_arrives_in_order_with_keys_and_partitions_of_kafka(settings: Settings) -> None:
    """Every valid line once, under murmur2 of its key, in the order of the file within a partition."""
    lines = [encode(user_event(NOW + i, user_id=i % 13)) for i in range(500)]
    report = _send(settings, lines, Options(USER_EVENTS))
    assert (report.ok, report.acknowledged, report.lines) == (True, 500, 500)
    rows = asyncio.run(_read(settings, USER_EVENTS, lambda rows: len(rows) >= 500))
    assert sorted(value for _, _, value in rows if value) == sorted(lines)
    for partition in range(4):
        got = [value for where, _, value in rows if where == partition]
        assert got == [line for line in lines if line in set(got)]
    for where, key, _ in rows:
        assert key is not None
        assert where == (murmur2(key) & 0x7FFFFFFF) % 4


def test_invalid_lines_are_reported_and_skipped_unless_wanted(settings: Settings) -> None:
    """The line number counts blank lines; with send_invalid the bytes go as they are."""
    lines = [encode(cost_event(NOW)), b"", b"{broken", encode(cost_event(NOW, component="coffee"))]
    report = _send(settings, lines, Options(COST_EVENTS))
    assert not report.ok
    assert (report.sent, report.invalid, report.skipped) == (1, 2, 2)
    assert [number for number, _ in report.problems] == [3, 4]
    assert len(report.event_ids) == 1
    report = _send(settings, lines[2:], Options(COST_EVENTS, send_invalid=True))
    assert (report.sent, report.acknowledged, report.invalid, report.skipped, report.ok) == (2, 2, 2, 0, False)
    rows = asyncio.run(_read(settings, COST_EVENTS, lambda rows: len(rows) >= 3))
    assert {value for _, _, value in rows} == {lines[0], *lines[2:]}


def test_an_oversized_line_can_be_sent_to_be_refused(settings: Settings) -> None:
    """Above 1 MiB is invalid here, and still arrives with send_invalid."""
    big = encode(user_event(NOW, padding="x" * (1024 * 1024)))
    report = _send(settings, [big], Options(USER_EVENTS, send_invalid=True))
    assert (report.acknowledged, report.invalid) == (1, 1)
    assert report.problems[0][1].startswith("too_large")


def test_no_broker_is_one_clear_error() -> None:
    """It names the address and the setting."""
    away = load_settings(broker_url=f"kafka://127.0.0.1:{free_port()}")
    with pytest.raises(RetryableError, match="STREAMPROC_BROKER_URL"):
        _send(away, [encode(user_event(NOW))], Options(USER_EVENTS))
    with pytest.raises(RetryableError, match="STREAMPROC_BROKER_URL"):
        asyncio.run(supports_idempotence(away))


def test_an_idempotent_producer_is_found_where_there_is_one(settings: Settings) -> None:
    """Detected, not assumed."""
    assert asyncio.run(supports_idempotence(settings)) is (chosen_broker() == "kafka")


def test_demo_traffic_is_acknowledged_at_its_pace(settings: Settings) -> None:
    """About rate times seconds, all of it acknowledged; ends by itself."""
    counts = asyncio.run(run_demo(settings, rate=400, seed=1, for_s=2.0))
    assert counts.failed == 0
    assert counts.acknowledged == counts.sent
    assert 100 < counts.sent < 1600


def test_demo_traffic_goes_on_after_the_broker_died_and_came_back_empty() -> None:
    """The topics are made again with our partitions, and traffic goes on."""
    broker = start_broker()

    async def scenario() -> list[Row]:
        settings = load_settings(broker_url=broker.url, partitions=3)
        stop = asyncio.Event()
        task = asyncio.create_task(run_demo(settings, rate=200, seed=1, stop=stop))
        await _read(settings, USER_EVENTS, lambda rows: len(rows) > 20)
        await asyncio.to_thread(broker.lose_log)
        rows = await _read(settings, USER_EVENTS, lambda rows: len({where for where, _, _ in rows}) == 3)
        stop.set()
        await asyncio.wait_for(task, 20)
        return rows

    try:
        rows = asyncio.run(scenario())
    finally:
        broker.discard()
    assert len({where for where, _, _ in rows}) == 3
