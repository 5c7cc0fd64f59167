"""Silent windows: told from the data alone, each once, in the order of time, however the cells came."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.alerts import AlertState
from schemas.results import Cell, MetricValue
from streamproc.alerts.engine import AlertEngine
from streamproc.notify.load import load_rules
from streamproc.windows.accumulators import Uptime
from streamproc.windows.merge import MergeState, SourceProgress
from streamproc.windows.presence import Presence
from streamproc.windows.uptime import mark_of

FIVE = 300_000
START = 1_800_000_000_000 - 1_800_000_000_000 % FIVE
LATENESS = 600_000
LINE = ("uptime", "service", "api", "5m")


def _told(presence: Presence, over: int) -> list[tuple[int, bool]]:
    """What is told with the first `over` windows passed."""
    return [(seen.start_ms // FIVE, seen.heard) for seen in presence.due(lambda *where: where[2] < over * FIVE, {})]


def test_only_the_first_window_of_a_silence_is_told_and_only_after_something() -> None:
    presence = Presence()
    presence.heard(LINE, 3 * FIVE)
    assert _told(presence, 3) == []
    assert _told(presence, 4) == [(3, True)]
    assert _told(presence, 4) == []
    assert _told(presence, 5) == [(4, False)]
    assert _told(presence, 9) == []
    presence.heard(LINE, 9 * FIVE)
    assert _told(presence, 9) == []
    assert _told(presence, 12) == [(9, True), (10, False)]
    # It was no silence after all; the one after it is.
    presence.heard(LINE, 10 * FIVE)
    assert _told(presence, 12) == [(10, True), (11, False)]
    presence.heard(LINE, 5 * FIVE)
    assert _told(presence, 12) == []


@settings(deadline=None)
@given(st.sets(st.integers(0, 12), min_size=1), st.lists(st.integers(0, 16), max_size=6), st.randoms())
def test_what_is_told_does_not_depend_on_when_it_was_asked(
    heard: set[int], asked: list[int], rng: random.Random
) -> None:
    """All at once, or again and again while windows pass, with cells of what is not over coming in any order."""
    once, slowly = Presence(), Presence()
    for number in heard:
        once.heard(LINE, number * FIVE)
    found = []
    left = rng.sample(sorted(heard), len(heard))
    for over in sorted(asked):
        for number in [number for number in left if number < over or rng.random() < 0.3]:
            left.remove(number)
            slowly.heard(LINE, number * FIVE)
        found += _told(slowly, over)
    for number in left:
        slowly.heard(LINE, number * FIVE)
    assert found + _told(slowly, 99) == _told(once, 99)
    silent = [number + 1 for number in sorted(heard) if number + 1 not in heard]
    assert [number for number, there in _told_again(heard) if not there] == silent


def _told_again(heard: set[int]) -> list[tuple[int, bool]]:
    presence = Presence()
    for number in heard:
        presence.heard(LINE, number * FIVE)
    return _told(presence, 99)


def _cell(number: int, service: str = "api", source: str = "ops-events/0/a", version: int = 1) -> Cell:
    at = START + number * FIVE
    acc = Uptime(1, 0, {service: {at // 60_000: mark_of(at, 1, True)}})
    return Cell("uptime", "service", service, "5m", at, source, version, acc.to_bytes())


def _progress(number: int) -> dict[str, SourceProgress]:
    """Every source has passed the windows before this one."""
    return {"ops-events/0/a": SourceProgress(START + number * FIVE + LATENESS, START)}


def _state() -> MergeState:
    state = MergeState()
    state.restore([], dict.fromkeys(("1m", "5m", "1h", "1d"), -(2**62)), START)
    return state


def _judged(engine: AlertEngine, values: list[MetricValue]) -> list[tuple[str, int, AlertState]]:
    items = [item for value in values for item in engine.observe_presence(value, 1)]
    return [(item.labels["service"], (item.window_start_ms - START) // FIVE, item.state) for item in items]


@pytest.mark.parametrize("at_once", [False, True])
def test_an_alert_fires_by_the_watermark_and_a_replay_says_the_same(at_once: bool) -> None:
    """A gap of one window, over before the watermark passed it; live, or read again in one go from the beginning."""
    engine, state = AlertEngine(load_rules()), _state()
    found = []
    cells = [_cell(number) for number in (0, 1, 3, 4)] + [_cell(number, "web") for number in range(5)]
    for number in range(6):
        state.apply([cell for cell in cells if at_once or cell.start_ms <= START + number * FIVE], number, START)
        if not at_once:
            found += _judged(engine, state.presence(_progress(number - 1), START, 10**9))
    found += _judged(engine, state.presence(_progress(5), START, 10**9))
    assert found == [("api", 2, AlertState.FIRING), ("api", 3, AlertState.RESOLVED)]
    # Everything goes silent: nothing follows while no source passes it, and one alert a service when they do.
    assert _judged(engine, state.presence(_progress(5), START, 10**9)) == []
    end = _judged(engine, state.presence(_progress(9), START, 10**9))
    assert end == [("api", 5, AlertState.FIRING), ("web", 5, AlertState.FIRING)]


def test_a_successor_that_reads_the_windows_again_records_nothing_anew() -> None:
    """Killed after it recorded, and before: the same transitions with the same ids."""
    cells = [_cell(number) for number in (0, 1, 4, 5)]
    state, first = _state(), AlertEngine(load_rules())
    state.apply(cells, 1, START)
    values = state.presence(_progress(9), START, 10**9)
    recorded = [item for value in values for item in first.observe_presence(value, 1)]
    assert [item.state for item in recorded] == [AlertState.FIRING, AlertState.RESOLVED, AlertState.FIRING]
    for known in range(len(recorded) + 1):
        successor, again = AlertEngine(load_rules()), _state()
        successor.restore(recorded[:known])
        # In another order, with a repeat, and what is stored of a window in two parts.
        again.apply([*reversed(cells), cells[0], _cell(4, source="ops-events/0/b")], 1, START)
        told = again.presence(_progress(9), START, 10**9)
        news = [item for value in told for item in successor.observe_presence(value, 2)]
        assert [item.transition_id for item in news] == [item.transition_id for item in recorded[known:]]


def test_what_comes_after_all_resolves() -> None:
    """A late event of the silent window (through the reconcile, say): it was none."""
    state, engine = _state(), AlertEngine(load_rules())
    state.apply([_cell(0)], 1, START)
    assert _judged(engine, state.presence(_progress(2), START, 10**9)) == [("api", 1, AlertState.FIRING)]
    state.apply([_cell(1, source="reconcile/2027-01-15")], 2, START)
    assert _judged(engine, state.presence(_progress(2), START, 10**9)) == [("api", 1, AlertState.RESOLVED)]


def test_a_silent_source_is_passed_by_the_wall_clock_as_for_final_windows() -> None:
    """The whole topic is silent: nobody passes anything, so idle sources do not hold it up."""
    state, engine = _state(), AlertEngine(load_rules())
    state.apply([_cell(0)], 1, START)
    progress = {"ops-events/0/a": SourceProgress(START + 1, START)}
    over = START + 2 * FIVE + LATENESS + 60_000
    assert _judged(engine, state.presence(progress, over - 1, 60_000)) == []
    assert _judged(engine, state.presence(progress, over, 60_000)) == [("api", 1, AlertState.FIRING)]


def test_a_late_event_of_an_old_day_says_nothing_of_the_window_after_it() -> None:
    """That one may be stored, and not be known here: a line begins where everything is known."""
    presence = Presence()
    presence.heard(LINE, 0)
    presence.heard(LINE, 500 * FIVE)
    presence.heard(LINE, 502 * FIVE)
    told = presence.due(lambda *where: where[2] < 503 * FIVE, {LINE[3]: 400 * FIVE})
    assert [(seen.start_ms // FIVE, seen.heard) for seen in told] == [(500, True), (501, False), (502, True)]
