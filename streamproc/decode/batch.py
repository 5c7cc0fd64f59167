"""A batch of raw records of one topic to columns of its valid events, and the reason of each other record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.events import STRUCTS
from schemas.outcomes import DeadReason
from schemas.topics import BILLING_EVENTS, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from streamproc.decode.columns import (
    Column,
    Columns,
    cost_event_columns,
    user_event_columns,
    video_status_columns,
)
from streamproc.decode.explain import Problem, explain
from streamproc.decode.ops_billing import billing_event_columns, ops_event_columns
from streamproc.decode.strict import refused_before_parsing
from streamproc.decode.versions import brought_up, has_upcasters, path_to_current, version_of

#: One record that is no valid event: its position in the batch, the reason, and text that a person understands.
Dead = tuple[int, DeadReason, str]

#: Records that are decoded at once: their objects still fit into the processor's cache (1.0 M user events/s; with 8,000
#: at once 0.7 M).
CHUNK: Final = 2048

_NOT_DECODED: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_DECODERS: Final = {topic: msgspec.json.Decoder(struct) for topic, struct in STRUCTS.items()}
_COLUMNS: Final[dict[str, Callable[[list[Any]], tuple[Columns, set[int]]]]] = {
    USER_EVENTS: user_event_columns,
    VIDEO_STATUS: video_status_columns,
    COST_EVENTS: cost_event_columns,
    OPS_EVENTS: ops_event_columns,
    BILLING_EVENTS: billing_event_columns,
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a batch.

    `ok`: int64[n], positions of the valid records in the batch, ascending. `dead`: all others, ascending.
    `columns`: aligned with `ok`; arrays of length n, or lists of n texts:

    - all topics: event_id_hi, event_id_lo uint64 (big-endian halves of the UUID), occurred_at_ms int64
    - user-events: user_id int64, activity_type texts, response_time_ms int64 (-1: null)
    - video-status: video_id, channel_id, user_id int64, status int8 (position in schemas.events.STATUSES), niche,
      video_type texts ('unknown': absent), generation_e4 int64 (completed_at - requested_at in 1/10000 s where
      completed, else 0), queue_e4 int64 (started_at - requested_at in 1/10000 s where started, else 0)
    - cost-events: video_id int64 (0: none), has_video bool, component texts, amount_e4 int64 (1/10000 USD)
    - ops-events: kind int8 (position in schemas.events.OPS_KINDS), service texts, ok bool, response_time_ms int64 of
      api_request (-1: none), latency_ms int64 (-1: none), queue, provider texts ('unknown': absent), queue_e4 int64 (processing_start - queued_at in
      1/10000 s of queue events, else 0)
    - billing-events: kind int8 (position in schemas.events.BILLING_KINDS), user_id int64, subscription_id texts, mrr_e4,
      amount_e4 int64 (1/10000 USD; 0: none)
    """

    ok: npt.NDArray[np.int64]
    dead: list[Dead]
    columns: Columns

    def array(self, name: str) -> npt.NDArray[Any]:
        """A column of numbers. Raises KeyError if there is none, TypeError if it holds texts."""
        column = self.columns[name]
        if isinstance(column, list):
            raise TypeError(f"column {name} holds texts")
        return column

    def texts(self, name: str) -> list[str]:
        """A column of texts. Raises KeyError if there is none, TypeError if it holds numbers."""
        column = self.columns[name]
        if not isinstance(column, list):
            raise TypeError(f"column {name} holds numbers")
        return column


def decode_batch(topic: str, values: list[bytes | None]) -> Decoded:
    """Read a batch of record values of one topic. Each record's verdict depends on that record alone.

    Of a repeated JSON key the last value counts; earlier ones must have the field's JSON type all the same.

    Raises:
        KeyError: no such event stream.
    """
    if len(values) <= CHUNK:
        return _decode_chunk(topic, values, 0)
    return _joined([_decode_chunk(topic, values[at : at + CHUNK], at) for at in range(0, len(values), CHUNK)])


def _decode_chunk(topic: str, values: list[bytes | None], first: int) -> Decoded:
    """Decode values of which the first has position `first` in the batch."""
    events, rows, failed = _parse(topic, values)
    columns, bad = _COLUMNS[topic](events)
    if bad:
        keep = [place not in bad for place in range(len(events))]
        columns = {name: _kept(column, keep) for name, column in columns.items()}
        failed += (rows[place] for place in bad)
        rows = list(compress(rows, keep))
    dead = [(row + first, *_reason(topic, values[row])) for row in sorted(failed)]
    return Decoded(np.array(rows, dtype=np.int64) + first, dead, columns)


def _joined(parts: list[Decoded]) -> Decoded:
    """One result of consecutive chunks."""
    columns: Columns = {}
    for name, column in parts[0].columns.items():
        if isinstance(column, list):
            columns[name] = list(chain.from_iterable(part.texts(name) for part in parts))
        else:
            columns[name] = np.concatenate([part.array(name) for part in parts])
    dead = list(chain.from_iterable(part.dead for part in parts))
    return Decoded(np.concatenate([part.ok for part in parts]), dead, columns)


def _parse(topic: str, values: list[bytes | None]) -> tuple[list[Any], list[int] | range, list[int]]:
    """Structs, their rows among the values, and the rows that gave none."""
    texts = [value or b"" for value in values]
    refused = refused_before_parsing(texts) if texts else set()
    for position in refused:
        texts[position] = b""  # the decoder refuses it below, like every empty value
    decode = _DECODERS[topic].decode
    events: list[Any] = []
    failed: list[int] = []
    append = events.append
    rest = iter(texts)
    while True:
        try:
            for text in rest:
                append(decode(text))
            break
        except _NOT_DECODED:
            failed.append(len(events) + len(failed))
    gone = set(failed)
    rows = [row for row in range(len(texts)) if row not in gone] if failed else range(len(events))
    if has_upcasters(topic):
        return _with_former_versions(topic, texts, events, rows, failed)
    return events, rows, failed


def _with_former_versions(
    topic: str, texts: list[bytes], events: list[Any], rows: list[int] | range, failed: list[int]
) -> tuple[list[Any], list[int] | range, list[int]]:
    """What `_parse` found, but records of former versions brought to the current one first, each by itself.

    Such a record may have been decoded (its fields then mean something else) or not (they have other names).
    """
    paths = {version: path_to_current(topic, version) for version in {event.schema_version for event in events}}
    former = (
        {row: paths[event.schema_version] for row, event in zip(rows, events, strict=True)}
        if any(paths.values())
        else {}
    )
    for row in failed:
        try:
            former[row] = path_to_current(topic, version_of(texts[row]))
        except _NOT_DECODED:
            continue  # says no version: it stays among the failed
    former = {row: path for row, path in former.items() if path}
    if not former:
        return events, rows, failed
    found, gone = dict(zip(rows, events, strict=True)), set(failed)
    for row, path in former.items():
        try:
            found[row] = _DECODERS[topic].decode(brought_up(path, texts[row]))
            gone.discard(row)
        except _NOT_DECODED:
            found.pop(row, None)
            gone.add(row)
    kept = sorted(found)
    return [found[row] for row in kept], kept, sorted(gone)


def _kept(column: Column, keep: list[bool]) -> Column:
    return list(compress(column, keep)) if isinstance(column, list) else column[np.array(keep, dtype=np.bool_)]


def _reason(topic: str, value: bytes | None) -> Problem:
    problem = explain(topic, value)
    if problem is None:
        # Cannot happen while columns.py asks the exact readers; if it does, the record must stay visible.
        problem = DeadReason.MALFORMED, "refused by the batch reader, but valid by the rules: please report this"
    return problem
