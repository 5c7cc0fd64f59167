"""Our own clients against a real broker: exact ends of logs, following and publishing across its restarts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from aiokafka import TopicPartition

from streamproc.agents import log_reader
from streamproc.agents.follow import Follower
from streamproc.agents.log_reader import LogReader
from streamproc.agents.publisher import Message, Publisher
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.agents.waiting import until
from tests.support.broker import Broker, chosen_broker, start_broker
from tests.support.stack import produce

TOPIC = "alerts"


@pytest.fixture
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


def settings_of(broker: Broker) -> Settings:
    return Settings(broker_url=broker.url, partitions=3)


def test_ends_and_first_records_of_empty_and_filled_partitions(broker: Broker) -> None:
    """The embedded broker's own end offsets are those of its last batch's base: ours are exact."""

    async def act() -> None:
        await ensure_topics(settings_of(broker))
        tps = [TopicPartition(TOPIC, number) for number in range(3)]
        async with LogReader([broker.bootstrap]) as reader:
            assert await reader.partitions(TOPIC) == [0, 1, 2]
            assert await reader.partitions("no-such-topic") == []
            assert [await reader.end(tp) for tp in tps] == [0, 0, 0]
            assert await reader.first_records(dict.fromkeys(tps, 0)) == dict.fromkeys(tps)
            assert await reader.read_from(tps[0], 0) == []
            publisher = Publisher([broker.bootstrap])
            await publisher.start()
            sent = await publisher.send_all([Message(TOPIC, 1, b"k", f"{i}".encode()) for i in range(700)])
            await publisher.stop()
            assert sent == list(range(700))
            assert [await reader.end(tp) for tp in tps] == [0, 700, 0]
            first = await reader.first_records({tps[0]: 0, tps[1]: 699, tps[2]: 0})
            assert first[tps[0]] is None
            assert first[tps[1]].value == b"699"
            assert (await reader.first_records({tps[1]: 700}))[tps[1]] is None
            assert [r.offset for r in await reader.read_from(tps[1], 690)] == list(range(690, 700))
            assert [r.offset for r in await reader.read_from(tps[1], 3, 7)] == [3, 4, 5, 6]

    asyncio.run(act())


def test_a_follower_goes_on_with_the_new_log_of_a_restarted_broker(broker: Broker) -> None:
    """All of the old log, then all of the new one, though it is shorter."""
    seen: list[bytes] = []

    def take(record: Any) -> None:
        seen.append(record.value)

    async def act() -> None:
        settings = settings_of(broker)
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"k", f"old {i}".encode()) for i in range(50)])
        follower = Follower(settings, TOPIC, take, back=None)
        following = asyncio.create_task(follower.run())
        await asyncio.wait_for(follower.caught_up.wait(), 15)
        assert len(seen) == 50
        broker.lose_log()
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"k", f"new {i}".encode()) for i in range(5)])
        await until(lambda: seen[50:] == [f"new {i}".encode() for i in range(5)], 30)
        assert not following.done()
        following.cancel()

    asyncio.run(act())


def test_a_follower_begins_as_far_back_as_told(broker: Broker) -> None:
    """`back` records before the end of each partition."""
    seen: list[int] = []

    async def act() -> None:
        settings = settings_of(broker)
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"k", b"x")] * 30)
        follower = Follower(settings, TOPIC, lambda record: seen.append(record.offset), back=4)
        following = asyncio.create_task(follower.run())
        await asyncio.wait_for(follower.caught_up.wait(), 15)
        assert seen == [26, 27, 28, 29]
        following.cancel()

    asyncio.run(act())


def test_the_publisher_waits_for_a_broker_that_is_away(broker: Broker) -> None:
    """Nothing is dropped, and the offsets are those of the acknowledged messages, in order."""

    async def act() -> None:
        settings = settings_of(broker)
        await ensure_topics(settings)
        publisher = Publisher([broker.bootstrap])
        await publisher.start()
        assert await publisher.send_all([Message(TOPIC, 0, b"k", b"before")]) == [0]
        broker.kill()
        sending = asyncio.create_task(publisher.send_all([Message(TOPIC, 0, b"k", f"{i}".encode()) for i in range(20)]))
        await until(lambda: publisher.failing, 30)
        assert not sending.done()
        broker.start()
        await ensure_topics(settings)
        offsets = await asyncio.wait_for(sending, 30)
        assert not publisher.failing
        assert len(offsets) == len(set(offsets)) == 20
        # The embedded broker lets the waiting producer make the topic, and empties it when we make it a moment later.
        if chosen_broker() == "kafka":
            async with LogReader([broker.bootstrap]) as reader:
                kept = {r.offset: r.value for r in await reader.read_from(TopicPartition(TOPIC, 0), 0)}
            assert [kept[offset] for offset in offsets] == [f"{i}".encode() for i in range(20)]
        await publisher.stop()

    asyncio.run(act())


def test_a_reader_gives_a_broker_longer_that_finds_nothing_in_time(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a long log the embedded broker found nothing in 5 ms, for ever: the archive hung at the first hole. Here it gets no
    time at all."""
    monkeypatch.setattr(log_reader, "_FETCH_WAIT_MS", 0)

    async def act() -> None:
        await ensure_topics(settings_of(broker))
        publisher = Publisher([broker.bootstrap])
        await publisher.start()
        await publisher.send_all([Message(TOPIC, 0, b"k", f"{i}".encode()) for i in range(5)])
        await publisher.stop()
        tp = TopicPartition(TOPIC, 0)
        async with LogReader([broker.bootstrap]) as reader:
            assert [r.value for r in await reader.read_from(tp, 0, timeout_s=20.0)] == [b"0", b"1", b"2", b"3", b"4"]
        async with LogReader([broker.bootstrap]) as reader:
            assert (await reader.first_records({tp: 3}, 20.0))[tp].offset == 3

    asyncio.run(act())


def test_records_larger_than_what_is_asked_for_are_found(broker: Broker) -> None:
    """A fetch for one record asks for 64 KB; a message of a snapshot has 512 KB."""

    async def act() -> None:
        await ensure_topics(settings_of(broker))
        publisher = Publisher([broker.bootstrap])
        await publisher.start()
        values = [bytes([i]) * size for i, size in enumerate((10, 900_000, 10, 500_000, 70_000, 10))]
        for value in values:
            await publisher.send_all([Message(TOPIC, 0, b"k", value)])
        await publisher.stop()
        tp = TopicPartition(TOPIC, 0)
        async with LogReader([broker.bootstrap]) as reader:
            for offset, value in enumerate(values):
                assert (await reader.first_records({tp: offset}))[tp].value == value
                assert [r.value for r in await reader.read_from(tp, offset, offset + 1, most_bytes=1000)] == [value]
            assert [r.value for r in await reader.read_from(tp, 0, most_bytes=1000)] == values

    asyncio.run(act())
