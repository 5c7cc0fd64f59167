"""What the stream lacks of a window, as one more cell of it: the whole as silver has it, less the cells of all other sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from pyroaring import BitMap64

from streamproc.windows import histogram
from streamproc.windows.accumulators import (
    Count,
    Distinct,
    Histogram,
    IdSum,
    Ratio,
    Sum,
    SumDistinct,
    Uptime,
    new_accumulator,
)
from streamproc.windows.uptime import Marks, mark_of, minute_of

_UINT64: Final = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Difference:
    """`lacking` is what a cell has to add (None: cells hold more than silver, which nothing that is added can mend).
    `events` is by how many events the stream has too few (too many if negative)."""

    lacking: Any | None
    events: int


def whole(kind: str, n: int, total: int, ids: Iterable[Any] = (), counts: Sequence[tuple[int, int]] = ()) -> Any:
    """An accumulator of a window as silver has it.

    Args:
        kind: accumulator type of the catalogue.
        n, total: events, and the sum of their values (numerators of a ratio).
        ids: distinct ids, of sets; of uptime (service, time in epoch ms, event id as text, ok) of each minute's last event.
        counts: (value, how often), of histograms.
    """
    if kind == "count":
        return Count(n)
    if kind == "sum":
        return Sum(n, 0, total)
    if kind == "ratio":
        return Ratio(n, 0, total)
    if kind == "uptime":
        marks: Marks = {}
        for service, at_ms, event_id, ok in ids:
            mark = mark_of(at_ms, int(event_id.replace("-", ""), 16), bool(ok))
            marks.setdefault(service, {})[minute_of(mark)] = mark
        return Uptime(n, 0, marks)
    if kind == "histogram":
        buckets: dict[int, int] = {}
        numbers = histogram.buckets_of(np.array([value for value, _ in counts], dtype=np.int64)).tolist()
        for bucket, (_, count) in zip(numbers, counts, strict=True):
            buckets[bucket] = buckets.get(bucket, 0) + count
        return Histogram(n, 0, buckets)
    members = BitMap64([one & _UINT64 for one in ids])
    return Distinct(n, 0, members) if kind == "distinct" else SumDistinct(n, 0, total, members)


def folded(kind: str, cells: Iterable[bytes], load: Any) -> Any:
    """Cells of several sources in one accumulator; `load(kind, data)` reads one."""
    total = new_accumulator(kind)
    for data in cells:
        total.merge(load(kind, data))
    return total


def difference(truth: Any, counted: Any) -> Difference:
    """What `counted` (an accumulator of the same kind) lacks of `truth`."""
    n = truth.n - counted.n
    late = max(0, n)
    if isinstance(truth, IdSum):
        more = {key: amount for key, amount in truth.amounts.items() if key not in counted.amounts}
        extra = any(truth.amounts.get(key) != amount for key, amount in counted.amounts.items())
        return Difference(None if extra else IdSum(len(more), 0, more), n)
    if isinstance(truth, Count):
        return Difference(Count(n, late) if n >= 0 else None, n)
    if isinstance(truth, Sum):
        return Difference(Sum(n, late, truth.total - counted.total) if n >= 0 else None, n)
    if isinstance(truth, Ratio):
        part = truth.part - counted.part
        return Difference(Ratio(n, late, part) if 0 <= part <= n else None, n)
    if isinstance(truth, Histogram):
        buckets = _less(truth.buckets, counted.buckets)
        return Difference(None if buckets is None else Histogram(n, late, buckets), n)
    if isinstance(truth, Uptime):
        return _uptime_difference(truth, counted)
    if n < 0 or counted.ids - truth.ids:
        return Difference(None, n)
    if isinstance(truth, Distinct):
        return Difference(Distinct(n, late, truth.ids - counted.ids), n)
    return Difference(SumDistinct(n, late, truth.total - counted.total, truth.ids - counted.ids), n)


def _uptime_difference(truth: Uptime, counted: Uptime) -> Difference:
    """The minutes of which silver knows a later event. One that the stream alone has can be no later than silver's."""
    n = truth.n - counted.n
    later: Marks = {}
    for service, minutes in counted.marks.items():
        known = truth.marks.get(service, {})
        if any(mark > known.get(minute, -1) for minute, mark in minutes.items()):
            return Difference(None, n)
    for service, minutes in truth.marks.items():
        known = counted.marks.get(service, {})
        news = {minute: mark for minute, mark in minutes.items() if mark > known.get(minute, -1)}
        if news:
            later[service] = news
    # A health event that came again long after counts twice in the stream and once in silver: its minute is one all the same, and a
    # cell has as many events as minutes at least.
    lacking = sum(map(len, later.values()))
    return Difference(Uptime(max(n, lacking), max(0, n), later) if n >= 0 or lacking else None, n)


def _less(buckets: Mapping[int, int], counted: Mapping[int, int]) -> dict[int, int] | None:
    left = {bucket: buckets.get(bucket, 0) - counted.get(bucket, 0) for bucket in {*buckets, *counted}}
    if any(count < 0 for count in left.values()):
        return None
    return {bucket: count for bucket, count in left.items() if count}


def same(one: Any, other: Any) -> bool:
    """Whether two accumulators of a kind say the same (their bytes may differ)."""
    fields = [
        name for name in ("n", "late", "total", "part", "buckets", "ids", "amounts", "marks") if hasattr(one, name)
    ]
    return all(getattr(one, name) == getattr(other, name) for name in fields)
