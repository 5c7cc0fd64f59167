"""What a cell of reconcile/DAY holds where the stream counted otherwise than silver."""

from __future__ import annotations

from batch.reconcile.cells import difference
from streamproc.windows.accumulators import Uptime, load_accumulator
from streamproc.windows.uptime import Marks, mark_of

AT = 1_800_000_000_000


def _marks(*minutes: int) -> Marks:
    return {"api": {AT // 60_000 + minute: mark_of(AT + minute * 60_000, minute + 1, True) for minute in minutes}}


def test_a_health_event_that_came_again_hides_no_minute_that_came_too_late() -> None:
    """The stream counted two for one, and lacks another: a cell with a minute and no event could be read by nobody."""
    gap = difference(Uptime(2, 0, _marks(0, 1)), Uptime(2, 0, _marks(0)))
    assert isinstance(gap.lacking, Uptime)
    read = load_accumulator("uptime", gap.lacking.to_bytes())
    read.merge(Uptime(2, 0, _marks(0)))
    assert read.marks == _marks(0, 1)


def test_more_repeats_than_late_minutes_are_no_reason_to_leave_those_out() -> None:
    gap = difference(Uptime(2, 0, _marks(0, 1)), Uptime(4, 0, _marks(0)))
    assert isinstance(gap.lacking, Uptime) and gap.lacking.marks == _marks(1)
    assert difference(Uptime(1, 0, _marks(0)), Uptime(2, 0, _marks(0, 1))).lacking is None
