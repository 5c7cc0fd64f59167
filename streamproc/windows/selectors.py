"""Selectors: which of a topic's events a measure takes, as boolean columns; named in the catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from schemas.events import OPS_KINDS

Array = np.ndarray[Any, Any]
Columns = Mapping[str, Any]

#: Kind codes of ops events (positions in schemas.events.OPS_KINDS).
OPS_CODES = {kind: code for code, kind in enumerate(OPS_KINDS)}

#: Status codes of video-status events, in the order of a video's life.
STATUS_CODES = {"requested": 0, "started": 1, "completed": 2, "failed": 3, "published": 4}


def _status(code: int) -> Callable[[Columns], Array]:
    def select(columns: Columns) -> Array:
        chosen: Array = columns["status"] == code
        return chosen

    return select


def _completed_or_published(columns: Columns) -> Array:
    status = columns["status"]
    chosen: Array = (status == STATUS_CODES["completed"]) | (status == STATUS_CODES["published"])
    return chosen


def _has_response_time(columns: Columns) -> Array:
    chosen: Array = columns["response_time_ms"] >= 0
    return chosen


def _left_queue(columns: Columns) -> Array:
    """Videos that started, and items that a service began to work on."""
    if "status" in columns:
        return _status(STATUS_CODES["started"])(columns)
    chosen: Array = columns["kind"] == OPS_CODES["queue"]
    return chosen


def _ai_call(columns: Columns) -> Array:
    chosen: Array = columns["kind"] == OPS_CODES["ai_call"]
    return chosen


def _health(columns: Columns) -> Array:
    chosen: Array = columns["kind"] == OPS_CODES["health"]
    return chosen


def _has_video(columns: Columns) -> Array:
    chosen: Array = columns["has_video"]
    return chosen


#: None means every event.
SELECTORS: dict[str, Callable[[Columns], Array] | None] = {
    "all": None,
    "has_response_time": _has_response_time,
    "left_queue": _left_queue,
    "ai_call": _ai_call,
    "health": _health,
    "has_video": _has_video,
    "completed_or_published": _completed_or_published,
    **{name: _status(code) for name, code in STATUS_CODES.items()},
}

#: Columns that are derived, or constant, rather than decoded.
DERIVED: dict[str, Callable[[Columns], Any]] = {
    "is_published": lambda columns: (columns["status"] == STATUS_CODES["published"]).astype(np.int64),
    "is_error": lambda columns: (~columns["ok"]).astype(np.int64),
    "queue": lambda columns: ["video-generation"] * len(columns["status"]),
}


def column(columns: Columns, name: str) -> Any:
    """A decoded column, or a derived one."""
    if name in columns:
        return columns[name]
    return DERIVED[name](columns)
