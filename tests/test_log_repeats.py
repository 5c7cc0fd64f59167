"""Repeated warnings are thinned out, and nothing else is."""

from __future__ import annotations

import logging
from typing import Any

from streamproc.log_repeats import RepeatFilter


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _shown(filter_: RepeatFilter, message: Any, *args: Any, level: int = logging.WARNING, name: str = "lib") -> str:
    """The line as shown, '' if it is left out."""
    record = logging.LogRecord(name, level, __file__, 1, message, args, None)
    return record.getMessage() if filter_.filter(record) else ""


def test_the_first_few_then_one_a_while_with_what_was_left_out() -> None:
    clock = _Clock()
    repeats = RepeatFilter(burst=2, every_s=30.0, clock=clock)
    lines = [_shown(repeats, "no route to node %s, 100%% sure", n) for n in range(10)]
    assert lines[:3] == ["no route to node 0, 100% sure", "no route to node 1, 100% sure", ""] and not any(lines[2:])
    clock.now += 30.0
    assert _shown(repeats, "no route to node %s, 100%% sure", 7).endswith("sure (8 more of this kind left out)")
    assert _shown(repeats, "no route to node %s, 100%% sure", 8) == "no route to node 8, 100% sure"


def test_numbers_in_the_text_of_a_library_make_no_other_kind() -> None:
    repeats = RepeatFilter(burst=1)
    assert _shown(repeats, "rebalance 7 failed")
    assert not _shown(repeats, "rebalance 8 failed")
    assert _shown(repeats, "rebalance 8 failed", name="other")
    assert _shown(repeats, "rebalance 8 failed", level=logging.ERROR)


def test_our_own_lines_differ_by_what_they_say_and_keep_their_fields() -> None:
    clock = _Clock()
    repeats = RepeatFilter(burst=1, every_s=30.0, clock=clock)
    assert _shown(repeats, {"event": "Video 7 has cost 2.60 USD", "component": "alerts"})
    assert _shown(repeats, {"event": "Video 8 has cost 2.60 USD", "component": "alerts"})
    assert _shown(repeats, {"event": "away", "component": "sink", "sink": "redis"})
    assert not _shown(repeats, {"event": "away", "component": "sink", "sink": "clickhouse"})
    clock.now += 31.0
    record = logging.LogRecord("x", logging.ERROR - 10, __file__, 1, {"event": "away", "component": "sink"}, (), None)  # type: ignore[arg-type]  # structlog hands dictionaries over
    assert repeats.filter(record)
    assert record.msg == {"event": "away", "component": "sink", "left_out": 1}  # type: ignore[comparison-overlap]  # as above


def test_what_is_no_warning_always_passes() -> None:
    repeats = RepeatFilter(burst=1)
    assert all(_shown(repeats, "stored", level=logging.INFO) for _ in range(100))


def test_kinds_are_bounded() -> None:
    repeats = RepeatFilter(burst=1)
    for n in range(5000):
        assert _shown(repeats, {"event": f"alert {'x' * (n % 7)}{n}"})
    assert len(repeats._kinds) <= 500
