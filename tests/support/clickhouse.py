"""Starts and stops the embedded ClickHouse server as a process of its own, for tests that need a real one."""

import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from streamproc.embedded.child import bound_argv
from tests.support.patience import PATIENCE

_READY = re.compile(r" ready on http://[^ ]*:(\d+) ")
_PAUSE = 0.02
# The server dies with the thread that started it: this one lives as long as the test process.
_starter = ThreadPoolExecutor(1, thread_name_prefix="clickhouse-starter")


@dataclass
class ClickHouseHandle:
    """A running server: where it listens, and how it ends."""

    process: subprocess.Popen[bytes]
    port: int
    log: IO[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def output(self) -> str:
        """What the server has printed so far."""
        return _read(self.log)

    def stop(self, timeout: float = 60.0) -> int:
        """SIGTERM, and wait for the graceful end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._ended(timeout)

    def kill(self) -> int:
        """SIGKILL: nothing is finished or flushed."""
        if self.process.poll() is None:
            self.process.kill()
        return self._ended(10.0)

    def _ended(self, timeout: float) -> int:
        code = self.process.wait(timeout)
        if not self.log.closed:
            self.log.close()
        return code


def _read(log: IO[bytes]) -> str:
    log.seek(0)
    return log.read().decode(errors="replace")


def start_clickhouse(
    data_dir: Path | str, *, port: int = 0, options: Sequence[str] = (), timeout: float = 60.0
) -> ClickHouseHandle:
    """Start a server on `data_dir` (port 0: a free one) and return once it answers /ping."""
    command = [sys.executable, "-m", "streamproc.embedded.clickhouse"]
    command += ["--port", str(port), "--data-dir", str(data_dir), *options]
    log = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the server has ended)
    process = _starter.submit(_spawn, bound_argv(command), log).result()
    deadline = time.monotonic() + timeout * PATIENCE
    while time.monotonic() < deadline and process.poll() is None:
        ready = _READY.search(_read(log))
        if ready is not None and _answers(int(ready[1])):
            return ClickHouseHandle(process, int(ready[1]), log)
        time.sleep(_PAUSE)
    process.kill()
    process.wait()
    text = _read(log)
    log.close()
    raise RuntimeError(f"the ClickHouse server did not start: {text}")


def _spawn(command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5) as answer:
            return bool(answer.read() == b"Ok.\n")
    except urllib.error.URLError:
        return False
