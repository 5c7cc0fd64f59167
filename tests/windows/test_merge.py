"""Stage 2: joins, versions, final windows, rolling, looking up what is stored."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from schemas.results import CORRECTED, FINAL, OPEN, Cell
from streamproc.windows.accumulators import Count, IdSum, Uptime
from streamproc.windows.merge import MergeState, SourceProgress, WindowKey
from streamproc.windows.uptime import mark_of

MINUTE = 60_000
START = 1_800_000_000_000 - 1_800_000_000_000 % MINUTE
LATENESS = 600_000
KEY = WindowKey("user_events", "", "", "1m", START)


def cell(source: str, version: int, n: int, start: int = START, late: int = 0) -> Cell:
    return Cell("user_events", "", "", "1m", start, source, version, Count(n, late).to_bytes())


def known() -> MergeState:
    state = MergeState()
    state.restore([], dict.fromkeys(("1m", "5m", "1h", "1d"), -(2**62)), START)
    return state


def value(state: MergeState, key: WindowKey = KEY) -> tuple[float | None, int, str]:
    published = state.values(key, START)[0]
    return published.value, published.version, published.status


@given(st.permutations([("a", 3, 3), ("a", 9, 8), ("b", 1, 2), ("b", 5, 4), ("a", 3, 3), ("b", 5, 4)]))
def test_any_order_and_repetition_gives_the_highest_versions(order: list[tuple[str, int, int]]) -> None:
    """A join is commutative and idempotent."""
    state = known()
    for offset, (source, version, n) in enumerate(order):
        state.apply([cell(source, version, n)], offset, START)
    assert value(state) == (12.0, 4 * (10 + 6), OPEN)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50)), min_size=1, max_size=30))
def test_versions_never_fall(changes: list[tuple[str, int]]) -> None:
    """What is published later about a window has a higher version, or is the same."""
    state = known()
    seen = [-1]
    for offset, (source, version) in enumerate(changes):
        state.apply([cell(source, version, version)], offset, START)
        seen.append(value(state)[1])
        if offset % 5 == 4:
            state.finish({"user-events/0/x": SourceProgress(START + 10**9, START)}, START, 60_000)
            seen.append(value(state)[1])
    assert all(a <= b for a, b in itertools.pairwise(seen))


def test_final_when_every_source_has_passed_and_corrected_by_what_comes_later() -> None:
    """Allowed lateness after the end, for all sources of the topic."""
    state = known()
    state.apply([cell("user-events/0/x", 5, 5)], 0, START)
    closes = START + MINUTE + LATENESS
    one = {"user-events/0/x": SourceProgress(closes, closes), "user-events/1/y": SourceProgress(closes - 1, closes)}
    assert state.finish(one, closes, 60_000) == 0
    both = {**one, "user-events/1/y": SourceProgress(closes, closes), "cost-events/0/z": SourceProgress(0, closes)}
    assert state.finish(both, closes, 60_000) == 1
    assert value(state) == (5.0, 4 * 6 + 1, FINAL)
    state.apply([cell("user-events/2/late", 0, 1)], 1, START)
    assert value(state) == (6.0, 4 * 7 + 2, CORRECTED)


def test_an_idle_source_does_not_hold_windows_open_and_a_busy_clock_does_not_close_them() -> None:
    """Idle by the wall clock counts only once the wall clock has passed the window as well."""
    state = known()
    state.apply([cell("user-events/0/x", 5, 5)], 0, START)
    closes = START + MINUTE + LATENESS
    progress = {"user-events/0/x": SourceProgress(START, START)}
    assert state.finish(progress, closes + 59_999, 60_000) == 0
    assert state.finish(progress, closes + 60_000, 60_000) == 1


def test_a_window_that_is_not_held_is_incomplete_until_its_stored_cells_are_loaded() -> None:
    """And what was stored joins with what came."""
    state = MergeState()
    state.apply([cell("b", 5, 4)], 0, START)
    assert not state.values(KEY, START)[0].complete
    assert list(state.to_load) == [KEY]
    state.loaded([KEY], [cell("a", 9, 8), cell("b", 2, 1)], START)
    assert value(state)[0] == 12.0
    assert state.values(KEY, START)[0].complete
    assert state.windows[KEY].status == OPEN, "old by the clock alone"
    closes = START + MINUTE + LATENESS
    assert state.finish({"user-events/0/b": SourceProgress(closes - 1, START)}, START, 10**9) == 0
    assert state.finish({"user-events/0/b": SourceProgress(closes, START)}, START, 10**9) == 1
    assert state.windows[KEY].status == CORRECTED


def test_the_windows_of_a_backlog_are_not_final_because_they_were_stored_before_a_restart() -> None:
    """A rule on final windows fired 2 s after a restart, hours of event time before its window was over."""
    state = MergeState()
    state.restore([], dict.fromkeys(("1m", "5m", "1h", "1d"), START + 4 * 3_600_000), START)
    progress = {"user-events/0/x": SourceProgress(START + 30_000, START)}
    state.apply([cell("user-events/0/x", 5, 5)], 0, START)
    state.loaded([KEY], [cell("user-events/0/x", 4, 4)], START)
    state.finish(progress, START + 5 * 3_600_000, 10**9)
    assert state.values(KEY, START)[0].status == OPEN
    state.apply([cell("user-events/0/x", 6, 6)], 1, START)
    progress["user-events/0/x"] = SourceProgress(START + MINUTE + LATENESS, START)
    state.finish(progress, START + 5 * 3_600_000, 10**9)
    assert state.values(KEY, START)[0].status == CORRECTED


def test_a_forgotten_window_is_looked_up_again_and_a_new_one_is_not() -> None:
    """The boundary moves with what is let go."""
    state = known()
    state.apply([cell("a", 1, 1)], 0, START)
    state.forget(KEY)
    state.apply([cell("a", 2, 2), cell("a", 2, 1, start=START + MINUTE)], 1, START)
    assert list(state.to_load) == [KEY]


def test_entity_parts_add_up_and_an_id_in_two_logs_counts_once() -> None:
    """Parts by minute of log time, sources by log."""
    state = known()
    parts = [(START, "cost-events/0/old", {1: 100, 2: 50}), (START + MINUTE, "cost-events/0/old", {3: 7})]
    parts.append((START + MINUTE, "cost-events/0/new", {2: 50, 4: 1}))
    for offset, (start, source, amounts) in enumerate(parts):
        data = IdSum(len(amounts), 0, amounts).to_bytes()
        state.apply([Cell("cost_per_video", "video_id", "42", "all", start, source, offset, data)], offset, START)
    key = WindowKey("cost_per_video", "video_id", "42", "all", 0)
    published = state.values(key, START)[0]
    assert (published.sum_e4, published.count) == (158, 4)
    assert list(state.to_load) == [key]


def test_quiet_metrics_roll_into_their_new_window_once() -> None:
    """0 for a count, version 0, and only when the newest window has ended by the wall clock."""
    state = known()
    state.apply([cell("a", 1, 1)], 0, START)
    assert state.rolled(START + MINUTE - 1) == []
    rolled = state.rolled(START + 3 * MINUTE + 5)
    assert [(v.metric, v.window_start_ms, v.value, v.version) for v in rolled] == [
        ("user_events", START + 3 * MINUTE, 0.0, 0)
    ]
    assert state.rolled(START + 3 * MINUTE + 900) == []


def test_a_cell_that_cannot_be_read_counts_nothing_and_is_told() -> None:
    """Damaged, or of another release: the other sources' cells still count, and a newer one takes its place."""
    state = known()
    damaged = msgspec.structs.replace(cell("b", 5, 7), data=b"\x92\xff\x00")
    state.apply([cell("a", 3, 4), damaged], 0, START)
    assert value(state)[0] == 4.0
    assert state.windows[KEY].unreadable == ["b"]
    state.apply([cell("b", 6, 8)], 1, START)
    assert value(state)[0] == 12.0


def test_cells_that_no_table_could_hold_are_left_alone() -> None:
    """Unknown sizes, offsets and times beyond what ours can be."""
    state = known()
    good = cell("a", 3, 4)
    for wrong in ({"size": "2m"}, {"version": -1}, {"version": 2**62}, {"start_ms": -60_000}, {"start_ms": 2**50}):
        assert state.apply([msgspec.structs.replace(good, **wrong)], 0, START) == 0
    assert not state.windows


def test_the_only_cell_of_a_window_cannot_be_read() -> None:
    """As with several: it counts nothing, and is told."""
    state = known()
    state.apply([msgspec.structs.replace(cell("b", 5, 7), data=b"\x92\xff\x00")], 0, START)
    assert value(state)[0] == 0.0
    assert state.windows[KEY].unreadable == ["b"]


def test_uptime_counts_silence_to_the_end_once_the_window_is_over() -> None:
    """Two logs of a service (the older is lost): the later event of a minute decides, whichever comes first."""
    hour = START - START % 3_600_000
    key = WindowKey("uptime", "service", "api", "1h", hour)

    def health(source: str, version: int, *events: tuple[int, bool]) -> Cell:
        marks = {(hour + ms) // MINUTE: mark_of(hour + ms, 1, ok) for ms, ok in events}
        return Cell(*key, source, version, Uptime(len(events), 0, {"api": marks}).to_bytes())

    new, old = health("a", 7, (90_000, True), (119_000, False)), health("b", 3, (100_000, False), (130_000, True))
    for order in ([new, old], [old, new, old]):
        state = known()
        for offset, each in enumerate(order):
            state.apply([each], offset, START)
        assert value(state, key) == (50.0, 4 * (8 + 4), OPEN)
        progress = {"ops-events/0/x": SourceProgress(hour + 3_600_000 + LATENESS, START)}
        assert state.finish(progress, START, 60_000) == 1
        assert value(state, key) == (100 / 59, 4 * (8 + 4) + 1, FINAL)
        state.apply([health("a", 9, (180_000, True))], 9, START)
        assert value(state, key) == (200 / 59, 4 * (10 + 4) + 2, CORRECTED)
