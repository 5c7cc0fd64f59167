"""Durations as people write them: 60s, 10m, 2h, 1h30m."""

from __future__ import annotations

import re

from streamproc.errors import ConfigError

_LONGEST_S = 36_525 * 86_400.0
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")


def parse_duration(text: str) -> float:
    """Seconds of a text such as '60s', '10m', '2h', '1h30m' or '90' (seconds).

    Raises:
        ConfigError: it is no duration, not above zero, or above 100 years.
    """
    cleaned = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", cleaned):
        seconds = float(cleaned)
    elif _WHOLE.fullmatch(cleaned):
        seconds = sum(float(number) * _UNITS_S[unit] for number, unit in _PART.findall(cleaned))
    else:
        raise ConfigError(f"{text!r} is no duration; write it like 60s, 10m, 2h or 1h30m")
    if not 0 < seconds <= _LONGEST_S:
        raise ConfigError(f"{text[:40]!r} is no duration above zero and up to 100 years")
    return seconds


def format_duration(seconds: float) -> str:
    """Whole seconds as '45s', '12m05s', '3h07m' or '2d04h'."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86_400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d{whole % 86_400 // 3600:02d}h"
