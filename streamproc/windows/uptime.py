"""Minutes of services: of each minute the last health event, so that any order and repetition gives the same uptime.

A *mark* is one integer, time of the event (epoch ms), its id and whether it was ok: the larger of two marks is the later event.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from streamproc.windows.arithmetic import MINUTE_MS

#: service -> minute (epoch minutes) -> mark.
Marks = dict[str, dict[int, int]]

_ID_BITS: Final = 128
_OK_BITS: Final = 8
#: 6 bytes of time, 16 of id, 1 that says ok.
MARK_BYTES: Final = 23


class Minutes(NamedTuple):
    """Minutes up, and minutes due: those since each service was first heard of."""

    up: int
    due: int


def mark_of(at_ms: int, event_id: int, ok: bool) -> int:
    """One health event; of two events at the same millisecond the one with the higher id is the later."""
    return (at_ms << _ID_BITS | event_id) << _OK_BITS | ok


def minute_of(mark: int) -> int:
    """The minute that it lies in, counted from 1970."""
    return (mark >> (_ID_BITS + _OK_BITS)) // MINUTE_MS


def join(marks: Marks, others: Mapping[str, Mapping[int, int]]) -> None:
    """Take the others in: of each minute the later mark stays."""
    for service, minutes in others.items():
        mine = marks.setdefault(service, {})
        for minute, mark in minutes.items():
            if mark > mine.get(minute, -1):
                mine[minute] = mark


def minutes_until(marks: Marks, end_ms: int | None) -> Minutes:
    """Minutes up and due of all services together.

    Args:
        marks: of one window.
        end_ms: the window's end if it is over; None: the minute of its newest health event, of whatever service, is the last.
    """
    newest = max((minute for minutes in marks.values() for minute in minutes), default=0) + 1
    until = newest if end_ms is None else max(end_ms // MINUTE_MS, newest)
    up = sum(mark & 1 for minutes in marks.values() for mark in minutes.values())
    due = sum(until - min(minutes) for minutes in marks.values())
    return Minutes(up, due)


def pack(marks: Marks) -> dict[str, bytes]:
    """As bytes, by service."""
    return {
        service: b"".join([mark.to_bytes(MARK_BYTES, "big") for mark in minutes.values()])
        for service, minutes in marks.items()
    }


def unpack(packed: Mapping[str, bytes]) -> Marks:
    """The reverse of `pack`.

    Raises:
        ValueError: these are no marks, or two of one minute.
    """
    marks: Marks = {}
    for service, data in packed.items():
        if not data or len(data) % MARK_BYTES:
            raise ValueError(f"{len(data)} bytes are no marks")
        read = [int.from_bytes(data[at : at + MARK_BYTES], "big") for at in range(0, len(data), MARK_BYTES)]
        minutes = {minute_of(mark): mark for mark in read}
        if len(minutes) < len(read) or any(mark & (1 << _OK_BITS) - 1 > 1 for mark in read):
            raise ValueError("marks that none of ours are")
        marks[service] = minutes
    return marks
