"""What a process has used, as the kernel counts it."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system CPU seconds of a process and its threads so far.

    Raises:
        FileNotFoundError: it does not run.
    """
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def _status_mb(pid: int, name: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(f"process {pid} has no {name}: it has ended")


def rss_mb(pid: int) -> float:
    """Resident memory now (MiB)."""
    return _status_mb(pid, "VmRSS")


def peak_mb(pid: int) -> float:
    """Highest resident memory so far (MiB)."""
    return _status_mb(pid, "VmHWM")


def cpu_of(pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds by name."""
    return {name: cpu_s(pid) for name, pid in pids.items()}


def used_since(before: dict[str, float], pids: dict[str, int]) -> dict[str, float]:
    """CPU seconds by name since `before`."""
    return {name: cpu_s(pid) - before[name] for name, pid in pids.items()}
