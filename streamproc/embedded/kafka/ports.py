"""Ports of a cluster's nodes: asked for, remembered from the last run, or drawn."""

from __future__ import annotations

import random
from pathlib import Path

from streamproc.embedded.datadir import require_free_port
from streamproc.embedded.kafka.cluster import known_cluster
from streamproc.errors import ConfigError

# Below the range from which Linux takes ports of outgoing connections, so that no client sits on one at the next start.
_FIRST, _LAST = 20_000, 31_999
_DRAWS = 1000


def choose_ports(directory: Path, nodes: int, first: int) -> list[tuple[int, int]]:
    """(client port, controller port) of each node, all free now.

    Client ports are `first`, `first` + 1 ..; with 0 those of the last run in this directory, as far as they are free.

    Raises:
        ConfigError: a port that was asked for is taken, or the directory's description cannot be read.
    """
    known = known_cluster(directory)
    before = [(node.port, node.controller_port) for node in known.nodes] if known else []
    taken: set[int] = set()
    pairs = []
    for number in range(nodes):
        port, controller = before[number] if number < len(before) else (0, 0)
        if first:
            port = first + number
            require_free_port(port, f"Kafka node {number + 1}", "--port")
            taken.add(port)
        else:
            port = _free(port, taken)
        pairs.append((port, _free(controller, taken | set(range(first, first + nodes)))))
        taken.update(pairs[-1])
    return pairs


def _free(wanted: int, taken: set[int]) -> int:
    """`wanted` if it is free and not 0, or a free port."""
    if wanted and wanted not in taken and _is_free(wanted):
        return wanted
    draw = random.SystemRandom()
    for _ in range(_DRAWS):
        port = draw.randint(_FIRST, _LAST)
        if port not in taken and _is_free(port):
            return port
    raise ConfigError(f"no free port between {_FIRST} and {_LAST} in {_DRAWS} draws")


def _is_free(port: int) -> bool:
    try:
        require_free_port(port, "Kafka", "--port")
    except ConfigError:
        return False
    return True
