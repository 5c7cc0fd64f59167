"""A broker for tests: `start_broker()` on a free port; the embedded one, or Apache Kafka with `pytest --broker kafka`.

Both are real servers. The embedded one holds its log in memory; Kafka keeps it over kill() and start().
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from pathlib import Path
from typing import Protocol

from streamproc.embedded.broker import broker_argv
from streamproc.embedded.health import kafka_ready
from tests.support.ports import free_port
from tests.support.server import ServerProcess

BROKERS = ("embedded", "kafka")


def chosen_broker() -> str:
    """The kind of broker that `start_broker` starts."""
    return os.environ.get("STREAMPROC_TEST_BROKER", BROKERS[0])


class Broker(Protocol):
    """What tests may do with a broker of either kind."""

    port: int

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""

    @property
    def url(self) -> str:
        """kafka://host:port for our settings."""

    def start(self) -> None:
        """Start again on the same port and wait until healthy: with its log (Kafka), or empty (embedded)."""

    def stop(self) -> None:
        """SIGTERM. Safe to call twice."""

    def kill(self) -> None:
        """SIGKILL. Safe to call twice."""

    def lose_log(self) -> None:
        """Kill it and start it empty on the same port."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""

    def discard(self) -> None:
        """End it for good, with its files."""


class BrokerHandle(ServerProcess):
    """A broker in memory: what it holds is gone after stop() or kill(); start() brings an empty one on the same port."""

    def __init__(self, port: int) -> None:
        super().__init__(broker_argv(port), port, lambda: kafka_ready("127.0.0.1", port))

    def stop(self, timeout_s: float = 0.2) -> None:
        """As for any server, but soon killed: it waits for clients that are still connected, and saves nothing."""
        super().stop(timeout_s)

    def lose_log(self) -> None:
        """Kill it and start it empty on the same port."""
        self.kill()
        self.start()

    def discard(self) -> None:
        """End it for good."""
        self.kill()

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """kafka://host:port for our settings."""
        return f"kafka://{self.bootstrap}"


class KafkaBroker:
    """A Kafka cluster as tests of a broker see it; `port` and `pid` are those of its first node."""

    def __init__(self, directory: Path, nodes: int = 1) -> None:
        from tests.support.kafka import start_kafka

        self._directory = directory
        self.cluster = start_kafka(directory, nodes)
        self.port = self.cluster.nodes[0].port
        self.bootstrap = self.cluster.bootstrap
        self.url = self.cluster.url

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self.cluster.nodes[0].pid

    def start(self) -> None:
        """Start it again with its log."""
        self.cluster.start()

    def stop(self) -> None:
        """SIGTERM."""
        self.cluster.stop()

    def kill(self) -> None:
        """SIGKILL."""
        self.cluster.kill()

    def lose_log(self) -> None:
        """Kill it and start it empty on the same port."""
        self.cluster.lose_log()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if it runs."""
        self.cluster.nodes[0].signal(number)

    def discard(self) -> None:
        """End it for good, with its files."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)


def start_embedded_broker(port: int | None = None) -> BrokerHandle:
    """A healthy embedded broker, whatever was chosen; the caller stops it (it also dies with the test process)."""
    if port is not None:
        handle = BrokerHandle(port)
        handle.start()
        return handle
    for attempt in range(3):
        handle = BrokerHandle(free_port())
        try:
            handle.start()
        except RuntimeError:
            if attempt == 2:
                raise
        else:
            return handle
    raise AssertionError("unreachable")


def start_broker(nodes: int = 1) -> Broker:
    """A healthy broker of the chosen kind; the caller discards it (it also dies with the test process).

    Raises:
        ValueError: the embedded broker cannot have several nodes.
    """
    if chosen_broker() == "kafka":
        return KafkaBroker(Path(tempfile.mkdtemp(prefix="streamproc-kafka-")), nodes)
    if nodes != 1:
        raise ValueError("the embedded broker is one node")
    return start_embedded_broker()
