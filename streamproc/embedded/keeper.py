"""Keeps one part alive: starts it, waits until it is ready, and starts it again with growing pauses when it dies."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum

from streamproc.clock import monotonic
from streamproc.embedded.journal import Journal
from streamproc.embedded.process import Part, PartFailedError, PartProcess, describe_exit, rss_bytes
from streamproc.errors import StreamprocError

_FIRST_TRIES = 3


class State(StrEnum):
    """Where a part is in its life."""

    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    STOPPED = "stopped"


class Backoff:
    """Pauses 0.5, 1, 2 .. 30 s; from the first again once a run has lasted `reset_after_s`."""

    def __init__(self, first_s: float = 0.5, most_s: float = 30.0, reset_after_s: float = 60.0) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._reset_after_s = reset_after_s
        self._next_s = first_s

    def next_pause(self, lasted_s: float) -> float:
        """The pause after a run that lasted so many seconds."""
        if lasted_s >= self._reset_after_s:
            self._next_s = self._first_s
        pause = self._next_s
        self._next_s = min(self._most_s, pause * 2)
        return pause


class Keeper:
    """One part kept alive. `on_return` runs after a part that had died by itself is ready again."""

    def __init__(self, part: Part, journal: Journal, backoff: Backoff | None = None) -> None:
        self.part = part
        self.state = State.STOPPED
        self.restarts = 0
        self.on_return: Callable[[], Awaitable[None]] | None = None
        self._journal = journal
        self._backoff = backoff or Backoff()
        self._process = PartProcess(part, journal)
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int:
        """Process id; 0 when it does not run."""
        return self._process.pid

    @property
    def rss_bytes(self) -> int:
        """Resident memory; 0 when unknown."""
        return rss_bytes(self.pid) if self.pid else 0

    async def start(self) -> None:
        """Start the part, with a few tries, and keep it alive from then on.

        Raises:
            PartFailedError: it does not become ready; the message ends with the last lines of its log.
        """
        for attempt in range(1, _FIRST_TRIES + 1):
            try:
                await self._run_until_ready()
                break
            except StreamprocError as error:
                await self._process.stop()
                if attempt == _FIRST_TRIES or getattr(error, "final", False):
                    self.state = State.STOPPED
                    raise self._failure(error) from None
                self._journal.say(f"{error}; trying again")
                await asyncio.sleep(self._backoff.next_pause(0.0))
        self._keep_going(running=True)

    async def start_again(self, wait_s: float) -> None:
        """Start the part after `stop`, for as many tries as it takes; returns when it is ready, or after `wait_s`."""
        self._ready.clear()
        self._keep_going(running=False)
        try:
            await asyncio.wait_for(self._ready.wait(), wait_s)
        except TimeoutError:
            self._journal.say(f"{self.part.name} is not ready after {wait_s:.0f} s; going on without it for now")

    async def let_be(self) -> None:
        """Keep the part alive no longer, and leave it as it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def stop(self, timeout_s: float | None = None) -> None:
        """Stop the part for good (or until it is started again). Safe to call twice."""
        await self.let_be()
        await self._process.stop(timeout_s)
        self.state = State.STOPPED

    def _keep_going(self, running: bool) -> None:
        self._task = asyncio.create_task(self._keep(running), name=f"keep-{self.part.name}")
        self._task.add_done_callback(self._report_defect)

    def _report_defect(self, task: asyncio.Task[None]) -> None:
        """An error that nobody foresaw must not end the keeping silently."""
        if not task.cancelled() and (error := task.exception()) is not None:
            self.state = State.STOPPED
            self._journal.say(f"{self.part.name} is no longer kept alive: {type(error).__name__}: {error}")

    async def _run_until_ready(self) -> None:
        self.state = State.STARTING
        self._process = PartProcess(self.part, self._journal)
        await self._process.spawn()
        await self._process.wait_ready()
        self.state = State.READY
        self._ready.set()

    async def _keep(self, running: bool) -> None:
        came_back = False
        while True:
            if running:
                code = await self._process.wait()
                await self._pause(f"{self.part.name} died ({describe_exit(code)})")
                self.restarts += 1
                came_back = True
            try:
                await self._run_until_ready()
                running = True
                if came_back:
                    self._journal.say(f"{self.part.name} is back (pid {self.pid})")
                    if self.on_return is not None:
                        await self.on_return()
            except StreamprocError as error:
                await self._process.stop()
                running = False
                await self._pause(str(error))

    async def _pause(self, why: str) -> None:
        self.state = State.WAITING
        lasted_s = monotonic() - self._process.started_at if self._process.started_at else 0.0
        pause_s = self._backoff.next_pause(lasted_s)
        self._journal.say(f"{why}; starting it again in {pause_s:g} s")
        await asyncio.sleep(pause_s)

    def _failure(self, error: StreamprocError) -> PartFailedError:
        lines = self._journal.tail(self.part.name)
        text = str(error)
        # The error of a job that the part needs brings its own lines.
        if lines and "\n" not in text:
            text += "; its last lines:\n" + "\n".join(f"    {line}" for line in lines)
        path = self._journal.log_path(self.part.name)
        return PartFailedError(f"{text}\n    (whole log: {path})" if path else text)
