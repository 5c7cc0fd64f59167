"""The embedded Redis for tests: `start_redis(dir)` on a free port."""

from __future__ import annotations

from pathlib import Path

from streamproc.embedded.health import redis_ready
from streamproc.embedded.redis import redis_argv
from tests.support.ports import free_port
from tests.support.server import ServerProcess


class RedisHandle(ServerProcess):
    """A Redis whose data is gone after kill(), and kept over stop() and start() only with `persist`."""

    def __init__(self, port: int, data_dir: Path, persist: bool) -> None:
        argv = redis_argv(port, data_dir, persist=persist)
        super().__init__(argv, port, lambda: redis_ready("127.0.0.1", port))

    @property
    def url(self) -> str:
        """redis://host:port/0 for our settings."""
        return f"redis://127.0.0.1:{self.port}/0"


def start_redis(data_dir: Path, persist: bool = False) -> RedisHandle:
    """A healthy Redis; the caller stops it (it also dies with the test process)."""
    for attempt in range(3):
        handle = RedisHandle(free_port(), data_dir, persist)
        try:
            handle.start()
        except RuntimeError:
            if attempt == 2:
                raise
        else:
            return handle
    raise AssertionError("unreachable")
