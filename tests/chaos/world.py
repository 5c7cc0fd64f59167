"""The world of a fault run: handles of every process, what faults may do to them, and where it is written down."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

import aiohttp

from tests.chaos.worker import WorkerHandle
from tests.support.clickhouse_proxy import ClickHouseProxy
from tests.support.kafka import KafkaCluster
from tests.support.redis_proxy import RedisProxy
from tests.support.small_disk import SmallDisk
from tests.support.webhook import Webhook

if TYPE_CHECKING:
    from tests.chaos.load import Load
    from tests.chaos.watch import Watch


class Server(Protocol):
    """A server process as faults see it. `start` brings it back on the same port, with the data that it keeps.

    What takes time is a coroutine, so that load, sampling and other faults go on meanwhile.
    """

    name: str
    port: int
    paused: bool

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""

    def kill(self) -> None:
        """SIGKILL."""

    def pause(self) -> None:
        """SIGSTOP."""

    def resume(self) -> None:
        """SIGCONT."""

    async def start(self) -> None:
        """Start it and wait until it is healthy."""

    async def stop(self) -> None:
        """SIGTERM, and wait for its end."""


class ClickHouse(Server, Protocol):
    """Workers reach it only through `proxy` (ours, on loopback); `url` is its own address, for checks."""

    proxy: ClickHouseProxy
    url: str
    disk: SmallDisk | None


class Redis(Server, Protocol):
    """Workers reach it only through `proxy` (ours, on loopback); `url` is its own address, for checks."""

    proxy: RedisProxy
    url: str


class Broker(Server, Protocol):
    """One broker of the cluster; `bootstrap` is its host:port."""

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""


class Journal:
    """What happened when, as JSON lines: `at_s` since the run began, and the fields of the event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.began = time.monotonic()
        self.events: list[dict[str, Any]] = []
        self._file: IO[str] = path.open("a", encoding="utf-8")

    def write(self, event: dict[str, Any]) -> None:
        """Add one event."""
        stamped = {"at_s": round(time.monotonic() - self.began, 3), **event}
        self.events.append(stamped)
        self._file.write(json.dumps(stamped, default=str) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass
class World:
    """Handles of everything that runs. Each injection gets a view with a generator of its own (`seen_by`).

    `kind` is "kafka" or "embedded"; `env` are the settings of every worker (full names), with ClickHouse and Redis
    behind their proxies; `partitions` is how many each topic has at the start.
    """

    directory: Path
    kind: str
    rng: random.Random
    env: dict[str, str]
    brokers: list[Broker]
    clickhouse: ClickHouse
    redis: Redis
    slack: Webhook
    journal: Journal
    #: Apache Kafka's cluster, for what needs the admin protocol (it blocks: `asyncio.to_thread`); None if embedded.
    cluster: KafkaCluster | None = None
    partitions: int = 4
    workers: list[WorkerHandle] = field(default_factory=list)
    #: The producer and the look from outside, from when they run.
    load: Load | None = None
    watch: Watch | None = None
    #: Logs saved before they were lost, the newest first, and what was deleted unread (TOPIC/PARTITION:FIRST-AFTER).
    saved_logs: list[Path] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    #: How many processes faults have killed and paused so far, and how many workers there have been.
    counts: dict[str, int] = field(default_factory=lambda: {"kills": 0, "pauses": 0, "workers": 0})

    @property
    def bootstrap(self) -> str:
        """Bootstrap servers for Kafka clients: host:port,host:port."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    @property
    def session_timeout_s(self) -> float:
        """The workers' Kafka session timeout."""
        return float(self.env["STREAMPROC_SESSION_TIMEOUT_S"])

    def seen_by(self, rng: random.Random) -> World:
        """The same world with another generator, so that faults side by side draw the same whatever their order."""
        return World(**{**self.__dict__, "rng": rng})

    def of_role(self, role: str) -> list[WorkerHandle]:
        """Workers of a role that shall run."""
        return [worker for worker in self.workers if worker.role == role and worker.wanted]

    def add_worker(self, role: str, **env: str) -> WorkerHandle:
        """Start one more worker (see WorkerHandle.start); the supervisor cares for it from now on.

        To let it go: `faults.processes.graceful`, then remove it from `workers`.
        """
        # In a dictionary, which all views of the world share.
        self.counts["workers"] += 1
        number = self.counts["workers"]
        worker = WorkerHandle(self.directory, f"{role}-{number}", role, self.env)
        self.workers.append(worker)
        worker.start(**env)
        return worker

    def kill(self, process: WorkerHandle | Server) -> None:
        """SIGKILL, counted and written down; nothing if it does not run."""
        if not process.pid:
            return
        self.counts["kills"] += 1
        self.log({"event": "kill", "process": process.name, "pid": process.pid})
        process.kill()

    def pause(self, process: WorkerHandle | Server) -> None:
        """SIGSTOP, counted and written down; `resume` of the handle ends it. Nothing if it does not run."""
        if not process.pid:
            return
        self.counts["pauses"] += 1
        self.log({"event": "pause", "process": process.name, "pid": process.pid})
        process.pause()

    def log(self, event: dict[str, Any]) -> None:
        """Write an event into the journal."""
        self.journal.write(event)

    async def ask(self, sql: str) -> str:
        """Run a statement in ClickHouse itself, past the proxy; its answer.

        Raises:
            AssertionError: ClickHouse refused it.
        """
        async with aiohttp.ClientSession() as session, session.post(self.clickhouse.url, data=sql) as answer:
            text = await answer.text()
            assert answer.status == 200, f"{sql}: {text}"
            return text

    async def until(
        self, what: str, condition: Callable[[], Awaitable[bool] | bool], timeout_s: float, pause_s: float = 0.1
    ) -> None:
        """Wait for a condition.

        Raises:
            AssertionError: it did not become true in time.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            found = condition()
            if found if isinstance(found, bool) else await found:
                return
            if time.monotonic() > deadline:
                raise AssertionError(f"waited {timeout_s:.0f} s for: {what}")
            await asyncio.sleep(pause_s)
