"""Background tasks of a worker: none may die unseen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from streamproc.agents.fatal import die
from streamproc.logs import get_logger

log = get_logger("tasks")


class Tasks:
    """Tasks that live as long as the role; one that fails ends the process, since it would stop working silently."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        #: Parts of a graceful end that did not end in time, and may ignore being cancelled.
        self.undone: list[str] = []

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a coroutine under a name."""
        task = asyncio.create_task(self._guard(name, work), name=name)
        self._tasks[name] = task
        return task

    async def _guard(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            raise
        except BaseException:
            die(f"background task {name} failed")

    async def stop(self) -> None:
        """Cancel all and wait for their end."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._tasks.clear()

    async def within(self, seconds: float, what: str, work: Coroutine[Any, Any, Any]) -> bool:
        """Wait for a part of a graceful end, for a bounded time; False (said in the log) if it did not end by then.

        Clients of a broker that is away swallow cancellations, so what is late is left behind and not waited for.
        """
        task = asyncio.create_task(work, name=what)
        done, _ = await asyncio.wait((task,), timeout=seconds)
        if done:
            task.result()
            return True
        task.cancel()
        self.undone.append(what)
        log.warning("not done in time; what is left is read again by whoever comes next", what=what, seconds=seconds)
        return False
