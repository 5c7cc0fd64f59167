"""ClickHouse, Redis and brokers of a fault run: killed, paused and started again on the same port, behind our proxies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

from tests.chaos.world import Broker
from tests.support.broker import BrokerHandle, start_broker
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.proxy import start_proxy
from tests.support.redis import RedisHandle, start_redis


def _send(pid: int, number: signal.Signals) -> None:
    if pid:
        os.kill(pid, number)


class ClickHouseServer:
    """ClickHouse on files that outlive a kill; workers reach it through `proxy` only."""

    name = "clickhouse"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._handle: ClickHouseHandle = start_clickhouse(directory)
        self.port = self._handle.port
        self.url = self._handle.url
        self.proxy = start_proxy(self.port)

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._handle.pid if self._handle.process.poll() is None else 0

    def kill(self) -> None:
        """SIGKILL."""
        self._handle.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        _send(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        _send(self.pid, signal.SIGCONT)

    async def start(self) -> None:
        """Start it again on the same port and files."""
        if not self.pid:
            self._handle = await asyncio.to_thread(start_clickhouse, self._directory, port=self.port)

    async def stop(self) -> None:
        """SIGTERM, and wait for the graceful end."""
        self.resume()
        await asyncio.to_thread(self._handle.stop)

    def close(self) -> None:
        """The end of the run."""
        self.proxy.stop()
        self.kill()


class RedisServer:
    """Redis in memory: empty after kill() and stop(); workers reach it through `proxy` only."""

    name = "redis"

    def __init__(self, directory: Path) -> None:
        self._handle: RedisHandle = start_redis(directory)
        self.port = self._handle.port
        self.url = self._handle.url
        self.proxy = start_proxy(self.port)

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._handle.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._handle.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._handle.signal(signal.SIGCONT)

    async def start(self) -> None:
        """Start an empty one on the same port."""
        if not self.pid:
            await asyncio.to_thread(self._handle.start)

    async def stop(self) -> None:
        """SIGTERM, and wait for the end."""
        self.resume()
        await asyncio.to_thread(self._handle.stop)

    def close(self) -> None:
        """The end of the run."""
        self.proxy.stop()
        self.kill()


class EmbeddedBroker:
    """The embedded broker: its log is in memory, so that kill() and stop() lose it."""

    name = "broker"

    def __init__(self) -> None:
        self._handle: BrokerHandle = start_broker()
        self.port = self._handle.port

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""
        return self._handle.bootstrap

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._handle.pid

    def kill(self) -> None:
        """SIGKILL: the log is lost."""
        self._handle.kill()

    def pause(self) -> None:
        """SIGSTOP."""
        self._handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._handle.signal(signal.SIGCONT)

    async def start(self) -> None:
        """Start an empty one on the same port."""
        if not self.pid:
            await asyncio.to_thread(self._handle.start)

    async def stop(self) -> None:
        """SIGTERM, soon followed by SIGKILL: it saves nothing anyway."""
        self.resume()
        await asyncio.to_thread(self._handle.stop)


class Brokers:
    """The cluster of a run: one embedded broker, or nodes of Apache Kafka."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.nodes: list[Broker] = [EmbeddedBroker()]

    def close(self) -> None:
        """The end of the run."""
        for node in self.nodes:
            node.kill()
