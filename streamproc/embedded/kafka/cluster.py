"""One or three Kafka nodes (KRaft, each broker and controller in one), as files under a directory and command lines."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamproc.embedded.child import bound_argv
from streamproc.embedded.kafka.distribution import DEPLOY, ensure_jars, java_binary
from streamproc.errors import ConfigError, StreamprocError

HOST = "127.0.0.1"
#: Three, because two nodes have no majority without each other.
ALLOWED_NODES = (1, 3)
_HEAP_MB = 384
_FORMAT_TIMEOUT_S = 120.0

#: A laptop's cluster: few threads, small internal topics, and failures noticed soon but not while the machine is busy.
_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "auto.create.topics.enable": "false",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "background.threads": "2",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.num.partitions": "1",
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    # What retention deleted stays deleted when all nodes crash: by default the last minute of it comes back (and all of it in
    # a node's first half minute, before its background tasks begin).
    "log.flush.start.offset.checkpoint.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
    # A node that was killed is let in again only when its old session is over; with 2 s, nodes on a busy machine lost
    # theirs again and again.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "1000",
}


@dataclass(frozen=True, slots=True)
class Node:
    """One node: `port` for clients, `controller_port` for the other controllers, both on 127.0.0.1."""

    number: int
    port: int
    controller_port: int
    directory: Path

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""
        return f"{HOST}:{self.port}"

    @property
    def log(self) -> Path:
        """The file with what the node says."""
        return self.directory / "server.log"

    @property
    def pid_file(self) -> Path:
        """Holds the process id while the node runs."""
        return self.directory / "pid"

    @property
    def formatted(self) -> bool:
        """Whether its storage was formatted."""
        return (self.directory / "data" / "meta.properties").is_file()


@dataclass(frozen=True, slots=True)
class Cluster:
    """Nodes that belong together, under one directory."""

    directory: Path
    cluster_id: str
    nodes: tuple[Node, ...]

    @property
    def bootstrap(self) -> str:
        """host:port of every node, separated by commas."""
        return ",".join(node.bootstrap for node in self.nodes)

    @property
    def url(self) -> str:
        """The same for STREAMPROC_BROKER_URL."""
        return ";".join(f"kafka://{node.bootstrap}" for node in self.nodes)


def plan_cluster(directory: Path, ports: Sequence[tuple[int, int]]) -> Cluster:
    """Lay a cluster out under a directory, with (client port, controller port) of each node, and write its files.

    A directory that holds a cluster keeps its id and data; its nodes may get other ports.

    Raises:
        ConfigError: it holds a cluster of another number of nodes, or the number is not allowed.
    """
    if len(ports) not in ALLOWED_NODES:
        raise ConfigError(f"a cluster has {' or '.join(map(str, ALLOWED_NODES))} nodes, not {len(ports)}")
    known = known_cluster(directory)
    if known is not None and len(known.nodes) != len(ports):
        raise ConfigError(
            f"{directory} holds a cluster of {len(known.nodes)} node(s), not {len(ports)}; choose another directory"
        )
    cluster_id = known.cluster_id if known else base64.urlsafe_b64encode(uuid.uuid4().bytes)[:22].decode()
    if cluster_id.startswith("-"):
        # Kafka's own tools refuse it: it looks like an option.
        cluster_id = "A" + cluster_id[1:]
    nodes = [Node(number, *pair, directory / f"node-{number}") for number, pair in enumerate(ports, start=1)]
    cluster = Cluster(directory, cluster_id, tuple(nodes))
    for node in cluster.nodes:
        node.directory.mkdir(parents=True, exist_ok=True)
        lines = [f"{name}={value}" for name, value in _properties(cluster, node).items()]
        (node.directory / "server.properties").write_text("\n".join(lines) + "\n", encoding="utf-8")
    described = {"cluster_id": cluster_id, "ports": [list(pair) for pair in ports]}
    _plan_file(directory).write_text(json.dumps(described, indent=2) + "\n", encoding="ascii")
    return cluster


def known_cluster(directory: Path) -> Cluster | None:
    """The cluster that a directory holds, None if it holds none.

    Raises:
        ConfigError: its description cannot be read.
    """
    path = _plan_file(directory)
    if not path.exists():
        return None
    try:
        described = json.loads(path.read_text(encoding="ascii"))
        pairs = [(int(port), int(controller)) for port, controller in described["ports"]]
        nodes = [Node(number, *pair, directory / f"node-{number}") for number, pair in enumerate(pairs, start=1)]
        return Cluster(directory, str(described["cluster_id"]), tuple(nodes))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); choose another directory, or remove this one") from None


def _plan_file(directory: Path) -> Path:
    return directory / "cluster.json"


def _properties(cluster: Cluster, node: Node) -> dict[str, str]:
    replicas = str(len(cluster.nodes))
    insync = "2" if len(cluster.nodes) > 1 else "1"
    return {
        **_COMMON,
        "node.id": str(node.number),
        "controller.quorum.voters": ",".join(f"{n.number}@{HOST}:{n.controller_port}" for n in cluster.nodes),
        "listeners": f"PLAINTEXT://{node.bootstrap},CONTROLLER://{HOST}:{node.controller_port}",
        "advertised.listeners": f"PLAINTEXT://{node.bootstrap}",
        "log.dirs": str(node.directory / "data"),
        "default.replication.factor": replicas,
        "min.insync.replicas": insync,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": insync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": insync,
    }


def _java_argv(node: Node, main_class: str, *arguments: str) -> list[str]:
    # Small and quick to start: the full compiler costs more than it brings in minutes of life, and every run of a
    # test starts some nodes.
    return [
        java_binary(),
        *(f"-Xmx{_HEAP_MB}m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError"),
        f"-Dlog4j2.configurationFile={DEPLOY / 'log4j2.properties'}",
        f"-Dstreamproc.kafka.log={node.log}",
        *("-cp", ":".join(map(str, ensure_jars()))),
        *(main_class, *arguments),
    ]


def node_argv(node: Node) -> list[str]:
    """Command line of a node; its storage must be formatted.

    Raises:
        ConfigError: Java or Maven is missing.
        StreamprocError: the jars cannot be fetched.
    """
    return _java_argv(node, "kafka.Kafka", str(node.directory / "server.properties"))


def format_node(cluster: Cluster, node: Node) -> None:
    """Format a node's storage if it is not, with Kafka's own tool; blocks for about a second.

    Raises:
        ConfigError: Java or Maven is missing.
        StreamprocError: the tool failed.
    """
    if node.formatted:
        return
    options = ("format", "--cluster-id", cluster.cluster_id, "--config", str(node.directory / "server.properties"))
    argv = bound_argv(_java_argv(node, "kafka.tools.StorageTool", *options))
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=_FORMAT_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        raise StreamprocError(f"formatting node {node.number} took more than {_FORMAT_TIMEOUT_S:.0f} s") from None
    if done.returncode:
        said = (done.stdout + done.stderr)[-2000:]
        raise StreamprocError(f"the storage of node {node.number} cannot be formatted:\n{said}")
