"""The embedded broker for tests: `start_broker()` on a free port."""

from __future__ import annotations

from streamproc.embedded.broker import broker_argv
from streamproc.embedded.health import kafka_ready
from tests.support.ports import free_port
from tests.support.server import ServerProcess


class BrokerHandle(ServerProcess):
    """A broker in memory: what it holds is gone after stop() or kill(); start() brings an empty one on the same port."""

    def __init__(self, port: int) -> None:
        super().__init__(broker_argv(port), port, lambda: kafka_ready("127.0.0.1", port))

    def stop(self, timeout_s: float = 0.2) -> None:
        """As for any server, but soon killed: it waits for clients that are still connected, and saves nothing."""
        super().stop(timeout_s)

    @property
    def bootstrap(self) -> str:
        """host:port for Kafka clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """kafka://host:port for our settings."""
        return f"kafka://{self.bootstrap}"


def start_broker(port: int | None = None) -> BrokerHandle:
    """A healthy broker; the caller stops it (it also dies with the test process)."""
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
