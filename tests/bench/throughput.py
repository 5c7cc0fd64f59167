"""Throughput of one round: naive Faust, our windows role alone, and the whole path, each on servers of its own.

Our workers are assigned and idle, then stopped (SIGSTOP) while the topic is filled; the clock starts when they go on.
So neither start-up, nor the group's join, nor the producer's CPU is in the figures, as with naive Faust.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from schemas import internal
from schemas.topics import USER_EVENTS, WINDOW_PROGRESS
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.bench.processes import cpu_of, peak_mb, used_since
from tests.bench.published import Published, require_alive
from tests.bench.userevents import UserEvents, preload
from tests.support.broker import start_broker
from tests.support.stack import Stack, Worker

PARTITIONS = 8
_LIMIT_S = 180.0


@dataclass(frozen=True)
class Run:
    """One measured run: wall seconds, CPU seconds by process, and peak resident memory (MiB) by worker."""

    events: int
    seconds: float
    worker_cpu_s: dict[str, float]
    server_cpu_s: dict[str, float]
    peak_mb: dict[str, float] = field(default_factory=dict)
    #: Wall seconds until each store was complete; every one is checked against the truth.
    complete_s: dict[str, float] = field(default_factory=dict)

    @property
    def events_per_s(self) -> float:
        """Events a second of wall time."""
        return self.events / self.seconds

    def cpu_s_per_million(self, of: Mapping[str, float]) -> float:
        """CPU seconds for a million events."""
        return 1e6 * sum(of.values()) / self.events


def naive_faust(events: UserEvents) -> Run:
    """Faust's documented way on the same events; see naive_faust.py."""
    broker = start_broker()
    try:
        settings = Settings(broker_url=broker.url, partitions=PARTITIONS)
        asyncio.run(ensure_topics(settings))
        asyncio.run(preload(broker.bootstrap, USER_EVENTS, events, PARTITIONS))
        before = cpu_of({"broker": broker.pid})
        argv = [sys.executable, "-m", "tests.bench.naive_faust", "--broker", broker.bootstrap, "--topic", USER_EVENTS]
        argv += ["--partitions", str(PARTITIONS), "--events", str(len(events))]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=400)
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            raise RuntimeError(f"naive Faust ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
        found = json.loads(lines[-1])
        if found["counted"] != [len(events)] * 3:
            raise RuntimeError(f"naive Faust counted {found['counted']} of {len(events)} events")
        return Run(len(events), found["seconds"], {"faust": found["cpu_s"]}, used_since(before, {"broker": broker.pid}))
    finally:
        broker.kill()


@contextmanager
def loaded(events: UserEvents, *roles: str) -> Iterator[tuple[Stack, list[Worker], dict[int, int]]]:
    """Servers, workers of these roles that are assigned but stopped, and a full topic: (stack, workers, last offsets)."""
    with tempfile.TemporaryDirectory(prefix="streamproc-bench-") as folder:
        # Settings as in production, not the hasty ones of the tests.
        settings = {"session_timeout_s": "10", "snapshot_interval_s": "60", "log_level": "warning"}
        with Stack(Path(folder), PARTITIONS, **settings) as stack:
            stack.create_topics()
            workers = [stack.worker(role, wait=False) for role in roles]
            for worker in workers:
                worker.wait_ready(60.0)
            for worker in workers:
                worker.process.send_signal(signal.SIGSTOP)
            last = asyncio.run(preload(stack.broker.bootstrap, USER_EVENTS, events, PARTITIONS))
            yield stack, workers, last


def _go(workers: list[Worker]) -> None:
    for worker in workers:
        worker.process.send_signal(signal.SIGCONT)


def servers(stack: Stack) -> dict[str, int]:
    """Pids of the servers by name."""
    return {"broker": stack.broker.pid, "redis": stack.redis_server.pid, "clickhouse": stack.clickhouse.pid}


def windows_only(events: UserEvents) -> Run:
    """The windows role on a full topic: until its progress records say that every event is in the windows.

    A progress record is written after the broker has acknowledged the cells that it covers. The windows themselves are
    compared with the truth in ClickHouse and Redis afterwards (`complete_s`).
    """
    published = Published(events)
    with loaded(events, "windows") as (stack, workers, last):
        pids = {"windows": workers[0].process.pid}
        before, servers_before = cpu_of(pids), cpu_of(servers(stack))
        begun, seconds = asyncio.run(_until_progress(stack, last, workers))
        cpu, server_cpu = used_since(before, pids), used_since(servers_before, servers(stack))
        complete = published.wait(stack, begun, _LIMIT_S, bronze=False)
        return Run(len(events), seconds, cpu, server_cpu, {"windows": peak_mb(pids["windows"])}, complete)


async def _until_progress(stack: Stack, last: dict[int, int], workers: list[Worker]) -> tuple[float, float]:
    """Start the workers and wait for their progress; (monotonic start, seconds)."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=stack.broker.bootstrap, enable_auto_commit=False, fetch_max_wait_ms=50
    )
    await consumer.start()
    try:
        tps = [TopicPartition(WINDOW_PROGRESS, number) for number in range(PARTITIONS)]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        left = {number: offset for number, offset in last.items() if offset >= 0}
        _go(workers)
        begun = time.monotonic()
        while left:
            if time.monotonic() > begun + _LIMIT_S:
                raise RuntimeError(f"after {_LIMIT_S:g} s these partitions are not through: {left}")
            require_alive(stack)
            for batch in (await consumer.getmany(timeout_ms=50)).values():
                for record in batch:
                    progress = internal.decode_progress(record.value)
                    if progress.topic == USER_EVENTS and progress.offset >= left.get(progress.partition, 1 << 62):
                        del left[progress.partition]
        return begun, time.monotonic() - begun
    finally:
        await consumer.stop()


def whole_path(events: UserEvents) -> Run:
    """All roles on a full topic: until bronze holds every record and gold.windows and Redis show every window right."""
    published = Published(events)
    with loaded(events, "windows", "archive", "notify") as (stack, workers, _last):
        pids = {worker.role: worker.process.pid for worker in workers}
        before, servers_before = cpu_of(pids), cpu_of(servers(stack))
        _go(workers)
        begun = time.monotonic()
        complete = published.wait(stack, begun, _LIMIT_S, bronze=True)
        cpu, server_cpu = used_since(before, pids), used_since(servers_before, servers(stack))
        return Run(
            len(events),
            max(complete.values()),
            cpu,
            server_cpu,
            {role: peak_mb(pid) for role, pid in pids.items()},
            complete,
        )
