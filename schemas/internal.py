"""Records of the internal topics (MessagePack): cells on their way, progress, and where saved state lies.

They are kept by time and never compacted: compaction keeps the last record written, which can be a zombie's.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from schemas.results import Cell

_T = TypeVar("_T")

#: Before the topic of a record of `window-progress` that does not say how far a source is.
BESIDE: Final = "beside/"


class Partials(msgspec.Struct, array_like=True):
    """Cells of one source for one partition of `window-partials`."""

    source: str
    offset: int
    cells: list[Cell]


class Segment(msgspec.Struct, array_like=True):
    """One message of `window-ids`: its offset there, and the newest log time (epoch ms) of the keys in it."""

    offset: int
    newest_ms: int
    keys: int


class LostRange(msgspec.Struct, array_like=True, frozen=True, order=True):
    """Offsets `first` to `last` of a log that were deleted before they were read; when that was found (epoch ms)."""

    first: int
    last: int
    found_ms: int


class Progress(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far a source is (`kind` 'progress'), and where its state as of exactly that offset lies ('snapshot').

    `tail_hash` identifies the record at `offset`; `log_id` the log. `state_offsets` are messages of `window-state`
    (chunks of the encoded state, in order), `ids` and `statuses` messages of `window-ids`. For `kind` 'merge' the
    source is 'merge/PARTITION' and `offset` the first record of window-partials that is not yet stored everywhere.

    Up to `sent` (-1: not known) every cell of the source has been sent to `window-partials`: large cells may wait a few
    seconds beyond it. `lost` are the newest ranges of its log that nobody could read.

    `poison` are offsets of the log that every reader takes for dead letters; a record of `kind` 'poison' adds to them.
    For `kind` 'begun' a worker of `role` began to read on, when `offset` was the last one known to be safe. Records of
    these two kinds have their topic with BESIDE before it, for they do not say how far a source is.
    """

    kind: str
    source: str
    topic: str
    partition: int
    log_id: str
    offset: int
    wall_ms: int
    log_time_ms: int = 0
    max_event_ms: int = 0
    tail_hash: str = ""
    state_offsets: list[int] = []
    ids: list[Segment] = []
    statuses: list[Segment] = []
    poison: list[int] = []
    sent: int = -1
    lost: list[LostRange] = []
    role: str = ""


class SavedState(msgspec.Struct, array_like=True):
    """A source's open cells and the rest of its state, as of `offset`."""

    source: str
    offset: int
    log_time_ms: int
    max_event_ms: int
    dimensions: dict[str, list[str]]
    cells: list[Cell]


encode = msgspec.msgpack.Encoder().encode


def readable(decode: Callable[[bytes], _T]) -> Callable[[bytes | None], _T]:
    """A decoder that raises msgspec.MsgspecError for whatever it cannot read: no value at all, text that is no UTF-8
    and endless nesting too, for which msgspec has other exceptions. They ended every process that followed the topic."""

    def read(value: bytes | None) -> _T:
        try:
            return decode(value or b"")
        except (UnicodeDecodeError, RecursionError) as error:
            raise msgspec.DecodeError(str(error)) from error

    return read


decode_partials = readable(msgspec.msgpack.Decoder(Partials).decode)
decode_progress = readable(msgspec.msgpack.Decoder(Progress).decode)
decode_state = readable(msgspec.msgpack.Decoder(SavedState).decode)


def source_name(topic: str, partition: int, log_id: str) -> str:
    """The name of a source: topic (as contracts name it), partition and log identity."""
    return f"{topic}/{partition}/{log_id}"


def partition_of_source(topic: str, partition: int, partitions: int) -> int:
    """Where a source's progress, state and ids lie; the same for every log of a topic's partition."""
    return zlib.crc32(f"{topic}/{partition}".encode()) % partitions


def partition_of_window(measure: str, dimension: str, entity_value: str, partitions: int) -> int:
    """Where a window's cells go: one partition per measure and dimension; entities are spread by their value."""
    return zlib.crc32(f"{measure}/{dimension}/{entity_value}".encode()) % partitions
