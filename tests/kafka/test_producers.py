"""Producers that we did not write: kcat with keys, headers, tombstones and every compression; all codecs by aiokafka."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import time

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as TP

from tests.e2e.checks import Message, check_archive, check_live, check_windows, messages
from tests.support.events import USER_EVENTS, encode, user_event
from tests.support.stack import Stack

pytestmark = pytest.mark.kafka_only("the embedded broker is tried with kcat elsewhere")

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
SEPARATOR = "\x1f"


def kcat(stack: Stack, topic: str, lines: list[bytes], *options: str) -> None:
    """Produce lines of key, separator, value as kcat does it."""
    argv = ["kcat", "-P", "-b", stack.broker.bootstrap, "-t", topic, "-K", SEPARATOR, "-X", "acks=all", *options]
    done = subprocess.run(argv, input=b"\n".join(lines) + b"\n", capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()


def needs_kcat() -> None:
    """Leave the test out where kcat is not installed."""
    if shutil.which("kcat") is None:
        pytest.skip("kcat is not installed (Debian: apt-get install kcat)")


def shares(events: list[Message]) -> list[tuple[str, list[Message]]]:
    """The events in order, an equal part for each codec."""
    size = -(-len(events) // len(CODECS))
    return [(name, events[number * size : (number + 1) * size]) for number, name in enumerate(CODECS)]


def by_topic(events: list[Message]) -> dict[str, list[bytes]]:
    """What kcat can send: values without line ends, as its input lines."""
    found: dict[str, list[bytes]] = {}
    for topic, key, value in events:
        if value and b"\n" not in value and SEPARATOR.encode() not in value and len(value) < 500_000:
            found.setdefault(topic, []).append(key + SEPARATOR.encode() + value)
    return found


def test_kcat_is_counted_exactly(running: Stack) -> None:
    """Keys, headers, tombstones and a messy workload; exact after the part of each codec."""
    needs_kcat()
    stack = running
    stack.worker("windows")
    stack.worker("archive")
    for number, (name, part) in enumerate(shares(messages(71, 5000)), start=1):
        for topic, lines in by_topic(part).items():
            kcat(stack, topic, lines, "-z", name, "-H", "trace=4711", "-H", "empty=")
        kcat(stack, USER_EVENTS, [b"5" + SEPARATOR.encode()] * 3, "-z", name, "-Z")
        truth = check_windows(stack)
        assert truth.dead_by_topic[USER_EVENTS, "malformed"] >= 3 * number
    check_live(stack, truth)
    check_archive(stack)


def test_batches_of_every_codec_are_counted_exactly(running: Stack) -> None:
    """Large batches by aiokafka; of each codec some before and some while a worker is killed and started again."""
    stack, events = running, messages(72, 6000)
    worker = stack.worker("windows")
    for name, part in shares(events[:3000]):
        asyncio.run(_produce(stack, part, name))
    worker.kill()
    for name, part in shares(events[3000:]):
        asyncio.run(_produce(stack, part, name))
    stack.worker("windows")
    check_live(stack, check_windows(stack))


async def _produce(stack: Stack, events: list[Message], name: str) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=stack.broker.bootstrap,
        compression_type=None if name == "none" else name,
        linger_ms=50,
        max_batch_size=1 << 20,
        max_request_size=16 << 20,
    )
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(topic, value, key=key) for topic, key, value in events])
    finally:
        await producer.stop()


def test_kafkas_own_time_decides_whatever_producers_say(running: Stack) -> None:
    """LogAppendTime: a producer whose clock is a day ahead makes neither log time nor future events."""
    stack = running
    worker = stack.worker("windows")
    now = int(time.time() * 1000)

    async def act() -> list[int]:
        producer = AIOKafkaProducer(bootstrap_servers=stack.broker.bootstrap)
        await producer.start()
        for number in range(20):
            value = encode(user_event(now, user_id=number))
            await producer.send_and_wait(USER_EVENTS, value, partition=0, timestamp_ms=now + 86_400_000)
        ahead = encode(user_event(now + 3_600_000, user_id=99))
        await producer.send_and_wait(USER_EVENTS, ahead, partition=0, timestamp_ms=now + 86_400_000)
        await producer.stop()
        consumer = AIOKafkaConsumer(bootstrap_servers=stack.broker.bootstrap, auto_offset_reset="earliest")
        await consumer.start()
        consumer.assign([TP(USER_EVENTS, 0)])
        await consumer.seek_to_beginning()
        stamps: list[int] = []
        while len(stamps) < 21:
            stamps += [
                record.timestamp for batch in (await consumer.getmany(timeout_ms=500)).values() for record in batch
            ]
        await consumer.stop()
        return stamps

    stamps = asyncio.run(act())
    assert all(now - 1000 <= stamp <= time.time() * 1000 for stamp in stamps)
    truth = check_windows(stack)
    assert truth.dead == {"future_event": 1}
    assert worker.metric("streamproc_invalid_total", reason="future_event") == 1
