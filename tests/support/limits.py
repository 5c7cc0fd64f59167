"""Limits of a running process, lowered for a while: open files, memory, and the size of any file that it writes."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def lowered(pid: int, limit: int, to: int) -> Iterator[None]:
    """Lower a soft limit (`resource.RLIMIT_…`) of a process; it is restored at the end, if the process still lives."""
    before = resource.prlimit(pid, limit)
    resource.prlimit(pid, limit, (to, before[1]))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, limit, before)


def open_files(pid: int) -> int:
    """How many file descriptors a process has."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def address_space(pid: int) -> int:
    """Bytes of virtual memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()
