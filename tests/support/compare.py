"""Windows as published against the independent truth: counts, sets and money exactly, percentiles within 1 %."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Key = tuple[str, str, int, str, str]

#: Averages are quotients of exact integers; both sides divide in double precision.
_RELATIVE = 1e-9
_PERCENTILE = 0.01


def due(expected: Any, status: str) -> Any:
    """What a window of that status (open, final, corrected) must say: some metrics say less of one that goes on."""
    return getattr(expected, "while_open", expected) if status == "open" else expected


def differences(found: Mapping[Key, Any], truth: Mapping[Key, Any], late: bool = True) -> list[str]:
    """What is wrong, in words; [] if everything is equal. Values are (value, count, late), and of found ones the status may
    follow; without it a window is over."""
    wrong = [f"missing {key}: truth says {truth[key]}" for key in truth if key not in found]
    # Metrics of one measure share its cells: a window that another metric opened may be there without events of this one.
    wrong += [f"extra {key}: {value}" for key, value in found.items() if key not in truth and value[1]]
    for key in truth:
        got = found.get(key)
        if got is None:
            continue
        expected = due(truth[key], got[3] if len(got) > 3 else "")
        if not _equal(key[0], got, expected, late):
            wrong.append(f"different {key}: got {tuple(got)}, truth says {tuple(expected)}")
    return wrong


def _equal(metric: str, got: Any, expected: Any, late: bool) -> bool:
    if got[1] != expected[1] or (late and got[2] != expected[2]):
        return False
    if got[0] is None or expected[0] is None:
        return got[0] is None and expected[0] is None
    if metric.startswith(("api_response_time_p", "ai_latency_p")):
        return abs(got[0] - expected[0]) <= _PERCENTILE * abs(expected[0]) + 1e-9
    return math.isclose(got[0], expected[0], rel_tol=_RELATIVE, abs_tol=1e-9)
