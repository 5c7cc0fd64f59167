"""Totals and rates from counters that start at zero again whenever their process does."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable


class CounterSum:
    """Sum of the growth of many counters. A counter below its last reading has started anew and counts in full."""

    def __init__(self, horizon_s: float = 5.0) -> None:
        self.total = 0.0
        self._horizon_s = horizon_s
        self._last: dict[Hashable, float] = {}
        self._history: deque[tuple[float, float]] = deque()

    def update(self, now_s: float, readings: Iterable[tuple[Hashable, float]]) -> None:
        """Take in readings by series; series that are missing keep their last reading."""
        for series, value in readings:
            before = self._last.get(series, 0.0)
            self.total += value - before if value >= before else value
            self._last[series] = value
        self._history.append((now_s, self.total))
        while len(self._history) > 2 and now_s - self._history[1][0] >= self._horizon_s:
            self._history.popleft()

    @property
    def per_second(self) -> float | None:
        """Growth per second over the horizon; None before there are two readings."""
        if len(self._history) < 2:
            return None
        (begun, first), (ended, last) = self._history[0], self._history[-1]
        return (last - first) / (ended - begun) if ended > begun else None
