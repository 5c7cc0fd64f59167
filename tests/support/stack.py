"""The whole stack for tests: real broker, Redis, ClickHouse and worker processes on free ports, started and stopped by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import clickhouse_connect
import redis
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from streamproc.embedded.child import bound_argv
from tests.support.broker import start_broker
from tests.support.clickhouse import start_clickhouse
from tests.support.migrated import start_migrated
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.redis import start_redis
from tests.support.server import _starter
from tests.support.truth import Record

EVENT_TOPICS = ("user-events", "video-status", "cost-events")
#: Those of which the truths know what they lead to.
TRUTH_TOPICS = (*EVENT_TOPICS, "ops-events", "billing-events")


def wait_for(what: str, condition: Callable[[], Any], timeout_s: float = 30.0, pause_s: float = 0.05) -> Any:
    """Poll until the condition gives something true; fail with what was waited for."""
    timeout_s *= PATIENCE
    deadline = time.monotonic() + timeout_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:.0f} s for: {what}")
        time.sleep(pause_s)


class Worker:
    """One `streamproc worker` process; its log is a file."""

    def __init__(self, stack: Stack, role: str, extra: dict[str, str], port: int = 0) -> None:
        self.role = role
        self.port = port or free_port()
        self.log = stack.dir / f"worker-{role}-{self.port}-{len(stack.workers)}.log"
        argv = [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", role, "--metrics-port", str(self.port)]
        env = {**os.environ, **stack.env, **extra}
        with self.log.open("wb") as out:
            self.process = _starter.submit(
                subprocess.Popen, bound_argv(argv), stdout=out, stderr=out, env=env, start_new_session=True
            ).result()

    def ready(self) -> bool:
        """Whether /ready says so."""
        return self.get("ready")[0] == 200

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of one of the worker's pages; status 0 if it does not answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except (OSError, TimeoutError):
            return 0, ""

    def wait_ready(self, timeout_s: float = 60.0) -> Worker:
        """Wait until it takes part."""
        try:
            wait_for(f"{self.role} worker ready", lambda: self.ready() or self.process.poll() is not None, timeout_s)
            assert self.process.poll() is None, f"worker ended with {self.process.returncode}"
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output()[-4000:]}") from None
        return self

    def metric(self, name: str, **labels: str) -> float:
        """Sum of a metric's samples that have these labels; 0 without any."""
        return sum(self.samples(name, **labels))

    def samples(self, name: str, **labels: str) -> list[float]:
        """Values of a metric's samples that have these labels."""
        return [
            sample.value
            for family in text_string_to_metric_families(self.get("metrics")[1])
            for sample in family.samples
            if sample.name == name and all(sample.labels.get(k) == v for k, v in labels.items())
        ]

    def output(self) -> str:
        """What it logged so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM and wait; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


class Stack:
    """Servers and workers of one test; several broker `nodes` only with Kafka. Use as a context manager."""

    def __init__(self, directory: Path, partitions: int = 4, nodes: int = 1, **settings: str) -> None:
        self.dir = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.partitions = partitions
        self.workers: list[Worker] = []
        self.nodes = nodes
        self.broker = start_broker(nodes)
        self.redis_server = start_redis(directory)
        self.clickhouse = start_migrated(directory / "clickhouse")
        self.env = {
            "STREAMPROC_BROKER_URL": self.broker.url,
            "STREAMPROC_REDIS_URL": self.redis_server.url,
            "STREAMPROC_CLICKHOUSE_URL": self.clickhouse.url,
            "STREAMPROC_DATA_DIR": str(directory),
            "STREAMPROC_PARTITIONS": str(partitions),
            "STREAMPROC_REPLICATION_FACTOR": str(nodes),
            "STREAMPROC_SESSION_TIMEOUT_S": f"{2 * PATIENCE:g}",
            "STREAMPROC_SNAPSHOT_INTERVAL_S": "2",
            **{f"STREAMPROC_{name.upper()}": value for name, value in settings.items()},
        }
        self.redis = redis.Redis.from_url(self.redis_server.url, decode_responses=True)

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self.workers:
            worker.kill()
        self.redis.close()
        self.clickhouse.kill()
        self.redis_server.kill()
        self.broker.discard()

    def cli(self, *args: str, check: bool = True, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a streamproc command as a user does."""
        done = subprocess.run(
            [sys.executable, "-m", "streamproc.cli.main", *args],
            env={**os.environ, **self.env},
            input=stdin.decode() if stdin is not None else None,
            capture_output=True,
            text=True,
            timeout=120 * PATIENCE,
        )
        if check and done.returncode:
            raise AssertionError(f"streamproc {' '.join(args)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    def worker(self, role: str, wait: bool = True, port: int = 0, **extra: str) -> Worker:
        """Start a worker; settings as keyword arguments (upper-cased, prefixed). With the `port` of one that died it
        takes that one's place, as a supervisor has it."""
        worker = Worker(self, role, {f"STREAMPROC_{name.upper()}": value for name, value in extra.items()}, port)
        self.workers.append(worker)
        return worker.wait_ready() if wait else worker

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows from ClickHouse."""
        client = clickhouse_connect.get_client(dsn=self.clickhouse.url, autogenerate_session_id=False)
        try:
            return [tuple(row) for row in client.query(sql).result_rows]
        finally:
            client.close()

    def create_topics(self) -> None:
        """As workers do at their start."""
        from streamproc.config import Settings
        from streamproc.kafka_topics import ensure_topics

        settings = Settings(broker_url=self.broker.url, partitions=self.partitions, replication_factor=self.nodes)
        asyncio.run(ensure_topics(settings))

    def produce(self, messages: Iterable[tuple[str, bytes | None, bytes | None]]) -> int:
        """Produce (topic, key, value) with acks=all, in order; returns how many."""
        return asyncio.run(produce(self.broker.bootstrap, messages))

    def kill_clickhouse(self) -> None:
        """SIGKILL; its files stay."""
        self.clickhouse.kill()

    def restart_clickhouse(self) -> None:
        """Start it again on the same port and files."""
        self.clickhouse = start_clickhouse(self.dir / "clickhouse", port=self.clickhouse.port)

    def lose_log(self) -> None:
        """The broker loses its log; the topics are made again."""
        self.broker.lose_log()
        self.create_topics()

    def log_records(self) -> list[Record]:
        """Every record of the event topics as the broker has it."""
        return asyncio.run(read_all(self.broker.bootstrap, TRUTH_TOPICS))

    def windows(self) -> dict[tuple[str, str, int, str, str], tuple[float | None, int, int, str]]:
        """gold.windows and gold.entities as the comparison wants them: value, count, late, status."""
        rows = self.query(
            "SELECT metric, window, toUnixTimestamp(window_start) * 1000, dimension, dimension_value, value, count, late,"
            " toString(status) FROM gold.windows FINAL"
        )
        found = {row[:5]: row[5:] for row in rows}
        for metric, entity, value, count in self.query(
            "SELECT metric, entity, sum_e4 / 10000, count FROM gold.entities FINAL"
        ):
            found[metric, "all", 0, "video_id", entity] = (value, count, 0, "")
        return found  # type: ignore[return-value]  # rows are untyped


async def produce(bootstrap: str, messages: Iterable[tuple[str, bytes | None, bytes | None]]) -> int:
    """See Stack.produce."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap, acks="all", linger_ms=5, max_request_size=64 << 20, max_batch_size=1 << 18
    )
    await producer.start()
    count = 0
    try:
        futures = []
        for topic, key, value in messages:
            futures.append(await producer.send(topic, key=key, value=value))
            count += 1
            if len(futures) >= 20_000:
                await asyncio.gather(*futures)
                futures = []
        await asyncio.gather(*futures)
    finally:
        await producer.stop()
    return count


async def read_all(bootstrap: str, topics: Iterable[str]) -> list[Record]:
    """Every committed record of these topics, as the truths want them."""
    found = await read_raw(bootstrap, topics)
    return [Record(r.topic, r.partition, r.offset, r.timestamp, r.value) for r in found]


async def read_raw(bootstrap: str, topics: Iterable[str]) -> list[Any]:
    """Every committed record of these topics, read with plain aiokafka from the beginning to the end."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        fetch_max_wait_ms=100,
        isolation_level="read_committed",
        auto_offset_reset="earliest",
    )
    await consumer.start()
    try:
        await consumer._client.force_metadata_update()
        tps = [TopicPartition(t, p) for t in topics for p in sorted(consumer.partitions_for_topic(t) or ())]
        consumer.assign(tps)
        await consumer.seek_to_beginning(*tps)
        records: list[Any] = []
        done: set[TopicPartition] = set()
        while len(done) < len(tps):
            for batch in (await consumer.getmany(timeout_ms=300)).values():
                records += batch
            for tp in tps:
                mark = consumer.highwater(tp)
                if mark is not None and await consumer.position(tp) >= mark:
                    done.add(tp)
        return records
    finally:
        await consumer.stop()
