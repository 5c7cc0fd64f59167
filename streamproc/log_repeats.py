"""Warnings that repeat: the first few are shown, then one a while that says how many were left out."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from streamproc.clock import monotonic

#: Lines of one kind that are shown within `EVERY_S`. A broker that is away made our clients say the same ten times a second.
BURST: Final = 3
EVERY_S: Final = 30.0
_MOST_KINDS: Final = 500
_NUMBER: Final = re.compile(r"\d+")


@dataclass(slots=True)
class _Seen:
    since: float
    shown: int = 0
    left_out: int = 0


class RepeatFilter(logging.Filter):
    """A filter for a handler; below WARNING everything passes. Lines are of one kind if they differ in arguments only."""

    def __init__(self, burst: int = BURST, every_s: float = EVERY_S, clock: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._burst = burst
        self._every_s = every_s
        self._clock = clock
        self._kinds: OrderedDict[tuple[str, int, str], _Seen] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record is shown; one that follows others which were not says how many."""
        if record.levelno < logging.WARNING:
            return True
        seen = self._seen(_kind(record))
        now = self._clock()
        if now - seen.since >= self._every_s:
            seen.since, seen.shown = now, 0
        if seen.shown >= self._burst:
            seen.left_out += 1
            return False
        seen.shown += 1
        if seen.left_out:
            _annotate(record, seen.left_out)
            seen.left_out = 0
        return True

    def _seen(self, kind: tuple[str, int, str]) -> _Seen:
        seen = self._kinds.setdefault(kind, _Seen(self._clock()))
        self._kinds.move_to_end(kind)
        if len(self._kinds) > _MOST_KINDS:
            self._kinds.popitem(last=False)
        return seen


def _kind(record: logging.LogRecord) -> tuple[str, int, str]:
    message: Any = record.msg
    if isinstance(message, dict):
        # Ours: what was said is a constant, what differs is in its own fields (alerts say a sentence of their own).
        return str(message.get("component", record.name)), record.levelno, str(message.get("event"))
    # Some libraries put their numbers into the text itself.
    return record.name, record.levelno, _NUMBER.sub("#", str(message))


def _annotate(record: logging.LogRecord, left_out: int) -> None:
    if isinstance(record.msg, dict):
        record.msg = {**record.msg, "left_out": left_out}
    else:
        record.msg = f"{record.msg} ({left_out} more of this kind left out)"
