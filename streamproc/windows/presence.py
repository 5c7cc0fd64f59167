"""Which windows of a service had nothing in them, told window by window in the order of time.

Empty windows have no cells, so nobody publishes them: here they follow from the windows before and from how far the sources are.
What is told depends on the data alone, in whatever order it was read: also a gap that ended before anybody looked is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from schemas.results import SIZES_MS

#: (measure, dimension, dimension value, size): windows that follow each other.
Line = tuple[str, str, str, str]


class Seen(NamedTuple):
    """A window that is over, and whether anything was in it. Of a silence only the first window is told."""

    line: Line
    start_ms: int
    heard: bool


class _Told:
    """Of one line: the last window told that had something in it, the first of the silence after it (or before it: none),
    and the starts of later windows with something in them."""

    __slots__ = ("heard", "last", "silent")

    def __init__(self) -> None:
        self.heard: set[int] = set()
        self.last: int | None = None
        self.silent = -1


class Presence:
    """The windows of one partition of `window-partials`, as far as they are to be told."""

    def __init__(self) -> None:
        self._lines: dict[Line, _Told] = {}

    def heard(self, line: Line, start_ms: int) -> None:
        """There is something in this window. What is older than a window told already changes nothing."""
        told = self._lines.setdefault(line, _Told())
        if told.last is None or start_ms > told.last:
            told.heard.add(start_ms)

    def due(self, is_over: Callable[[str, str, int], bool], known_from: Mapping[str, int]) -> list[Seen]:
        """What is to be told by now, each once, in the order of time.

        Args:
            is_over: (measure, size, start in epoch ms) -> whether every source has passed the window.
            known_from: by size the start (epoch ms) from which on every window with something in it is known here: a line begins no
                earlier, for the window after an older one may be stored and not be known.
        """
        found: list[Seen] = []
        for line, told in self._lines.items():
            if told.last is None:
                told.heard = {start for start in told.heard if start >= known_from.get(line[3], start)}
            found += _of_line(line, told, is_over)
        return sorted(found, key=lambda seen: (seen.start_ms, seen.line))


def _of_line(line: Line, told: _Told, is_over: Callable[[str, str, int], bool]) -> Iterator[Seen]:
    measure, _, _, size = line
    while True:
        ahead = min(told.heard, default=None)
        if told.last is not None:
            gap = told.last + SIZES_MS[size]
            if ahead != gap and told.silent < gap:
                if not is_over(measure, size, gap):
                    return
                told.silent = gap
                yield Seen(line, gap, heard=False)
        if ahead is None or not is_over(measure, size, ahead):
            return
        told.heard.discard(ahead)
        told.last = ahead
        yield Seen(line, ahead, heard=True)
