"""The only reader of the wall clock, so that tests can hold it still and nothing mixes up kinds of time."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Processing time: UTC epoch milliseconds."""
    return time.time_ns() // 1_000_000


def monotonic() -> float:
    """Seconds that never step back, for durations and deadlines."""
    return time.monotonic()


def steady_ms() -> int:
    """`monotonic` in whole milliseconds, for what compares times of one process."""
    return time.monotonic_ns() // 1_000_000
