"""Starts the process of an attempt, listens to it, and ends it with all that it started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from typing import Protocol

import msgspec

from batch.scheduler.child import EXIT_FENCED
from batch.scheduler.lease import LeaseLostError
from batch.scheduler.orders import Order, Said
from streamproc.embedded.child import bound_argv, module_argv

#: Bytes of a result; asyncio's own limit of 64 KB would lose a run whose details are longer.
_LONGEST_LINE = 16 * 1024 * 1024

OnStep = Callable[[Said], None]


class Child(Protocol):
    """A body at work."""

    async def ended(self) -> Said:
        """Its result; raises LeaseLostError if it ended because its lease did."""

    async def kill(self) -> None:
        """End it at once and wait until it is gone. Safe to call when it has ended."""


class Launcher(Protocol):
    """How bodies are started; tests have one that stays in the process."""

    async def start(self, order: Order, on_step: OnStep) -> Child:
        """Start the body of an order."""


class Processes:
    """Each body in a process of its own, which ends with this one (Linux)."""

    async def start(self, order: Order, on_step: OnStep) -> Child:
        """Start it; what it writes to standard error goes where ours goes."""
        argv = bound_argv(module_argv("batch.scheduler.child", msgspec.json.encode(order).decode()))
        process = await asyncio.create_subprocess_exec(*argv, stdout=PIPE, start_new_session=True, limit=_LONGEST_LINE)
        return _ChildProcess(process, on_step)


class _ChildProcess:
    def __init__(self, process: Process, on_step: OnStep) -> None:
        self._process = process
        self._on_step = on_step

    async def ended(self) -> Said:
        assert self._process.stdout is not None
        last: Said | None = None
        async for line in self._process.stdout:
            said = msgspec.json.decode(line, type=Said)
            if said.ended:
                last = said
            else:
                self._on_step(said)
        code = await self._process.wait()
        if code == EXIT_FENCED:
            raise LeaseLostError
        if last is None:
            return Said(ended=True, error=f"its process ended without a result (exit code {code})")
        return last

    async def kill(self) -> None:
        # The whole session: a body may have started something.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
