"""RecentKeys against a plain dictionary."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.windows.accumulators import UnreadableError
from streamproc.windows.recent import RecentKeys
from streamproc.windows.source import _accept

HORIZON = 1000


def _arrays(keys: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    return (np.array([k[0] for k in keys], dtype=np.uint64), np.array([k[1] for k in keys], dtype=np.uint64))


@given(
    st.lists(
        st.lists(
            st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 6)), st.integers(0, 700)), min_size=1, max_size=30
        ),
        max_size=12,
    ),
    st.sampled_from([1, 4, 10_000]),
)
def test_duplicates_are_those_of_a_dictionary(
    batches: list[list[tuple[tuple[int, int], int]]], restore_every: int
) -> None:
    """Small key space, so that nearly all collide; restored from journals or a dump in between."""
    recent, model, now = RecentKeys(HORIZON, 100), {}, 0
    segments: list[bytes] = []
    for number, batch in enumerate(batches):
        times, keys = [], []
        for key, step in batch:
            now += step // 5
            times.append(now)
            keys.append(key)
        expected = []
        for i, (key, at) in enumerate(zip(keys, times, strict=True)):
            if key not in model or at - model[key] > HORIZON:
                model[key] = at
                expected.append(i)
        hi, lo = _arrays(keys)
        assert _accept(recent, hi, lo, np.array(times, dtype=np.int64)).tolist() == expected
        segments.append(recent.take_journal())
        if number % restore_every == restore_every - 1:
            recent = RecentKeys(HORIZON, 100)
            random.Random(number).shuffle(segments)
            half = len(segments) // 2
            for parts in (segments[:half], segments[half:]):
                recent.load(*parts)
            if number % 2:
                segments = [recent.dump(now)]
                recent = RecentKeys(HORIZON, 100)
                recent.load(segments[0])


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 2**32))
def test_large_batches_find_all_and_only_known_keys(seed: int) -> None:
    """Batches large enough to become runs, with keys that share one half."""
    rng = np.random.default_rng(seed)
    recent = RecentKeys(10_000, 1000)
    known: set[tuple[int, int]] = set()
    for step in range(8):
        hi = rng.integers(0, 4, 700).astype(np.uint64)
        lo = rng.integers(0, 5000, 700).astype(np.uint64)
        fresh = _accept(recent, hi, lo, np.full(700, step * 900, dtype=np.int64))
        expected = []
        for i, key in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
            if key not in known:
                known.add(key)
                expected.append(i)
        assert fresh.tolist() == expected


def test_a_key_as_old_as_the_horizon_still_counts_and_memory_is_bounded() -> None:
    """600,000 ms is within, 600,001 is not; what is older is let go."""
    recent = RecentKeys(600_000, 60_000)
    one = np.array([1], dtype=np.uint64)
    at = lambda ms: np.array([ms], dtype=np.int64)  # noqa: E731
    assert len(_accept(recent, one, one, at(0))) == 1
    assert len(_accept(recent, one, one, at(600_000))) == 0
    assert len(_accept(recent, one, one, at(600_001))) == 1
    for minute in range(200):
        keys = np.arange(minute * 1000, minute * 1000 + 1000, dtype=np.uint64)
        recent.accept(keys, keys, np.full(1000, 600_001 + minute * 60_000, dtype=np.int64))
    assert len(recent) < 15_000


def test_bytes_that_are_no_packed_keys() -> None:
    """24 bytes a key; a message that was cut is told, and nothing is taken of it."""
    recent = RecentKeys(600_000, 60_000)
    with pytest.raises(UnreadableError):
        recent.load(bytes(24), bytes(25))
    assert len(recent) == 0
    assert recent.load() == recent.load(b"", b"") == -1
