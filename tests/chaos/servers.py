"""ClickHouse, Redis and brokers of a fault run: killed, paused and started again on the same port, behind our proxies."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

from tests.chaos.world import Broker
from tests.support.broker import BrokerHandle, start_broker
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.clickhouse_proxy import ClickHouseProxy
from tests.support.kafka import KafkaCluster, KafkaNode, start_kafka
from tests.support.redis import RedisHandle, start_redis
from tests.support.redis_proxy import RedisProxy
from tests.support.small_disk import SmallDisk, mount

#: A JVM on a busy machine may take longer to start than its handle waits.
_ATTEMPTS: Final = 3
#: Many times what half an hour leaves.
_DISK_MB: Final = 1500


def _send(pid: int, number: signal.Signals) -> None:
    if pid:
        os.kill(pid, number)


class ClickHouseServer:
    """ClickHouse on files that outlive a kill; workers reach it through `proxy` only."""

    name = "clickhouse"
    paused = False

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: Its own disk, if this process may mount one.
        self.disk: SmallDisk | None = None
        with suppress(PermissionError):
            self.disk = mount(directory, _DISK_MB)
        self._handle: ClickHouseHandle = start_clickhouse(directory)
        self.port = self._handle.port
        self.url = self._handle.url
        self.proxy = ClickHouseProxy(self.port)

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._handle.pid if self._handle.process.poll() is None else 0

    def kill(self) -> None:
        """SIGKILL."""
        self._handle.kill()
        self.paused = False

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        _send(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        _send(self.pid, signal.SIGCONT)
        self.paused = False

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
        if self.disk is not None:
            # What lies on it would be gone, and who looks for a fault needs it.
            shutil.copytree(self._directory, self._directory.with_name("clickhouse-at-the-end"), symlinks=True)
            self.disk.unmount()


class RedisServer:
    """Redis in memory: empty after kill() and stop(); workers reach it through `proxy` only."""

    name = "redis"
    paused = False

    def __init__(self, directory: Path) -> None:
        self._handle: RedisHandle = start_redis(directory)
        self.port = self._handle.port
        self.url = self._handle.url
        self.proxy = RedisProxy(self.port)

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._handle.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._handle.kill()
        self.paused = False

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        self._handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._handle.signal(signal.SIGCONT)
        self.paused = False

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
    paused = False

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
        self.paused = False

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        self._handle.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._handle.signal(signal.SIGCONT)
        self.paused = False

    async def start(self) -> None:
        """Start an empty one on the same port."""
        if not self.pid:
            await asyncio.to_thread(self._handle.start)

    async def stop(self) -> None:
        """SIGTERM, soon followed by SIGKILL: it saves nothing anyway."""
        self.resume()
        await asyncio.to_thread(self._handle.stop)


class KafkaBroker:
    """One node of Apache Kafka; its data outlives a kill."""

    paused = False

    def __init__(self, node: KafkaNode) -> None:
        self._node = node
        self.name = f"kafka-{node.number}"
        self.port = node.port

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._node.pid

    def kill(self) -> None:
        """SIGKILL."""
        self._node.kill()
        self.paused = False

    def pause(self) -> None:
        """SIGSTOP."""
        self.paused = True
        self._node.pause()

    def resume(self) -> None:
        """SIGCONT."""
        self._node.resume()
        self.paused = False

    async def start(self) -> None:
        """Start it on its data and wait until it takes part (a node of three needs one of the others for that).

        Raises:
            RuntimeError: three attempts of a minute each failed: the fault of the run, not of what it tests.
        """
        for attempt in range(_ATTEMPTS):
            try:
                if not self.pid:
                    await asyncio.to_thread(self._node.start)
                return
            except RuntimeError:
                if attempt == _ATTEMPTS - 1:
                    raise

    async def stop(self) -> None:
        """SIGTERM: it hands its leaderships over."""
        self.resume()
        await asyncio.to_thread(self._node.stop)


class Brokers:
    """The cluster of a run: one embedded broker, or nodes of Apache Kafka with `cluster` for what needs the admin."""

    def __init__(self, kind: str, directory: Path, nodes: int) -> None:
        self.kind = kind
        self.cluster: KafkaCluster | None = None
        if kind == "kafka":
            self.cluster = start_kafka(directory, nodes)
            self.nodes: list[Broker] = [KafkaBroker(node) for node in self.cluster.nodes]
        else:
            self.nodes = [EmbeddedBroker()]

    def close(self) -> None:
        """The end of the run."""
        for node in self.nodes:
            node.kill()
