"""A server process of a test: started, checked, stopped or killed by pid, and started again on the same port."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from streamproc.embedded.child import bound_argv
from tests.support.patience import PATIENCE

# The kernel kills a bound child when the *thread* that forked it ends, so all are forked by one that lives as long as
# the process; it also lets start() be called where an event loop is running.
_starter = ThreadPoolExecutor(1, thread_name_prefix="server-starter")


class ServerProcess:
    """One server on 127.0.0.1:port; it dies with the test process."""

    def __init__(self, argv: list[str], port: int, healthy: Callable[[], Awaitable[bool]]) -> None:
        self.port = port
        self._argv = argv
        self._healthy = healthy
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self._process and self._process.poll() is None else 0

    def start(self, timeout_s: float = 10.0) -> None:
        """Start and wait until healthy.

        Raises:
            RuntimeError: it ended, or was not healthy in time.
        """
        _starter.submit(self._start, timeout_s).result()

    def _start(self, timeout_s: float) -> None:
        self._process = subprocess.Popen(
            bound_argv(self._argv), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + timeout_s * PATIENCE
        while not asyncio.run(self._check()):
            ended = self._process.poll()
            if ended is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._argv[0]} on port {self.port} is not healthy (exit code {ended})")
            time.sleep(0.02)

    async def _check(self) -> bool:
        return await self._healthy()

    def stop(self, timeout_s: float = 10.0) -> None:
        """SIGTERM, and SIGKILL if it does not end in time. Safe to call twice."""
        self.signal(signal.SIGTERM)
        if self._process is not None:
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """SIGKILL, as in a crash. Safe to call twice."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal (SIGSTOP and SIGCONT among them) if it runs."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
