"""Latency buckets: exact below 100, then so narrow that a bucket's representative is within 1 % of all it holds.

A bucket [lo, hi] is represented by 2*lo*hi/(lo+hi) (as DDSketch does: Masson, Rim, Lee, VLDB 2019), whose relative
error at both ends is (hi-lo)/(hi+lo); with hi <= 1.02*lo that is below 1 %. Boundaries are a table of integers, so
that every machine sorts a value into the same bucket.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

_EXACT_BELOW = 100
_GROWTH = 1.02
_TOP = 2**63 - 1


def _lower_bounds() -> list[int]:
    bounds = list(range(_EXACT_BELOW))
    low = _EXACT_BELOW
    while low <= _TOP:
        bounds.append(low)
        # The bucket holds [low, floor(low * 1.02)].
        low = low * 102 // 100 + 1
    return bounds


LOWER_BOUNDS = _lower_bounds()
_BOUNDS: np.ndarray[Any, Any] = np.array(LOWER_BOUNDS, dtype=np.int64)


def buckets_of(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Bucket numbers of non-negative int64 values."""
    return np.searchsorted(_BOUNDS, values, side="right") - 1


def representative(bucket: int) -> float:
    """The value that stands for a bucket: exact below 100, within 1 % above."""
    low = LOWER_BOUNDS[bucket]
    if low < _EXACT_BELOW:
        return float(low)
    high = LOWER_BOUNDS[bucket + 1] - 1 if bucket + 1 < len(LOWER_BOUNDS) else _TOP
    return 2.0 * low * high / (low + high)


def percentile(buckets: dict[int, int], total: int, percent: int) -> float | None:
    """Nearest rank: the value of rank ceil(percent/100 * total), 1-based; None without values."""
    if total == 0:
        return None
    rank = max(1, math.ceil(percent * total / 100))
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= rank:
            return representative(bucket)
    raise ValueError(f"buckets hold {seen} values, not {total}")
