"""D1 to D5, D7 to D9: whatever comes, the stream goes on, and every record is counted, late, repeated, or a dead letter."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Iterable

import pytest
from aiokafka import AIOKafkaProducer

from tests.chaos.faults import events as masses
from tests.e2e.checks import check_archive, check_live, check_windows
from tests.faults.fragile import FragileStack
from tests.oracle.traffic import Event
from tests.support.events import USER_EVENTS, encode, user_event
from tests.support.stack import Worker, wait_for

KINDS = {
    "duplicates": masses.duplicates,
    "out of order and late": masses.out_of_order,
    "strange times": masses.strange_times,
    "malformed": masses.malformed,
    "huge": masses.huge,
    "old and new releases": masses.mixed_versions,
    "a hot key": masses.hot_key,
    "users never seen before": masses.many_users,
}
_MIB = 1 << 20


def _started(stack: FragileStack) -> tuple[Worker, Worker]:
    # A stream of bad records alone pauses, and is probed: here it must not take a minute.
    limits = '{"user-events": 1, "video-status": 1, "cost-events": 1}'
    windows = stack.worker("windows", wait=False, dead_letter_limits=limits)
    return windows.wait_ready(), stack.worker("archive")


def _produce(stack: FragileStack, events: Iterable[Event]) -> None:
    stack.produce([(event.topic, event.key, event.value) for event in events])


def _equal(stack: FragileStack) -> None:
    """Windows, live values and archive are what the log says, and each record has one fate."""
    truth = check_windows(stack, timeout_s=90)
    check_live(stack, truth)
    check_archive(stack)
    assert [worker.process.poll() for worker in stack.workers] == [None, None]
    for topic in truth.accepted:
        windows = stack.workers[0]
        fates = (
            truth.accepted[topic]
            + truth.duplicates.get(topic, 0)
            + sum(n for (t, _), n in truth.dead_by_topic.items() if t == topic)
        )
        assert fates == sum(record.topic == topic for record in stack.log_records())
        assert windows.metric("streamproc_duplicates_total", topic=topic) == truth.duplicates.get(topic, 0)


def test_every_kind_of_bad_event_in_small_masses(running: FragileStack) -> None:
    """D1, D2, D3, D4, D5, D7: a hundred of each, in one go."""
    _started(running)
    rng = random.Random(1)
    small: list[Event] = []
    for make in KINDS.values():
        made = make(rng)
        small += rng.sample(made, min(len(made), 100))
    rng.shuffle(small)
    _produce(running, small)
    _equal(running)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", KINDS)
def test_a_mass_of_one_kind(running: FragileStack, kind: str) -> None:
    """D1 to D8: all that the fault run sends, with ordinary events before and after."""
    _started(running)
    running.produce(running.more(300))
    _produce(running, KINDS[kind](random.Random(7)))
    running.produce(running.more(300))
    _equal(running)


async def _send(bootstrap: str, values: list[bytes], compression: str | None, batch_bytes: int) -> None:
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        compression_type=compression,
        max_request_size=64 * _MIB,
        max_batch_size=batch_bytes,
        linger_ms=200,
    )
    await producer.start()
    try:
        await asyncio.gather(*[await producer.send(USER_EVENTS, value=value, partition=0) for value in values])
    finally:
        await producer.stop()


def _padded(size: int) -> bytes:
    """A valid event but for its size."""
    event = encode(user_event(int(time.time() * 1000)))
    return event[:-1] + b',"padding":"' + b"0" * (size - len(event) - 14) + b'"}'


def _rss_mb(worker: Worker) -> float:
    return worker.metric("process_resident_memory_bytes") / 1e6


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_records_of_1_to_20_mib_are_dead_letters_in_bounded_memory(running: FragileStack) -> None:
    """D5: too_large, kept whole in bronze, and nobody's memory grows with each."""
    windows, archive = _started(running)
    running.produce(running.more(200))
    running.caught_up(windows, archive)
    for _ in range(3):
        asyncio.run(_send(running.broker.bootstrap, [_padded(n * _MIB) for n in (1, 2, 5, 20)], None, 32 * _MIB))
    running.produce(running.more(200))
    _equal(running)
    assert windows.metric("streamproc_invalid_total", reason="too_large") >= 9
    assert max(_rss_mb(windows), _rss_mb(archive)) < 500


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("codec", ["gzip", "zstd", "lz4", "snappy"])
def test_a_compression_bomb_in_bounded_memory(running: FragileStack, codec: str) -> None:
    """D5: batches of 30 MB that travel as some KB; they are read, and memory stays bounded."""
    windows, archive = _started(running)
    running.produce(running.more(200))
    running.caught_up(windows, archive)
    asyncio.run(_send(running.broker.bootstrap, [_padded(_MIB - 1000) for _ in range(180)], codec, 30 * _MIB))
    running.produce(running.more(200))
    _equal(running)
    assert max(_rss_mb(windows), _rss_mb(archive)) < 500


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_burst_is_taken_and_the_lag_ends(running: FragileStack) -> None:
    """D8: 60,000 events at once, nine in ten of one user, among them users never seen before."""
    windows, _ = _started(running)
    rng = random.Random(3)
    crowd = [event for n in range(5) for event in (*masses.hot_key(rng), *masses.many_users(rng)[:4000])]
    _produce(running, crowd)
    running.caught_up(windows, timeout_s=60)
    _equal(running)
    assert _rss_mb(windows) < 400


@pytest.mark.slow
def test_dead_letters_that_cannot_be_written_hold_the_stream_and_none_is_lost(running: FragileStack) -> None:
    """D9: the broker is paused while bad records are in hand; progress waits for their dead letters."""
    windows, _ = _started(running)
    running.produce(running.more(500))
    _produce(running, masses.malformed(random.Random(5)))
    running.broker.signal(signal.SIGSTOP)
    began = time.monotonic()
    wait_for("4 s without an answer", lambda: time.monotonic() - began > 4, 10)
    windows.kill()
    running.broker.signal(signal.SIGCONT)
    running.workers.remove(windows)
    running.workers.insert(0, running.worker("windows", dead_letter_limits='{"user-events": 1}'))
    running.workers.pop()
    truth = check_windows(running)
    check_archive(running)
    assert sum(truth.dead.values()) > 100
