"""The identity of a log: the same for all who look, another for another first record, and sorted by age."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from hypothesis import assume, given
from hypothesis import strategies as st

from schemas.internal import source_name
from schemas.results import ALL, Cell
from streamproc.agents.log_reader import log_identity
from streamproc.windows.accumulators import IdSum
from streamproc.windows.merge import MergeState, WindowKey

_RECORDS = st.builds(
    SimpleNamespace,
    offset=st.integers(0, 2**40),
    timestamp=st.integers(-1, 4_102_444_800_000),
    key=st.none() | st.binary(max_size=8),
    value=st.none() | st.binary(max_size=20),
)


@given(_RECORDS, _RECORDS)
def test_sorts_by_age(one: Any, other: Any) -> None:
    assert log_identity(one) == log_identity(SimpleNamespace(**vars(one)))
    assume(vars(one) != vars(other))
    if max(0, one.timestamp) < max(0, other.timestamp):
        assert log_identity(one) < log_identity(other)
    elif one.timestamp == other.timestamp and (one.offset, one.key or b"", one.value or b"") != (
        other.offset,
        other.key or b"",
        other.value or b"",
    ):
        assert log_identity(one) != log_identity(other)


@given(st.integers(0, 2**40), st.integers(1, 10**6), st.binary(max_size=4), st.binary(max_size=4), st.booleans())
def test_the_older_log_has_the_first_amount_of_an_id(
    began: int, later: int, one: bytes, other: bytes, newer_first: bool
) -> None:
    """Found by the fault run: an id came again, with another amount, within a minute after the brokers had lost their
    data, and which of the two counted was decided by the hashes of the logs."""
    parts = [(began, one, 83), (began + later, other, 900_083)]
    state = MergeState()
    for timestamp, value, amount in reversed(parts) if newer_first else parts:
        first = SimpleNamespace(offset=0, timestamp=timestamp, key=b"", value=value)
        source = source_name("cost-events", 1, log_identity(first))
        data = IdSum(1, 0, {7: amount}).to_bytes()
        state.apply([Cell("cost_per_video", "video_id", "42", ALL, 60_000, source, 5, data)], 1, 0)
    assert state.values(WindowKey("cost_per_video", "video_id", "42", ALL, 0), 0)[0].sum_e4 == 83
