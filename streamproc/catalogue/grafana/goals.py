"""Thresholds and targets of the catalogue, which are words for people, as Grafana's steps of colour."""

from __future__ import annotations

import re
from typing import Any, Final

#: Units of the catalogue as Grafana calls them.
UNITS: Final = {
    "users": "short",
    "events": "short",
    "videos": "short",
    "views": "short",
    "ms": "ms",
    "s": "s",
    "%": "percent",
    "USD": "currencyUSD",
    "USD per USD": "none",
}

_NUMBER: Final = r"(\d+(?:\.\d+)?)"
_BELOW: Final = re.compile(rf"< {_NUMBER} \S+(?:, alert above {_NUMBER} \S+)?")
_ABOVE: Final = re.compile(rf"(?:> )?{_NUMBER}(?: %)?")

GREEN, ORANGE, RED = "green", "orange", "red"


def _step(color: str, value: float | None) -> dict[str, Any]:
    return {"color": color, "value": value}


def steps(threshold: str, target: str) -> list[dict[str, Any]]:
    """Colours from which value on; the first step has no value. Plain green where the catalogue sets no goal.

    Raises:
        ValueError: the words are none that are known here, so that no goal is left out in silence.
    """
    if threshold:
        found = _BELOW.fullmatch(threshold)
        if found is None:
            raise ValueError(
                f"threshold {threshold!r}: expected '< NUMBER UNIT' or '< NUMBER UNIT, alert above NUMBER UNIT'"
            )
        limit, warning = found.groups()
        middle = [_step(ORANGE, float(warning))] if warning else []
        return [_step(GREEN, None), *middle, _step(RED, float(limit))]
    if target:
        found = _ABOVE.fullmatch(target)
        if found is None:
            raise ValueError(f"target {target!r}: expected 'NUMBER %' or '> NUMBER'")
        return [_step(RED, None), _step(GREEN, float(found[1]))]
    return [_step(GREEN, None)]
