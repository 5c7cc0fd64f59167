"""Apache Kafka for tests: real brokers on the JVM, killed, paused and started again by their pids.

    with start_kafka(tmp_path / "kafka") as kafka:              # one node; about 2.5 s
        kafka.bootstrap                                         # "127.0.0.1:20123" for clients
        kafka.url                                               # "kafka://..." for STREAMPROC_BROKER_URL
        kafka.nodes[0].kill()                                   # SIGKILL: as a crash
        kafka.nodes[0].start()                                  # same port; its data is kept
        kafka.nodes[0].pause(); kafka.nodes[0].resume()         # SIGSTOP, SIGCONT
        kafka.lose_log()                                        # all nodes killed, and started without any data
        kafka.add_partitions("user-events", 6)                  # 6 in all from now on
        kafka.delete_records("user-events", 0, before=1000)     # as retention does
        kafka.set_group_offset("streamproc-windows", "user-events", 0, 0)   # only while the group has no member

    start_kafka(directory, nodes=3)     # three nodes: topics of replication 3, min.insync.replicas 2; about 5 s

Topics are never made by themselves; `Stack.create_topics` or `streamproc` make them (with nodes=3, set
STREAMPROC_REPLICATION_FACTOR=3). A node's words are in `node.log`. All die with the test process. Everything here
blocks; call it outside an event loop, or with `asyncio.to_thread`.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.new_partitions import NewPartitions
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import CommitFailedError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from streamproc.embedded.child import bound_argv
from streamproc.embedded.kafka.cluster import Cluster, Node, node_argv, plan_cluster
from streamproc.embedded.kafka.ready import node_ready, nodes_seen_by
from tests.support.kafka_storage import format_like_the_first
from tests.support.patience import PATIENCE
from tests.support.ports import free_port
from tests.support.server import _starter

T = TypeVar("T")

START_TIMEOUT_S = 60.0
_runner = ThreadPoolExecutor(4, thread_name_prefix="kafka-admin")


class KafkaNode:
    """One node of a cluster; `start()` waits until it takes part."""

    def __init__(self, cluster: Cluster, node: Node) -> None:
        self._cluster = cluster
        self._node = node
        self._process: subprocess.Popen[bytes] | None = None
        self.number = node.number
        self.port = node.port
        self.directory = node.directory
        self.log = node.log

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def is_cut(self, topic: str, partition: int, first: int) -> bool:
        """Whether it has written down that a partition begins at that offset at least (or has no replica of it)."""
        data = self.directory / "data"
        if not (data / f"{topic}-{partition}").is_dir():
            return True
        with suppress(FileNotFoundError):
            for line in (data / "log-start-offset-checkpoint").read_text(encoding="utf-8").splitlines():
                if line.split()[:2] == [topic, str(partition)]:
                    return int(line.split()[2]) >= first
        return first == 0

    def start(self, wait: bool = True) -> None:
        """Start it with the data that it has; `wait` until it is a living member of its cluster.

        A node of three needs one of the others for that.

        Raises:
            RuntimeError: it ended, or was not ready in time; with the end of its log.
        """
        format_like_the_first(self._cluster, self._node)
        argv = bound_argv(node_argv(self._node))
        self._process = _starter.submit(
            subprocess.Popen, argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        ).result()
        if wait:
            self.wait_ready()

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until it takes part."""
        deadline = time.monotonic() + timeout_s * PATIENCE
        while not _run(lambda: node_ready(self._node)):
            if not self.pid or time.monotonic() > deadline:
                code = self._process.poll() if self._process is not None else None
                tail = self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
                self.kill()
                raise RuntimeError(f"Kafka node {self.number} is not ready (exit code {code}):\n{tail}")
            time.sleep(0.05)

    def kill(self) -> None:
        """SIGKILL, as in a crash. Safe to call twice."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self, timeout_s: float = 20.0) -> None:
        """SIGTERM: hands its leaderships over and closes its files; SIGKILL if it does not end in time."""
        self.signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(timeout_s * PATIENCE)
            except subprocess.TimeoutExpired:
                self.kill()

    def pause(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.signal(signal.SIGCONT)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def forget(self) -> None:
        """Remove all data of a node that does not run."""
        assert not self.pid, "the node runs"
        shutil.rmtree(self.directory / "data", ignore_errors=True)


class KafkaCluster:
    """The nodes, and what needs the admin protocol. Use as a context manager, or call `stop()`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.nodes = [KafkaNode(cluster, node) for node in cluster.nodes]
        self.bootstrap = cluster.bootstrap
        self.url = cluster.url

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start all nodes that do not run, and wait until each takes part."""
        for node in self.nodes:
            if not node.pid:
                node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()

    def stop(self) -> None:
        """SIGTERM to all, the last one first; data is kept."""
        for node in reversed(self.nodes):
            # A paused one would never see the SIGTERM; the last ones have no majority left and need not wait for one.
            node.resume()
            node.signal(signal.SIGTERM)
        for node in self.nodes:
            node.stop()

    def kill(self) -> None:
        """SIGKILL to all; data is kept."""
        for node in self.nodes:
            node.kill()

    def lose_log(self) -> None:
        """Kill all nodes and start them without topics, records or groups, on the same ports."""
        self.kill()
        for node in self.nodes:
            node.forget()
        self.start()

    def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic more partitions: `total` in all; waits until a broker tells clients of them."""
        self._admin(lambda admin: admin.create_partitions({topic: NewPartitions(total)}))
        deadline = time.monotonic() + 30.0 * PATIENCE
        while len(self.leaders(topic)) < total:
            assert time.monotonic() < deadline, f"{topic} has partitions {self.leaders(topic)}, wanted {total}"
            time.sleep(0.05)

    def delete_records(self, topic: str, partition: int, before: int) -> int:
        """Delete the records of a partition before an offset, as retention does; the new first offset.

        Waits until every node that lives has written it down: in a crash of all of them before that the records come back.
        """
        tp = TopicPartition(topic, partition)
        first = int(self._admin(lambda admin: admin.delete_records({tp: RecordsToDelete(before)}))[tp])
        deadline = time.monotonic() + 30 * PATIENCE
        while not all(node.is_cut(topic, partition, first) for node in self.nodes if node.pid):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{topic}/{partition} is not cut at {first} on every node")
            time.sleep(0.1)
        return first

    def set_group_offset(self, group: str, topic: str, partition: int, offset: int) -> None:
        """One offset of `set_group_offsets`."""
        self.set_group_offsets(group, {(topic, partition): offset})

    def set_group_offsets(self, group: str, offsets: dict[tuple[str, int], int]) -> None:
        """Commit offsets for a group without members; waits until a killed member's session is over.

        Raises:
            KafkaError: it still has members.
        """
        wanted = {TopicPartition(*place): OffsetAndMetadata(offset, "") for place, offset in offsets.items()}

        async def act() -> None:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap, group_id=group, enable_auto_commit=False)
            await consumer.start()
            try:
                consumer.assign(list(wanted))
                await self._commit_when_empty(consumer, wanted)
            finally:
                await consumer.stop()

        _run(act)

    @staticmethod
    async def _commit_when_empty(consumer: AIOKafkaConsumer, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        deadline = time.monotonic() + 60.0
        while True:
            try:
                await consumer.commit(offsets)
                return
            except (CommitFailedError, UnknownMemberIdError):
                if time.monotonic() > deadline:
                    raise
                await asyncio.sleep(0.2)

    def group_offsets(self, group: str) -> dict[tuple[str, int], int]:
        """What a group committed, by (topic, partition)."""
        found = self._admin(lambda admin: admin.list_consumer_group_offsets(group))
        return {(tp.topic, tp.partition): int(entry.offset) for tp, entry in found.items()}

    def bounds(self, topic: str) -> dict[int, tuple[int, int]]:
        """First offset and end offset by partition."""

        async def act() -> dict[int, tuple[int, int]]:
            consumer = AIOKafkaConsumer(bootstrap_servers=self.bootstrap)
            await consumer.start()
            try:
                await consumer._client.force_metadata_update()
                tps = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
                begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
                return {tp.partition: (begins[tp], ends[tp]) for tp in tps}
            finally:
                await consumer.stop()

        return _run(act)

    def leaders(self, topic: str) -> dict[int, int]:
        """Number of the node that leads each partition, -1 for none."""
        described = self._admin(lambda admin: admin.describe_topics([topic]))
        return {part["partition"]: part["leader"] for part in described[0]["partitions"]}

    def alive(self) -> set[int]:
        """Numbers of the nodes that a running one knows as alive."""
        asked = next(node for node in self.nodes if node.pid)
        return set(_run(lambda: nodes_seen_by(asked._node)))

    def in_sync(self, topic: str) -> set[int]:
        """Numbers of the nodes that are in sync for every partition of a topic."""
        described = self._admin(lambda admin: admin.describe_topics([topic]))
        return set.intersection(*(set(part["isr"]) for part in described[0]["partitions"]))

    def topic_config(self, topic: str) -> dict[str, str]:
        """Settings of a topic as the broker has them, defaults included."""
        from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

        wanted = ConfigResource(ConfigResourceType.TOPIC, topic)
        response = self._admin(lambda admin: admin.describe_configs([wanted]))[0]
        return {entry[0]: entry[1] for entry in response.resources[0][4]}

    def _admin(self, call: Callable[[AIOKafkaAdminClient], Coroutine[Any, Any, T]]) -> T:
        async def act() -> T:
            admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=20_000)
            await admin.start()
            try:
                return await call(admin)
            finally:
                with suppress(OSError):
                    await admin.close()

        return _run(act)


def _run(make: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end in a loop of its own, also where one runs already in this thread."""
    return _runner.submit(lambda: asyncio.run(make())).result()


def start_kafka(directory: Path, nodes: int = 1) -> KafkaCluster:
    """A running cluster of one or three nodes under a directory; data that lies there already is kept.

    Raises:
        RuntimeError: three attempts on different ports failed.
    """
    for attempt in range(3):
        cluster = KafkaCluster(plan_cluster(directory, [(free_port(), free_port()) for _ in range(nodes)]))
        try:
            cluster.start()
        except RuntimeError:
            cluster.kill()
            if attempt == 2:
                raise
        else:
            return cluster
    raise AssertionError("unreachable")
