"""Virtual time and one event loop per simulated process: whose callback runs next is the scheduler's decision."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections import deque
from collections.abc import Callable
from typing import Any

#: The process whose code runs right now (None while the scheduler itself runs).
running: Loop | None = None


class ProcessEnded(BaseException):
    """The product ended its own process (`fatal.die`)."""


class Clock:
    """Wall clock (epoch ms) and monotonic seconds of the whole simulated world; stands in for the module `time`."""

    def __init__(self) -> None:
        self.ms = 0
        self.start_ms = 0

    def begin(self, start_ms: int) -> None:
        """Set the wall clock at the beginning of a history."""
        self.ms = self.start_ms = start_ms

    def time_ns(self) -> int:
        """What the running process believes the time to be: each may be wrong by its own skew."""
        skew = running.skew_ms if running is not None else 0
        return (self.ms + skew) * 1_000_000

    def monotonic(self) -> float:
        """Seconds since the history began; never skewed."""
        return (1_000_000 + self.ms - self.start_ms) / 1000

    def monotonic_ns(self) -> int:
        """The same in whole nanoseconds."""
        return (1_000_000 + self.ms - self.start_ms) * 1_000_000


clock = Clock()


class Timer:
    """A callback that waits for its time. The scheduler fires timers in any order: real clocks promise no more."""

    __slots__ = ("_args", "_callback", "_cancelled", "_loop", "owner")

    def __init__(self, loop: Loop, callback: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        task = asyncio.tasks._current_tasks.get(loop) if running is loop else None  # type: ignore[attr-defined]
        self.owner = task.get_name() if task is not None else ""

    def cancel(self) -> None:
        """As asyncio's handles: even if its time has come, as long as it did not run."""
        self._cancelled = True
        self._loop.timers.pop(self, None)

    def cancelled(self) -> bool:
        """As asyncio's handles."""
        return self._cancelled

    def fire(self) -> None:
        """Its time has come."""
        if self._loop.timers.pop(self, self) is None:
            self._loop.ready.append((self._run, ()))

    def _run(self) -> None:
        if not self._cancelled:
            self._callback(*self._args)


class _Queued:
    """What `call_soon` gives back. Nothing that runs here takes a queued callback back."""

    def cancel(self) -> None:
        raise NotImplementedError("a queued callback cannot be cancelled in the simulator")


_QUEUED = _Queued()


class Loop:
    """What asyncio's tasks, locks and events need of an event loop, and no more: no selector, no real time."""

    def __init__(self, skew_ms: int = 0) -> None:
        self.ready: deque[tuple[Callable[..., Any], tuple[Any, ...]]] = deque()
        self.timers: dict[Timer, None] = {}
        self.tasks: list[asyncio.Task[Any]] = []
        self.skew_ms = skew_ms
        self.dead = False
        #: Why the process ended itself ('' while it lives).
        self.ended = ""
        self.process: Any = None

    def run_ready(self, most: int) -> None:
        """Run up to `most` of the callbacks that are ready, the oldest first, and what becomes ready meanwhile."""
        global running
        ready = self.ready
        if not ready:
            return
        running = self
        asyncio._set_running_loop(self)  # type: ignore[arg-type]
        try:
            while ready and most and not self.ended:
                callback, args = ready.popleft()
                most -= 1
                callback(*args)
        finally:
            asyncio._set_running_loop(None)
            running = None

    def timer_of(self, owner: str) -> Timer | None:
        """The timer that a task waits for, if it does."""
        for timer in self.timers:
            if timer.owner == owner:
                return timer
        return None

    def kill(self) -> None:
        """The process is gone: nothing of it runs any more, nothing it awaited is delivered."""
        self.dead = True
        self.ready.clear()
        self.timers.clear()
        for task in self.tasks:
            if not task.done():
                task._log_destroy_pending = False  # type: ignore[attr-defined]
                # At once: left to the garbage collector, its `finally` blocks would run in the middle of another history.
                with contextlib.suppress(ProcessEnded):
                    task.get_coro().close()  # type: ignore[union-attr]
        self.tasks.clear()

    # What asyncio calls.

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> _Queued:
        """Queue a callback. It runs in no context of its own: nothing here uses context variables."""
        if not self.dead:
            self.ready.append((callback, args))
        return _QUEUED

    def call_later(self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Timer:
        """Queue a timer; its delay is left to the scheduler."""
        timer = Timer(self, callback, args)
        if not self.dead:
            self.timers[timer] = None
        return timer

    def call_at(self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None) -> Timer:
        """As `call_later`."""
        return self.call_later(0.0, callback, *args, context=context)

    def time(self) -> float:
        """Monotonic virtual seconds."""
        return clock.monotonic()

    def create_future(self) -> asyncio.Future[Any]:
        """A future of this loop."""
        return asyncio.Future(loop=self)  # type: ignore[arg-type]

    def create_task(self, work: Any, *, name: str | None = None, context: Any = None) -> asyncio.Task[Any]:
        """A task of this loop."""
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self, name=name, context=context or _CONTEXT)  # type: ignore[arg-type]
        self.tasks.append(task)
        return task

    #: asyncio asks this at every future: no, and without a Python frame.
    get_debug = bool

    def is_running(self) -> bool:
        """Always, while its process lives."""
        return not self.dead

    def is_closed(self) -> bool:
        """Whether its process is gone."""
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An exception that nobody fetched: a finding, unless the process was ending anyway."""
        if not self.dead and not self.ended and self.process is not None:
            self.process.world.problem(f"unhandled: {context.get('message')} {context.get('exception')!r}")


#: Copying a context for every task would cost more than most steps.
_CONTEXT = contextvars.Context()


async def wait_for(work: Any, timeout: float | None) -> Any:
    """`asyncio.wait_for` as Python 3.12 has it: without a task of its own."""
    async with asyncio.timeout(timeout):
        return await work
