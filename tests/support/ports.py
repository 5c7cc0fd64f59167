"""Free TCP ports for servers that tests start."""

from __future__ import annotations

import random
import socket

# Below the range from which Linux takes ports of outgoing connections, so that no client gets one in between.
_FIRST, _LAST = 20_000, 31_999
_handed_out: set[int] = set()


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def free_port() -> int:
    """A free port that this process has not handed out before.

    Drawn at random, so that test processes side by side seldom meet; a server that loses the race is started again
    on another port by its fixture.

    Raises:
        RuntimeError: a thousand draws found none.
    """
    draw = random.SystemRandom()
    for _ in range(1000):
        port = draw.randint(_FIRST, _LAST)
        if port not in _handed_out and is_free(port):
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free port between {_FIRST} and {_LAST}")
