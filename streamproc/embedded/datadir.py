"""The one directory of an embedded stack, locked so that two stacks never write to the same files."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamproc.errors import ConfigError


@contextmanager
def locked_data_dir(path: Path, command: str = "streamproc up") -> Iterator[Path]:
    """The directory (made if missing, absolute), held until the block ends or the process dies.

    Raises:
        ConfigError: another process holds it, or it cannot be written.
    """
    directory = path.expanduser().resolve()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        handle = (directory / "up.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise ConfigError(
            f"the data directory {directory} cannot be used ({error.strerror}); choose another with --data-dir"
        ) from None
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            handle.seek(0)
            owner = handle.read().strip() or "unknown"
            raise ConfigError(
                f"the data directory {directory} is in use by another `{command}` (pid {owner}); "
                "stop that one, or choose another directory with --data-dir"
            ) from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield directory


def require_free_port(port: int, purpose: str, option: str) -> None:
    """Check that a server could listen on 127.0.0.1:port.

    Raises:
        ConfigError: it is taken; the message names the port and the option that changes it.
    """
    with socket.socket() as probe:
        # As the servers themselves do: connections of a stopped server that linger do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise ConfigError(
                f"port {port} for {purpose} is taken ({error.strerror}): stop what listens there, "
                f"or choose another with {option}"
            ) from None
