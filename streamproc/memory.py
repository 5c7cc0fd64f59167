"""Keeps the C heap small: a worker allocates and frees megabytes a second, from two threads."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Final

# From glibc's malloc.h.
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8
_LARGE_BYTES: Final = 256 * 1024


def bound_heap() -> bool:
    """Two arenas, and large blocks given back at once (glibc would keep both growing); False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_ARENA_MAX, 2) and mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))


def trim_heap() -> bool:
    """Give free pages in the middle of the heap back (tens of ms; in a thread); False where there is no glibc."""
    if not sys.platform.startswith("linux"):
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return bool(trim and trim(0))


def calm_collector() -> None:
    """Fewer full garbage collections, none of them over what was imported.

    The defaults suit small programs: here a full one walks a million objects of open windows (0.2 s in which nothing
    else runs) and finds nothing, since accumulators and records hold no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 100)
