"""The producer against a real broker: its ledger is true, whatever becomes of the broker or of itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.agents.waiting import until
from tests.oracle.sending import Ledger, Sender, read_ledger
from tests.oracle.traffic import TOPICS, Mix, Traffic
from tests.support.broker import Broker, start_broker
from tests.support.stack import EVENT_TOPICS, read_all, wait_for

ROOT = Path(__file__).parents[2]


@pytest.fixture
def broker() -> Iterator[Broker]:
    """A broker with the topics."""
    handle = start_broker()
    _make_topics(handle)
    yield handle
    handle.discard()


def _make_topics(broker: Broker) -> None:
    asyncio.run(ensure_topics(Settings(broker_url=broker.url, partitions=4)))


class _Producer:
    """A producer process, killed at the end of the test whatever happens."""

    def __init__(self, broker: Broker, ledger: Path, *args: str) -> None:
        self.ledger = ledger
        argv = [sys.executable, "-m", "tests.oracle.producer", "--bootstrap", broker.bootstrap, "--ledger", str(ledger)]
        self.process = subprocess.Popen([*argv, *args], cwd=ROOT, stdout=subprocess.PIPE, text=True)

    def result(self) -> dict[str, Any]:
        """What it printed at its end, which must be a good one."""
        out, _ = self.process.communicate(timeout=120)
        assert self.process.returncode == 0
        return dict(json.loads(out.splitlines()[-1]))

    def acked(self) -> int:
        """Lines of the ledger that are acknowledged so far."""
        return self.ledger.read_text().count('"acked"') if self.ledger.exists() else 0


@pytest.fixture
def producer(broker: Broker, tmp_path: Path) -> Iterator[Any]:
    """Starts producers."""
    started: list[_Producer] = []

    def start(*args: str) -> _Producer:
        started.append(_Producer(broker, tmp_path / "ledger.jsonl", *args))
        return started[-1]

    yield start
    for each in started:
        each.process.kill()
        each.process.communicate()


def _log(broker: Broker) -> dict[tuple[str, int, int], str]:
    """(topic, partition, offset) -> hash of the value, as the broker has it."""
    records = asyncio.run(read_all(broker.bootstrap, EVENT_TOPICS))
    return {(r.topic, r.partition, r.offset): hashlib.sha256(r.value or b"").hexdigest() for r in records}


def _places(lines: list[dict[str, Any]]) -> dict[tuple[str, int, int], str]:
    return {(x["topic"], x["partition"], x["offset"]): x["sha256"] for x in lines if x["outcome"] == "acked"}


def test_the_ledger_is_the_log(broker: Broker, producer: Any) -> None:
    """Every line says where its record lies, and every record has a line; all kinds of trouble are there."""
    made = producer("--rate", "1500", "--seconds", "2", "--seed", "1", "--malformed", "0.1", "--duplicates", "0.2")
    result = made.result()
    lines = read_ledger(made.ledger)
    assert result["acked"] == len(lines) == result["made"] > 200
    assert _places(lines) == _log(broker)
    assert {x["topic"] for x in lines} == set(EVENT_TOPICS)
    ids = Counter(x["event_id"] for x in lines)
    assert 0.1 * len(lines) < len(lines) - len(ids) < 0.3 * len(lines)


def test_it_survives_a_broker_that_is_killed_and_comes_back_empty(broker: Broker, producer: Any) -> None:
    """And goes on by itself; what was acknowledged afterwards lies in the new log."""
    made = producer("--rate", "500", "--seconds", "60", "--seed", "2")
    wait_for("the first acknowledgements", lambda: made.acked() > 300, 60)
    broker.lose_log()
    before = made.acked()
    _make_topics(broker)
    wait_for("acknowledgements of the new broker", lambda: made.acked() > before + 300, 60)
    made.process.send_signal(signal.SIGTERM)
    assert made.result()["acked"] > before
    log, ledger = _log(broker), read_ledger(made.ledger)
    newest = {(x["topic"], x["partition"], x["offset"], x["sha256"]) for x in ledger if x["outcome"] == "acked"}
    assert {(*place, digest) for place, digest in log.items()} <= newest
    assert len(log) > 300


def test_sigterm_ends_it_with_the_ledger_whole(broker: Broker, producer: Any) -> None:
    """What was made before has its outcome, though much more was asked for."""
    made = producer("--rate", "500", "--seconds", "600", "--seed", "3")
    wait_for("the first acknowledgements", lambda: made.acked() > 200, 60)
    made.process.send_signal(signal.SIGTERM)
    result = made.result()
    lines = read_ledger(made.ledger)
    assert result["acked"] == result["made"] == len(lines)
    assert _places(lines) == _log(broker)


def test_what_has_no_answer_is_unknown(broker: Broker, tmp_path: Path) -> None:
    """The broker hangs while batches are on their way: nothing acknowledged is missing, nothing is unaccounted for."""

    async def scenario() -> Counter[str]:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        sender = Sender(broker.bootstrap, ledger, 0.001, None, "")
        await sender.start(TOPICS)
        traffic, now = Traffic(1, Mix()), int(time.time() * 1000)
        for _ in range(100):
            sender.take(traffic.next(now), now)
        await asyncio.wait_for(sender._idle.wait(), 30)
        os.kill(broker.pid, signal.SIGSTOP)
        for _ in range(100):
            sender.take(traffic.next(now), now)
        await until(lambda: bool(sender._producer._message_accumulator._pending_batches))
        await sender.finish(0.1)
        ledger.close()
        return ledger.counts

    try:
        counts = asyncio.run(scenario())
    finally:
        os.kill(broker.pid, signal.SIGCONT)
    lines = read_ledger(tmp_path / "ledger.jsonl")
    assert Counter(x["outcome"] for x in lines) == counts
    assert counts["acked"] == 100
    assert counts["unknown"] > 0
    assert counts.total() == 200
    log, acked = _log(broker), _places(lines)
    assert acked.items() <= log.items()
    unknown = Counter(x["sha256"] for x in lines if x["outcome"] == "unknown")
    assert not Counter(digest for place, digest in log.items() if place not in acked) - unknown


def test_a_client_that_has_died_is_replaced(broker: Broker, tmp_path: Path) -> None:
    """aiokafka's sending task ends at any error it does not know, and then fails every batch for ever."""

    async def scenario() -> None:
        ledger = Ledger(tmp_path / "ledger.jsonl")
        sender = Sender(broker.bootstrap, ledger, 0.001, None, "")
        await sender.start(TOPICS)
        traffic, now = Traffic(1, Mix()), int(time.time() * 1000)

        def die(*_: object, **__: object) -> None:
            raise RuntimeError("planted")

        sender._producer._message_accumulator.drain_by_nodes = die
        for _ in range(200):
            sender.take(traffic.next(now), now)
        await sender.finish(30)
        ledger.close()
        assert ledger.counts["acked"] == 200

    asyncio.run(scenario())
    assert _places(read_ledger(tmp_path / "ledger.jsonl")) == _log(broker)
