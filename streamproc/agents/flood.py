"""Is nearly everything bad? Then a topic pauses instead of emptying itself into dead letters."""

from __future__ import annotations

from collections import deque
from typing import Final

DEFAULT_LIMIT: Final = 0.95
_REMEMBERED: Final = 1000
_NEEDED: Final = 500
PROBE_RECORDS: Final = 100


class FloodGuard:
    """Share of bad records among the last thousand or so of one partition; above `limit` it is a flood."""

    def __init__(self, limit: float = DEFAULT_LIMIT) -> None:
        self.limit = limit
        self._slices: deque[tuple[int, int]] = deque()
        self._bad = 0
        self._total = 0

    def add(self, bad: int, total: int) -> None:
        """Count a slice of records."""
        self._slices.append((bad, total))
        self._bad += bad
        self._total += total
        while self._total - self._slices[0][1] >= _REMEMBERED:
            old_bad, old_total = self._slices.popleft()
            self._bad -= old_bad
            self._total -= old_total

    def would_flood(self, bad: int, total: int) -> bool:
        """Whether it is a flood once this slice is counted too."""
        all_bad, everything = self._bad + bad, self._total + total
        return everything >= _NEEDED and all_bad / everything >= self.limit

    @property
    def flooded(self) -> bool:
        """Whether what was counted is a flood."""
        return self.would_flood(0, 0)
