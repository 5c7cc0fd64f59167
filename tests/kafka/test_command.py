"""`streamproc kafka` as a person runs it: addresses, pid files, a killed node, the end, and the next start."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.support.stack import produce, read_all, wait_for

pytestmark = pytest.mark.kafka_only("is about Kafka itself")


class Command:
    """One run of the command; its output in a file."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.log = data.with_suffix(".log")
        argv = [sys.executable, "-m", "streamproc.cli.main", "kafka", "--data", str(data), *options]
        with self.log.open("w") as out:
            self.process = subprocess.Popen(argv, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def bootstrap(self) -> str:
        """The printed address, once it is there."""

        def found() -> re.Match[str] | None:
            assert self.process.poll() is None, self.log.read_text()
            return re.search(r"^bootstrap: (\S+)$", self.log.read_text(), re.MULTILINE)

        return str(wait_for("the address", found, 60).group(1))

    def pid_of(self, name: str) -> int:
        """What a pid file says."""
        return int((self.data / name).read_text())

    def end(self) -> int:
        """SIGTERM by the pid file; the exit code."""
        os.kill(self.pid_of("pid"), signal.SIGTERM)
        return self.process.wait(60)


def test_the_command_runs_one_node_keeps_it_alive_and_keeps_its_data(tmp_path: Path) -> None:
    first = Command(tmp_path / "kafka")
    try:
        bootstrap = first.bootstrap()
        settings = Settings(broker_url=f"kafka://{bootstrap}", partitions=2)
        asyncio.run(ensure_topics(settings))
        asyncio.run(produce(bootstrap, [("user-events", b"1", b"{}")] * 10))
        node = first.pid_of("node-1/pid")
        second = subprocess.run(
            [sys.executable, "-m", "streamproc.cli.main", "kafka", "--data", str(first.data)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert second.returncode == 2
        assert "in use by another `streamproc kafka`" in second.stderr
        os.kill(node, signal.SIGKILL)
        wait_for("another process", lambda: first.pid_of("node-1/pid") != node, 60)
        assert len(asyncio.run(read_all(bootstrap, ["user-events"]))) == 10
        assert first.end() == 0
        assert not (first.data / "pid").exists()
        assert not (first.data / "node-1" / "pid").exists()
    finally:
        first.process.kill()
    again = Command(tmp_path / "kafka")
    try:
        assert again.bootstrap() == bootstrap
        assert len(asyncio.run(read_all(bootstrap, ["user-events"]))) == 10
        assert again.end() == 0
    finally:
        again.process.kill()


def test_ctrl_c_ends_three_nodes(tmp_path: Path) -> None:
    command = Command(tmp_path / "kafka", "--nodes", "3")
    try:
        bootstrap = command.bootstrap()
        assert len(bootstrap.split(",")) == 3
        assert "STREAMPROC_REPLICATION_FACTOR=3" in command.log.read_text()
        pids = [command.pid_of(f"node-{number}/pid") for number in (1, 2, 3)]
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(60) == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]
    finally:
        command.process.kill()
