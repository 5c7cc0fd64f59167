"""`streamproc up` as a person runs it: the whole stack on free ports, a killed worker, the pasted commands, the end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from streamproc.clock import now_ms
from streamproc.embedded.stack import StackOptions
from streamproc.view.hints import clickhouse_command, own_event_command, redis_command
from tests.support.events import user_event
from tests.support.ports import free_port

pytestmark = pytest.mark.timeout(240)


class Up:
    """One `streamproc up`, its output in a file."""

    def __init__(self, options: StackOptions, log: Path, *arguments: str) -> None:
        self.log = log
        ports = [
            *("--broker-port", str(options.broker_port), "--redis-port", str(options.redis_port)),
            *("--clickhouse-port", str(options.clickhouse_port), "--metrics-port", str(options.metrics_port)),
        ]
        command = [sys.executable, "-m", "streamproc.cli.main", "up", "--data-dir", str(options.data_dir), "--no-view"]
        with log.open("w") as out:
            self.process = subprocess.Popen([*command, *ports, *arguments], stdout=out, stderr=subprocess.STDOUT)

    def text(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, timeout_s: float = 90.0) -> re.Match[str]:
        deadline = time.monotonic() + timeout_s
        while not (found := re.search(pattern, self.text())):
            assert self.process.poll() is None and time.monotonic() < deadline, f"no {pattern!r} in:\n{self.text()}"
            time.sleep(0.05)
        return found

    def pid_of(self, part: str) -> int:
        return int(self.wait_for(rf"{part} is ready \(pid (\d+)").group(1))


@pytest.fixture
def options(tmp_path: Path) -> StackOptions:
    ports = [free_port() for _ in range(3)]
    base = free_port()
    return StackOptions(
        tmp_path / "data", broker_port=ports[0], redis_port=ports[1], clickhouse_port=ports[2], metrics_port=base
    )


@pytest.fixture
def runs() -> Iterator[list[Up]]:
    started: list[Up] = []
    yield started
    for up in started:
        up.process.kill()
        up.process.wait()


def shell(command: str) -> str:
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_whole_stack(
    options: StackOptions, runs: list[Up], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMPROC_INTAKE_STREAMS", '{"in": "user-events"}')
    up = Up(options, tmp_path / "first.log", "--rate", "100")
    runs.append(up)
    up.wait_for("Where to look next")
    parts = {
        name: up.pid_of(name) for name in ("broker", "redis", "clickhouse", "windows-1", "archive", "intake", "demo")
    }

    shown = shell(own_event_command(options))
    assert "user-events" in shown, shown
    up.wait_for(r"windows [1-9]")
    assert "active_users" in shell(clickhouse_command(options))
    assert "'value'" in shell(redis_command(options))

    with redis.Redis(port=options.redis_port) as client:
        client.xadd("in", {"value": json.dumps(user_event(now_ms()))})

    os.kill(parts["windows-1"], signal.SIGKILL)
    up.wait_for(r"windows-1 died \(signal SIGKILL\)")
    up.wait_for(r"windows-1 is back")

    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(90) == 0, up.text()
    text = up.text()
    sent = int(re.findall(r"demo traffic ends .* sent=(\d+)", text)[0])
    taken = int(re.search(r"events taken +([\d,]+)", text).group(1).replace(",", ""))  # type: ignore[union-attr]  # there
    assert taken == sent + 2, f"what was sent, the reader's own event, and an entry of a Redis Stream; {text}"
    assert re.search(r"gold.windows +[1-9][\d,]* windows of \d+ metrics", text), text[-3000:]
    assert "Traceback" not in text
    assert not [name for name, pid in parts.items() if is_alive(pid)]

    second = Up(options, tmp_path / "second.log", "--no-demo", "--for", "2s")
    runs.append(second)
    assert second.process.wait(120) == 0, second.text()
    assert re.search(r"active_users +[1-9]", second.text()), "the values of the first run are still there"
