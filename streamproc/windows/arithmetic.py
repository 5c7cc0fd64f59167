"""Window arithmetic in integer milliseconds: half-open tumbling windows [n*size, (n+1)*size)."""

from __future__ import annotations

from schemas.outcomes import ALLOWED_LATENESS_MS
from schemas.results import SIZES_MS

MINUTE_MS = SIZES_MS["1m"]

#: Sizes in a fixed order: an index into these stands for a size in the hot path.
SIZE_NAMES: tuple[str, ...] = tuple(SIZES_MS)
SIZE_VALUES: tuple[int, ...] = tuple(SIZES_MS.values())


def window_start(time_ms: int, size_ms: int) -> int:
    """Start of the only window of that size that holds the instant (floor division, so also before 1970)."""
    return time_ms - time_ms % size_ms


def closes_at(start_ms: int, size_ms: int) -> int:
    """Highest event time from which on an event for this window is late: the window's end plus allowed lateness."""
    return start_ms + size_ms + ALLOWED_LATENESS_MS
