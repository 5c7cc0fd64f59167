"""One worker process that may die and be started again, on the same metrics port and with the same log file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from streamproc.embedded.child import bound_argv
from tests.support.ports import free_port
from tests.support.server import _starter

Samples = dict[str, list[tuple[dict[str, str], float]]]


class WorkerHandle:
    """A worker of one role. `wanted`: the driver's supervisor starts it again when it ends (see `World.supervise`).

    Everything that only signals is immediate; what waits is a coroutine.
    """

    def __init__(self, directory: Path, name: str, role: str, env: dict[str, str]) -> None:
        self.name = name
        self.role = role
        self.port = free_port()
        self.log = directory / f"{name}.log"
        self.wanted = False
        self.paused = False
        self.starts = 0
        #: Since when (monotonic s) the process of now runs.
        self.started_at = 0.0
        self._env = env
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id, 0 if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    @property
    def alive(self) -> bool:
        """Whether the process runs (a paused one does)."""
        return self.pid != 0

    @property
    def exit_code(self) -> int | None:
        """How the last process ended, negative for a signal; None while it runs or was never started."""
        return None if self._process is None else self._process.poll()

    def start(self, *, prefix: Sequence[str] = (), **env: str) -> None:
        """Start the process and return at once.

        `env`: environment variables of this start only (full names: STREAMPROC_CRASH_AT, LD_PRELOAD, TZ).
        `prefix`: a command that runs the worker by exec, such as ("prlimit", "--nofile=64").
        """
        assert not self.alive, f"{self.name} runs already"
        argv = [sys.executable, "-m", "streamproc.cli.main", "worker", "--role", self.role]
        argv = bound_argv([*prefix, *argv, "--metrics-port", str(self.port)])
        with self.log.open("ab") as out:
            self._process = _starter.submit(
                subprocess.Popen,
                argv,
                stdout=out,
                stderr=out,
                env={**os.environ, **self._env, **env},
                start_new_session=True,
            ).result()
        self.wanted, self.paused = True, False
        self.starts += 1
        self.started_at = time.monotonic()

    def kill(self) -> None:
        """SIGKILL; the supervisor starts it again soon, unless `wanted` is set to False."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()
        self.paused = False

    async def stop(self, timeout_s: float = 30.0) -> int:
        """SIGTERM, and wait for the end; the exit code. The supervisor leaves it alone until `start`.

        Raises:
            AssertionError: it did not end in time (it is killed then).
        """
        self.wanted = False
        if self._process is None:
            return 0
        self.resume()
        self._signal(signal.SIGTERM)
        return await self.ended(timeout_s)

    async def ended(self, timeout_s: float) -> int:
        """Wait until the process has ended by itself; the exit code.

        Raises:
            AssertionError: it did not end in time (it is killed then).
        """
        assert self._process is not None
        deadline = time.monotonic() + timeout_s
        while (code := self._process.poll()) is None:
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError(f"{self.name} did not end within {timeout_s:.0f} s; see {self.log}")
            await asyncio.sleep(0.05)
        return code

    def pause(self) -> None:
        """SIGSTOP."""
        self._signal(signal.SIGSTOP)
        self.paused = True

    def resume(self) -> None:
        """SIGCONT; harmless if it is not paused."""
        self._signal(signal.SIGCONT)
        self.paused = False

    async def ready(self) -> bool:
        """Whether /ready says so."""
        return (await self.get("ready"))[0] == 200

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body of /metrics, /live or /ready; status 0 if it does not answer within 3 s."""
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(3)) as session,
                session.get(f"http://127.0.0.1:{self.port}/{path}") as answer,
            ):
                return answer.status, await answer.text()
        except (aiohttp.ClientError, OSError, TimeoutError):
            return 0, ""

    async def metrics(self) -> Samples:
        """Sample name -> [(labels, value)]; empty if it does not answer."""
        found: Samples = {}
        for family in text_string_to_metric_families((await self.get("metrics"))[1]):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
        return found

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
