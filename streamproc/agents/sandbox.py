"""Trying work in a forked copy of the process: whatever it does to the copy, this process goes on and knows."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from streamproc.clock import monotonic

#: Seconds of wall time that a copy may take; a slice takes about 20 ms.
LIMIT_S: Final = 10.0
#: Memory that a copy may take beside what the process has.
_MORE_BYTES: Final = 1024 * 1024 * 1024
_POLL_S: Final = 0.002


async def survives(work: Callable[[], object], limit_s: float = LIMIT_S) -> bool:
    """Whether a copy of this process does `work` without an exception, a crash, or too much time or memory.

    `work` sees everything as it is here, and must neither await nor use connections; what it changes is gone with the
    copy. The event loop goes on meanwhile.
    """
    child = os.fork()
    if child == 0:
        _run(work, limit_s)
    deadline = monotonic() + limit_s
    while True:
        found, status = os.waitpid(child, os.WNOHANG)  # noqa: ASYNC222 (it only asks, and does not wait)
        if found:
            return status == 0
        if monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        await asyncio.sleep(_POLL_S)


def _run(work: Callable[[], object], limit_s: float) -> NoReturn:
    """The copy's life. It ends without cleanup: sockets and files are the parent's."""
    code = 1
    try:
        # Signals to the copy must not reach the parent's event loop through the pipe that both have.
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM):
            signal.signal(number, signal.SIG_DFL)
        # The parent may die before it can kill the copy.
        signal.alarm(int(limit_s) + 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _limit_memory()
        work()
        code = 0
    except BaseException:
        code = 1  # said by the exit code: nothing else may leave the copy
    finally:
        os._exit(code)


def _limit_memory() -> None:
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + _MORE_BYTES, hard))
