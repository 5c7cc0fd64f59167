"""Deltas: a batch of counted events folded by group into small accumulators, one per group and dimension value.

A group is a minute of event time together with the lateness of its events, so that one delta can be merged into the
cells of every size that still takes it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from pyroaring import BitMap64

from streamproc.windows import histogram
from streamproc.windows.accumulators import Accumulator, Count, Distinct, Histogram, Ratio, Sum, SumDistinct, Uptime
from streamproc.windows.selectors import Columns
from streamproc.windows.uptime import mark_of

Array = np.ndarray[Any, Any]

_EXACT_FLOAT = 2**53


def _sums(codes: Array, values: Array, length: int) -> list[int]:
    """Exact integer sums by code: through doubles where they are exact, through Python integers elsewhere."""
    # Python's abs, since that of the lowest 64-bit integer does not fit into 64 bits.
    largest = max(abs(int(values.max())), abs(int(values.min()))) if len(values) else 0
    if largest * len(values) < _EXACT_FLOAT:
        return [int(total) for total in np.bincount(codes, weights=values, minlength=length)]
    totals = [0] * length
    for code, value in zip(codes.tolist(), values.tolist(), strict=True):
        totals[code] += value
    return totals


def _split(codes: Array) -> Iterator[tuple[int, Array]]:
    """(code, positions of that code) for each code that occurs."""
    if not len(codes):
        return
    if (codes == codes[0]).all():
        yield int(codes[0]), np.arange(len(codes))
        return
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    cuts = np.flatnonzero(np.diff(ordered)) + 1
    for positions in np.split(order, cuts):
        yield int(codes[positions[0]]), positions


def _unsigned(ids: Array) -> Array:
    return ids.view(np.uint64) if ids.dtype == np.int64 else ids


def fold(kind: str, codes: Array, values: Array | None, ids: Array | None = None) -> Iterator[tuple[int, Accumulator]]:
    """(code, accumulator) for each code that occurs.

    Args:
        kind: accumulator type of the catalogue.
        codes: int64[n], small non-negative numbers (group * values + dimension code).
        values: int64[n] for all kinds but `count`.
        ids: int64[n] for `sum_distinct`.
    """
    if not len(codes):
        return
    if kind in ("count", "sum", "ratio"):
        yield from _fold_plain(kind, codes, values)
    elif kind == "histogram":
        assert values is not None
        yield from _fold_histogram(codes, histogram.buckets_of(values))
    else:
        yield from _fold_sets(kind, codes, values, ids)


def _fold_plain(kind: str, codes: Array, values: Array | None) -> Iterator[tuple[int, Accumulator]]:
    counts = np.bincount(codes)
    occurring = np.flatnonzero(counts).tolist()
    if kind == "count":
        for code in occurring:
            yield code, Count(int(counts[code]))
        return
    assert values is not None
    totals = _sums(codes, values, len(counts))
    make = Sum if kind == "sum" else Ratio
    for code in occurring:
        yield code, make(int(counts[code]), 0, totals[code])


def _fold_histogram(codes: Array, buckets: Array) -> Iterator[tuple[int, Accumulator]]:
    width = len(histogram.LOWER_BOUNDS)
    keys, counts = np.unique(codes * width + buckets, return_counts=True)
    by_code: dict[int, Histogram] = {}
    for key, count in zip(keys.tolist(), counts.tolist(), strict=True):
        code, bucket = divmod(key, width)
        acc = by_code.get(code)
        if acc is None:
            acc = by_code[code] = Histogram()
        acc.buckets[bucket] = count
        acc.n += count
    yield from by_code.items()


def _fold_sets(kind: str, codes: Array, values: Array | None, ids: Array | None) -> Iterator[tuple[int, Accumulator]]:
    for code, positions in _split(codes):
        assert values is not None
        part = values[positions]
        if kind == "distinct":
            yield code, Distinct(len(positions), 0, BitMap64(_unsigned(part)))
        else:
            assert kind == "sum_distinct" and ids is not None
            total = _sums(np.zeros(len(part), dtype=np.int64), part, 1)[0]
            yield code, SumDistinct(len(positions), 0, total, BitMap64(_unsigned(ids[positions])))


def fold_health(
    codes: Array, minutes: Array, services: Sequence[str], columns: Columns
) -> Iterator[tuple[int, Uptime]]:
    """(code, accumulator of one minute of one service) for each code that occurs; no code has events of two minutes.

    Args:
        codes: int64[n], group * len(services) + number of the service.
        minutes: int64[n], epoch minutes.
        services: names by number.
        columns: of the same n events: occurred_at_ms, event_id_hi, event_id_lo, ok.
    """
    if not len(codes):
        return
    at, hi, lo, ok = (columns[name] for name in ("occurred_at_ms", "event_id_hi", "event_id_lo", "ok"))
    order = np.lexsort((ok, lo, hi, at, codes))
    ordered = codes[order]
    ends = np.flatnonzero(np.append(ordered[1:] != ordered[:-1], True))
    counts = np.diff(ends, prepend=-1).tolist()
    for count, i in zip(counts, order[ends].tolist(), strict=True):
        code = int(codes[i])
        mark = mark_of(int(at[i]), int(hi[i]) << 64 | int(lo[i]), bool(ok[i]))
        yield code, Uptime(count, 0, {services[code % len(services)]: {int(minutes[i]): mark}})
