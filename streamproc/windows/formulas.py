"""Formulas: accumulator -> (value in the metric's unit or None, count, sum in 1/10000), as the catalogue names them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Result = tuple[float | None, int, int]

E4 = 10_000
_INT64_MAX = 2**63 - 1


def _clamp(total: int) -> int:
    """gold.windows holds sums as Int64; a sum beyond (922 trillion USD) stops there."""
    return max(-_INT64_MAX, min(_INT64_MAX, total))


def _count(acc: Any) -> Result:
    return float(acc.n), acc.n, 0


def _distinct(acc: Any) -> Result:
    return float(len(acc.ids)), acc.n, 0


def _mean(acc: Any) -> Result:
    value = acc.total / (E4 * acc.n) if acc.n else None
    return value, acc.n, _clamp(acc.total)


def _money(acc: Any) -> Result:
    return acc.total / E4, acc.n, _clamp(acc.total)


def _money_per_distinct(acc: Any) -> Result:
    videos = len(acc.ids)
    return (acc.total / (E4 * videos) if videos else None), videos, _clamp(acc.total)


def _percent(acc: Any) -> Result:
    rest = acc.n - acc.part
    return (100.0 * acc.part / rest if rest else None), rest, 0


def _share(acc: Any) -> Result:
    return (100.0 * acc.part / acc.n if acc.n else None), acc.n, 0


def _percentile(percent: int) -> Callable[[Any], Result]:
    def formula(acc: Any) -> Result:
        return acc.percentile(percent), acc.n, 0

    return formula


def _uptime(acc: Any, end_ms: int | None = None) -> Result:
    up, due = acc.minutes(end_ms)
    return (100.0 * up / due if due else None), due, 0


FORMULAS: dict[str, Callable[[Any], Result]] = {
    "count": _count,
    "distinct": _distinct,
    "mean": _mean,
    "money": _money,
    "id_money": _money,
    "money_per_distinct": _money_per_distinct,
    "percent": _percent,
    "share": _share,
    "p50": _percentile(50),
    "p95": _percentile(95),
    "p99": _percentile(99),
    "uptime": _uptime,
}

#: Those that say something else of a window that is over: its silent end counts too.
_OF_ENDED: dict[str, Callable[[Any, int], Result]] = {"uptime": _uptime}


def value_of(formula: str, acc: Any, ended_ms: int | None) -> Result:
    """What a formula makes of a window; `ended_ms` is its end (epoch ms) if it is final or corrected, None while it is open."""
    if ended_ms is not None and formula in _OF_ENDED:
        return _OF_ENDED[formula](acc, ended_ms)
    return FORMULAS[formula](acc)
