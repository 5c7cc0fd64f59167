"""Laws of accumulators: merging is commutative and associative, bytes keep the meaning, IdSum is idempotent."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap64

from streamproc.windows import deltas, histogram
from streamproc.windows.accumulators import (
    TYPES,
    Accumulator,
    Count,
    Distinct,
    Histogram,
    IdSum,
    Ratio,
    Sum,
    SumDistinct,
    UnreadableError,
    Uptime,
    load_accumulator,
    new_accumulator,
)
from streamproc.windows.formulas import FORMULAS, value_of
from streamproc.windows.uptime import mark_of, minute_of

counts = st.integers(0, 10**9)
amounts = st.integers(-(10**20), 10**20)
ids = st.sets(st.integers(0, 2**64 - 1), max_size=20)
#: The same id always has the same amount: what producers promise.
id_amounts = st.sets(st.integers(0, 2**128 - 1), max_size=12).map(lambda keys: {k: k % 1000 - 500 for k in keys})


def of_marks(marks: dict[str, set[int]]) -> Uptime:
    """Health events as marks, each by itself in its minute."""
    acc = Uptime()
    for service, found in marks.items():
        for mark in found:
            acc.merge(Uptime(1, 0, {service: {minute_of(mark): mark}}))
    return acc


#: Few minutes, times and ids, so that events meet: also at the same millisecond, also the same event.
marks = st.builds(
    lambda minute, ms, event_id, ok: mark_of((29_000_000 + minute) * 60_000 + ms, event_id, ok),
    st.integers(0, 4), st.sampled_from([0, 1, 59_999]), st.sampled_from([0, 7, 2**128 - 1]), st.booleans(),
)  # fmt: skip

BY_KIND = {
    "uptime": st.dictionaries(st.sampled_from(["api", "web", ""]), st.sets(marks, min_size=1), max_size=3).map(
        of_marks
    ),
    "count": st.builds(Count, counts, counts),
    "sum": st.builds(Sum, counts, counts, amounts),
    "distinct": st.builds(lambda n, i: Distinct(n, 0, BitMap64(i)), counts, ids),
    "ratio": st.builds(lambda rest, late, part: Ratio(rest + part, late, part), counts, counts, counts),
    "sum_distinct": st.builds(lambda n, t, i: SumDistinct(n, 0, t, BitMap64(i)), counts, amounts, ids),
    "id_sum": id_amounts.map(lambda a: IdSum(len(a), 0, a)),
    "histogram": st.dictionaries(st.integers(0, 2000), st.integers(1, 99)).map(
        lambda b: Histogram(sum(b.values()), 0, b)
    ),
}
ANY = st.one_of(*(st.tuples(st.just(kind), strategy) for kind, strategy in BY_KIND.items()))


def meaning(acc: Accumulator) -> list[Any]:
    """State without regard to the order of dictionaries."""
    if isinstance(acc, IdSum):
        return [acc.n, sorted(acc.amounts.items())]
    if isinstance(acc, Uptime):
        return [acc.n, acc.late, acc.marks]
    state = acc.state()
    return [sorted(part.items()) if isinstance(part, dict) else part for part in state]


def merged(kind: str, *parts: Accumulator) -> list[Any]:
    total = new_accumulator(kind)
    for part in parts:
        total.merge(part)
    return meaning(total)


@st.composite
def three_of_a_kind(draw: st.DrawFn) -> tuple[str, list[Accumulator]]:
    kind = draw(st.sampled_from(sorted(BY_KIND)))
    return kind, [draw(BY_KIND[kind]) for _ in range(3)]


@given(three_of_a_kind())
def test_merging_is_commutative_and_associative(drawn: tuple[str, list[Accumulator]]) -> None:
    """Any order and any grouping give the same."""
    kind, (a, b, c) = drawn
    assert merged(kind, a, b, c) == merged(kind, c, a, b)
    pair = new_accumulator(kind)
    pair.merge(b)
    pair.merge(c)
    assert merged(kind, a, pair) == merged(kind, a, b, c)


@given(ANY)
def test_bytes_keep_the_meaning(drawn: tuple[str, Accumulator]) -> None:
    """to_bytes and from_bytes are inverse, also for sums beyond 64 bits."""
    kind, acc = drawn
    assert meaning(load_accumulator(kind, acc.to_bytes())) == meaning(acc)


@given(ANY, st.data())
def test_damaged_bytes_are_unreadable_or_a_whole_accumulator(
    drawn: tuple[str, Accumulator], data: st.DataObject
) -> None:
    """Cut, flipped and of another kind: one error, or a state that folds and is written as it was read."""
    kind, acc = drawn
    good = acc.to_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    cut, flipped = good[:at], good[:at] + bytes((good[at] ^ data.draw(st.integers(1, 255)),)) + good[at + 1 :]
    with pytest.raises(UnreadableError):
        load_accumulator(kind, cut)
    for damaged in (flipped, good):
        for name in sorted(BY_KIND):
            try:
                found = load_accumulator(name, damaged)
            except UnreadableError:
                continue
            total = new_accumulator(name)
            total.merge(found)
            assert meaning(load_accumulator(name, found.to_bytes())) == meaning(found)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("count", [-1, 0]),
        ("count", [2**63, 0]),
        ("count", ["1", 0]),
        ("sum", [1, 0, "9" * 41]),
        ("sum", [1, 0, "x"]),
        ("distinct", [1, 0, b""]),
        ("distinct", [1, 0, b"\xff" * 20]),
        ("histogram", [2, 0, {5: 1}]),
        ("histogram", [1, 0, {10**6: 1}]),
        ("ratio", [1, 0, 2]),
        ("id_sum", [1, 0, b"x" * 16, []]),
        ("uptime", [0, 0, {"api": bytes(23)}]),
        ("uptime", [1, 0, {"api": b""}]),
        ("uptime", [1, 0, {"api": bytes(22)}]),
        ("uptime", [1, 0, {"api": bytes(22) + b"\x02"}]),
        ("uptime", [2, 0, {"api": bytes(46)}]),
    ],
)
def test_states_that_none_of_ours_is(kind: str, state: list[Any]) -> None:
    """Whole MessagePack that says what cannot be: it would break arithmetic or a table later."""
    with pytest.raises(UnreadableError):
        load_accumulator(kind, msgspec.msgpack.encode(state))


@given(id_amounts, id_amounts)
def test_an_id_never_counts_twice(a: dict[int, int], b: dict[int, int]) -> None:
    """Merging overlapping parts gives the union."""
    total = IdSum()
    for part in (a, b, a):
        total.merge(IdSum(len(part), 0, part))
    assert total.amounts == {**a, **b}
    assert total.n == len({**a, **b})


def test_the_first_amount_of_an_id_wins() -> None:
    """The first offset wins, within a part and over parts merged from old to new."""
    part = IdSum()
    part.add(7, 100)
    part.add(7, 999)
    later = IdSum(1, 0, {7: 5})
    part.merge(later)
    assert part.total == 100


@given(st.lists(st.integers(0, 2**62), min_size=1, max_size=200), st.sampled_from([50, 95, 99]))
def test_percentiles_are_nearest_rank_within_one_percent(values: list[int], percent: int) -> None:
    """Against the definition, on the sorted values."""
    acc = next(acc for _, acc in deltas.fold("histogram", np.zeros(len(values), np.int64), np.array(values)))
    exact = sorted(values)[max(1, math.ceil(percent * len(values) / 100)) - 1]
    found = acc.percentile(percent)
    assert abs(found - exact) <= 0.01 * exact
    if exact < 100:
        assert found == exact


@given(st.integers(0, 2**63 - 1))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    """Boundaries are integers, half-open from below."""
    bucket = int(histogram.buckets_of(np.array([value]))[0])
    assert histogram.LOWER_BOUNDS[bucket] <= value
    assert bucket + 1 == len(histogram.LOWER_BOUNDS) or value < histogram.LOWER_BOUNDS[bucket + 1]
    assert abs(histogram.representative(bucket) - value) <= 0.01 * value


@given(
    st.sampled_from(["count", "sum", "distinct", "histogram", "ratio", "sum_distinct"]),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2**62), st.integers(-(2**63), 2**63 - 1)), max_size=60),
)
def test_a_vectorised_fold_equals_one_by_one(kind: str, rows: list[tuple[int, int, int]]) -> None:
    """Folding a batch by code equals folding every event by itself and merging."""
    codes = np.array([row[0] for row in rows], dtype=np.int64)
    values = np.array([row[1] for row in rows], dtype=np.int64)
    entity = np.array([row[2] for row in rows], dtype=np.int64)
    found = {code: meaning(acc) for code, acc in deltas.fold(kind, codes, values, entity)}
    single: dict[int, Any] = {}
    for i, code in enumerate(codes.tolist()):
        for _, acc in deltas.fold(kind, np.zeros(1, np.int64), values[i : i + 1], entity[i : i + 1]):
            single.setdefault(code, new_accumulator(kind)).merge(acc)
    assert found == {code: meaning(acc) for code, acc in single.items()}


def test_sums_beyond_doubles_are_exact() -> None:
    """2**53 + 1 is no double."""
    values = np.array([2**53, 1, 2**62, 2**62], dtype=np.int64)
    ((_, acc),) = deltas.fold("sum", np.zeros(4, np.int64), values)
    assert acc.total == 2**53 + 1 + 2**63


@pytest.mark.parametrize("name", sorted(FORMULAS))
def test_formulas_of_nothing(name: str) -> None:
    """An empty window gives 0 for counts and sums, and null for means, ratios and percentiles."""
    kinds = {
        "count": "count", "distinct": "distinct", "mean": "sum", "money": "sum", "id_money": "id_sum",
        "money_per_distinct": "sum_distinct", "percent": "ratio", "share": "ratio",
        "uptime": "uptime", "p50": "histogram", "p95": "histogram", "p99": "histogram",
    }  # fmt: skip
    value, count, total = FORMULAS[name](TYPES[kinds[name]]())
    assert (count, total) == (0, 0)
    assert value == (0.0 if name in ("count", "distinct", "money", "id_money") else None)


@given(BY_KIND["uptime"], BY_KIND["uptime"])
def test_minutes_are_joined_once_however_often(a: Uptime, b: Uptime) -> None:
    """Merging overlapping parts changes no minute."""
    once, twice = Uptime(), Uptime()
    for part in (a, b):
        once.merge(part)
    for part in (b, a, b, a):
        twice.merge(part)
    assert once.marks == twice.marks


rows_of_health = st.lists(
    st.tuples(
        st.integers(0, 2), st.integers(0, 1), st.sampled_from([0, 5, 59_999]), st.integers(0, 2**128 - 1), st.booleans()
    ),
    max_size=40,
)


@given(rows_of_health)
def test_a_fold_of_health_keeps_the_last_event_of_each_minute(rows: list[tuple[int, int, int, int, bool]]) -> None:
    """Against a plain maximum over (time, id, ok)."""
    services = ["api", "web", "queue"]
    at = [(29_000_000 + minute) * 60_000 + ms for _, minute, ms, _, _ in rows]
    codes = np.array([minute * 3 + service for service, minute, *_ in rows], dtype=np.int64)
    columns = {
        "occurred_at_ms": np.array(at, dtype=np.int64),
        "event_id_hi": np.array([row[3] >> 64 for row in rows], dtype=np.uint64),
        "event_id_lo": np.array([row[3] & 2**64 - 1 for row in rows], dtype=np.uint64),
        "ok": np.array([row[4] for row in rows], dtype=np.bool_),
    }
    found: dict[str, dict[int, int]] = {}
    n = 0
    for _, acc in deltas.fold_health(codes, columns["occurred_at_ms"] // 60_000, services, columns):
        n += acc.n
        for service, minutes in acc.marks.items():
            assert not minutes.keys() & found.setdefault(service, {}).keys()
            found[service] |= minutes
    due: dict[str, dict[int, int]] = {}
    for (service, minute, _, event_id, ok), ms in zip(rows, at, strict=True):
        minutes = due.setdefault(services[service], {})
        minutes[29_000_000 + minute] = max(minutes.get(29_000_000 + minute, -1), mark_of(ms, event_id, ok))
    assert (found, n) == (due, len(rows))


def test_uptime_of_an_open_window_ends_with_its_newest_minute_of_an_ended_one_with_its_end() -> None:
    """api: up, silent, down, up from minute 10 on; web: up in minute 12 only."""
    hour = 480_000 * 3_600_000
    acc = Uptime()
    for service, minute, ok in (("api", 10, 1), ("api", 12, 0), ("api", 13, 1), ("web", 12, 1)):
        at = hour + minute * 60_000
        acc.merge(Uptime(1, 0, {service: {at // 60_000: mark_of(at, 1, bool(ok))}}))
    assert value_of("uptime", acc, None) == (50.0, 6, 0)
    assert value_of("uptime", acc, hour + 3_600_000) == (100 * 3 / 98, 98, 0)
