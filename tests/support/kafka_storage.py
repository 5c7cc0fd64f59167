"""Formatted storage for Kafka nodes of tests: by Kafka's own tool once per test process, written again from then on.

The tool is a JVM of its own, about a quarter of the processor time of a node's start.
"""

from __future__ import annotations

import base64
import re
import shutil
import tempfile
import threading
import uuid
from functools import cache
from pathlib import Path

from streamproc.embedded.kafka.cluster import Cluster, Node, format_node, plan_cluster

_lock = threading.Lock()


def format_like_the_first(cluster: Cluster, node: Node) -> None:
    """Format a node's storage if it is not: what Kafka's tool writes, with ids of its own.

    Raises:
        ConfigError: Java or Maven is missing.
        StreamprocError: the tool failed.
    """
    if node.formatted:
        return
    with _lock:
        files = _files(node.number, len(cluster.nodes))
    data = node.directory / "data"
    shutil.rmtree(data, ignore_errors=True)
    # The file that makes it count as formatted is the last one.
    for name in sorted(files, key=lambda name: name == "meta.properties"):
        path = data / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name] if name != "meta.properties" else _renamed(files[name], cluster.cluster_id))


@cache
def _files(number: int, nodes: int) -> dict[str, bytes]:
    """Content by relative path of what formatting such a node writes; the ports are not in it."""
    with tempfile.TemporaryDirectory(prefix="streamproc-kafka-format-") as root:
        cluster = plan_cluster(Path(root), [(2 * each + 1, 2 * each + 2) for each in range(nodes)])
        node = cluster.nodes[number - 1]
        format_node(cluster, node)
        data = node.directory / "data"
        return {str(path.relative_to(data)): path.read_bytes() for path in data.rglob("*") if path.is_file()}


def _renamed(meta: bytes, cluster_id: str) -> bytes:
    # As Kafka makes them, but for the first letter: its tools take an id that begins with a dash for an option.
    directory_id = "A" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    text = meta.decode("ascii")
    for name, value in (("cluster.id", cluster_id), ("directory.id", directory_id)):
        text, found = re.subn(rf"^{re.escape(name)}=.*$", f"{name}={value}", text, flags=re.MULTILINE)
        assert found == 1, f"{name} is not in meta.properties"
    return text.encode("ascii")
