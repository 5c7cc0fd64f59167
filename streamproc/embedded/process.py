"""One child process: spawned in its own group, its output pumped to the journal, stopped in bounded time."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from streamproc.clock import monotonic
from streamproc.embedded.child import bound_argv
from streamproc.embedded.journal import Journal
from streamproc.errors import StreamprocError

_READY_POLL_S = 0.05
#: Children end with this code on wrong configuration; trying again would not help.
WRONG_USE = 2


class PartFailedError(StreamprocError):
    """A part could not be started: which one, why, and the last lines of its log. `final`: another try is no use."""

    def __init__(self, message: str, final: bool = False) -> None:
        super().__init__(message)
        self.final = final


async def _always() -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """What a part is: its command, its environment beside ours, and how to see that it is ready.

    `after_ready` runs each time that it has become ready, before anything that comes after it is started.
    `reads_broker` marks parts that are started again after the broker lost its log, `produces` those of them that send to it:
    they stop before the others have read all.
    """

    name: str
    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)
    ready: Callable[[], Awaitable[bool]] = _always
    ready_timeout_s: float = 30.0
    stop_timeout_s: float = 10.0
    after_ready: Callable[[], Awaitable[None]] | None = None
    reads_broker: bool = False
    produces: bool = False
    metrics_port: int = 0


class PartProcess:
    """One run of a part."""

    def __init__(self, part: Part, journal: Journal) -> None:
        self.part = part
        self._journal = journal
        self._process: asyncio.subprocess.Process | None = None
        self.started_at = 0.0

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid if self._process is not None and self._process.returncode is None else 0

    async def spawn(self) -> None:
        """Start the process.

        Raises:
            PartFailedError: the operating system cannot run it.
        """
        reader, writer = os.pipe()
        try:
            self._process = await asyncio.create_subprocess_exec(
                *bound_argv(self.part.argv),
                env={**os.environ, "PYTHONUNBUFFERED": "1", **self.part.env},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                start_new_session=True,
            )
        except OSError as error:
            os.close(reader)
            raise PartFailedError(f"{self.part.name} cannot be started: {error}") from None
        finally:
            os.close(writer)
        self.started_at = monotonic()
        self._journal.pump(self.part.name, reader)

    async def wait(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        if self._process is None:
            raise RuntimeError(f"{self.part.name} was never spawned")
        return await self._process.wait()

    async def wait_ready(self) -> None:
        """Wait until the part is ready and its `after_ready` is done.

        Raises:
            PartFailedError: it ended before, or was not ready in time.
            StreamprocError: from `after_ready`.
        """
        deadline = monotonic() + self.part.ready_timeout_s
        while not await self.part.ready():
            code = None if self._process is None else self._process.returncode
            if code is not None:
                raise PartFailedError(f"{self.part.name} ended with {describe_exit(code)}", final=code == WRONG_USE)
            if monotonic() > deadline:
                raise PartFailedError(f"{self.part.name} is not ready after {self.part.ready_timeout_s:.0f} s")
            await asyncio.sleep(_READY_POLL_S)
        if self.part.after_ready is not None:
            await self.part.after_ready()

    async def stop(self, timeout_s: float | None = None) -> None:
        """SIGTERM to the process, and SIGKILL to its whole group if it does not end in time. Safe to call twice."""
        if self._process is None:
            return
        limit = self.part.stop_timeout_s if timeout_s is None else timeout_s
        if limit > 0 and self.pid:
            self._process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(self._process.wait(), limit)
            except TimeoutError:
                self._journal.say(f"{self.part.name} does not stop within {limit:.0f} s; killing it")
        self._kill_group()
        await self._process.wait()

    def _kill_group(self) -> None:
        """End the process and whatever it has left behind in its group."""
        if self._process is None:
            return
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        except PermissionError:
            # macOS says so for a group of which only a zombie is left.
            return


def describe_exit(code: int) -> str:
    """'exit code 1', or 'signal SIGKILL' for a negative code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {signal.Signals(-code).name}"
    except ValueError:
        return f"signal {-code}"


def rss_bytes(pid: int) -> int:
    """Resident memory of a process from /proc; 0 if it does not run or there is no /proc."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


async def run_job(name: str, argv: list[str], env: dict[str, str], journal: Journal, timeout_s: float = 60.0) -> None:
    """Run a command to its end, its lines in the journal.

    Raises:
        PartFailedError: it cannot be run, takes too long, or ends with another code than 0.
    """
    process = PartProcess(Part(name, argv, env), journal)
    await process.spawn()
    try:
        code = await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        raise PartFailedError(f"{name} does not end within {timeout_s:.0f} s") from None
    finally:
        await process.stop(0)
    if code != 0:
        lines = "".join(f"\n    {line}" for line in journal.tail(name))
        raise PartFailedError(f"{name} ended with {describe_exit(code)}{lines}", final=code == WRONG_USE)
