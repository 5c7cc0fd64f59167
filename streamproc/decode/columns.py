"""Checked structs of one topic to columns: NumPy arrays, and lists of texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from schemas.events import REQUIRED_BY_STATUS, STATUSES, CostEvent, UserEvent, VideoStatus
from streamproc.decode.ids import parse_ids
from streamproc.decode.money import parse_amounts
from streamproc.decode.times import parse_times
from streamproc.decode.versions import is_supported

Column = npt.NDArray[Any] | list[str]
Columns = dict[str, Column]

#: Dimension value of an event that has none.
UNKNOWN: Final = "unknown"

_CODES: Final[dict[str, int]] = {status: code for code, status in enumerate(STATUSES)}
_STARTED, _COMPLETED = _CODES["started"], _CODES["completed"]
_OPTIONAL: Final = ("started_at", "completed_at", "published_at", "youtube_video_id")
# Row: status code; column: field of _OPTIONAL; true where the status makes it required.
_REQUIRED: Final = np.array([[field in REQUIRED_BY_STATUS[status] for field in _OPTIONAL] for status in STATUSES])


def ints(values: Sequence[int]) -> npt.NDArray[np.int64]:
    """A column of whole numbers."""
    return np.array(values, dtype=np.int64)


def bad_versions(texts: list[str]) -> list[int]:
    """Positions of versions that this code does not read."""
    bad = {text for text in set(texts) if not is_supported(text)}
    return [position for position, text in enumerate(texts) if text in bad] if bad else []


def event_ids(event_ids: list[str], others: list[str | None], columns: Columns) -> list[int]:
    """Set the event_id columns; the positions where it, or the optional UUID beside it, is none."""
    present = [position for position, text in enumerate(others) if text is not None]
    texts = event_ids + [text for text in others if text is not None]
    high, low, bad = parse_ids(texts)
    count = len(event_ids)
    columns["event_id_hi"], columns["event_id_lo"] = high[:count], low[:count]
    return [position if position < count else present[position - count] for position in bad]


def user_event_columns(events: list[UserEvent]) -> tuple[Columns, set[int]]:
    """Columns of all events, and the positions of those that are not valid (their values are meaningless)."""
    columns: Columns = {}
    bad = set(bad_versions([event.schema_version for event in events]))
    bad.update(event_ids([event.event_id for event in events], [event.session_id for event in events], columns))
    columns["occurred_at_ms"], bad_times = parse_times([event.occurred_at for event in events])
    bad.update(bad_times)
    columns["user_id"] = ints([event.user_id for event in events])
    columns["activity_type"] = [event.activity_type for event in events]
    times = [event.response_time_ms for event in events]
    columns["response_time_ms"] = ints([-1 if time is None else time for time in times])
    return columns, bad


def cost_event_columns(events: list[CostEvent]) -> tuple[Columns, set[int]]:
    """Columns of all events, and the positions of those that are not valid (their values are meaningless)."""
    columns: Columns = {}
    bad = set(bad_versions([event.schema_version for event in events]))
    bad.update(event_ids([event.event_id for event in events], [event.corrects for event in events], columns))
    columns["occurred_at_ms"], bad_times = parse_times([event.occurred_at for event in events])
    bad.update(bad_times)
    videos = [event.video_id for event in events]
    columns["video_id"] = ints([video or 0 for video in videos])
    columns["has_video"] = np.array([video is not None for video in videos], dtype=np.bool_)
    columns["component"] = [event.component for event in events]
    columns["amount_e4"], bad_amounts = parse_amounts([event.amount_usd for event in events])
    bad.update(bad_amounts)
    return columns, bad


def video_status_columns(events: list[VideoStatus]) -> tuple[Columns, set[int]]:
    """Columns of all events, and the positions of those that are not valid (their values are meaningless)."""
    columns: Columns = {}
    bad = set(bad_versions([event.schema_version for event in events]))
    bad.update(event_ids([event.event_id for event in events], [], columns))
    status = np.array([_CODES[event.status] for event in events], dtype=np.int8)
    columns["status"] = status
    for name in ("video_id", "channel_id", "user_id"):
        columns[name] = ints([getattr(event, name) for event in events])
    columns["niche"] = [UNKNOWN if event.niche is None else event.niche for event in events]
    columns["video_type"] = [UNKNOWN if event.video_type is None else event.video_type for event in events]
    present, bad_times = _video_times(events, status, columns)
    bad.update(bad_times)
    missing = (_REQUIRED[status] & ~present).any(axis=1)
    bad.update(np.flatnonzero(missing).tolist())
    return columns, bad


def _video_times(
    events: list[VideoStatus], status: npt.NDArray[np.int8], columns: Columns
) -> tuple[npt.NDArray[np.bool_], set[int]]:
    """Set the time columns; which of _OPTIONAL each event has, shape (n, 4), and the positions with a bad time."""
    count = len(events)
    requested = [event.requested_at for event in events]
    optional = [
        [event.started_at for event in events],
        [event.completed_at for event in events],
        [event.published_at for event in events],
    ]
    texts = [event.occurred_at for event in events] + requested
    for times in optional:
        # An absent time is read as the one of the request: it is there, and has the same form as its neighbours.
        texts += [other if time is None else time for time, other in zip(times, requested, strict=True)]
    ms, bad = parse_times(texts)
    occurred, asked, started, completed, _published = ms.reshape(5, count)
    columns["occurred_at_ms"] = occurred
    columns["generation_e4"] = np.where(status == _COMPLETED, (completed - asked) * 10, 0)
    columns["queue_e4"] = np.where(status == _STARTED, (started - asked) * 10, 0)
    present = np.array([[time is not None for time in times] for times in optional], dtype=np.bool_)
    has_youtube = np.array([[event.youtube_video_id is not None for event in events]], dtype=np.bool_)
    return np.concatenate((present, has_youtube)).T, {position % count for position in bad}
