"""Named points in the code at which a test ends, blocks or breaks the process: what a crash there leaves is then seen.

    STREAMPROC_CRASH_AT=before_progress:3   the process ends at the third passing, without any cleanup
    STREAMPROC_BLOCK_AT=after_decode:1:20   the event loop is kept busy for 20 s at the first passing
    STREAMPROC_RAISE_AT=after_decode:2      an unexpected error at the second passing
    STREAMPROC_POISON_AT=EVENT_ID:segfault  whoever decodes (or :segfault:fold: folds) that event ends so; also exit,
                                            raise, recursion, memory and hang

Unset, a passing costs one comparison.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Final

from streamproc.clock import monotonic
from streamproc.errors import ConfigError
from streamproc.logs import get_logger

log = get_logger("failpoints")

EXIT_CODE: Final = 86

#: Every point, by what has just been done.
POINTS: Final[Mapping[str, str]] = {
    "after_decode": "a slice of a batch is decoded and not applied",
    "before_flush": "a cut of changed cells is taken and not sent",
    "after_evict": "closed cells have left memory; what the cut holds of them is not sent",
    "before_progress": "cells and dead letters are acknowledged, progress is not written",
    "after_progress": "progress is written",
    "after_ids": "a snapshot's ids are written, its state is not",
    "after_state": "a snapshot's ids and state are written, the record that points to them is not",
    "after_snapshot": "a snapshot is written",
    "before_commit": "the hint to the group is not committed",
    "after_commit": "the hint to the group is committed",
    "after_redis": "Redis has taken live values, nobody was told",
    "between_tables": "ClickHouse has the cells, and not the values",
    "after_clickhouse": "ClickHouse has taken windows, nobody was told",
    "after_bronze": "ClickHouse has taken records of the archive, nobody was told",
    "before_alert": "alert transitions are decided and not recorded",
    "after_intake": "Kafka has entries of a Redis Stream, Redis was not told",
    "before_job": "a run of a job is noted as running, its body has not begun",
    "after_job": "the body of a job is done, its run is not recorded as done",
    "after_job_record": "a run of a job is recorded as done, its lease is still held",
    "youtube_spent": "quota is written down, the request is not sent",
    "youtube_answered": "YouTube has answered, the page is not stored",
    "youtube_stored": "bronze has a page of YouTube's, silver does not",
    "youtube_derived": "silver has the page, its unit is not marked",
    "after_slack": "a message was sent to people, its delivery is not recorded",
}


@dataclass(slots=True)
class _Armed:
    point: str
    action: str
    left: int
    seconds: float = 0.0


@dataclass(slots=True)
class _Poison:
    event_id: bytes
    how: str
    stage: str


_armed: list[_Armed] = []
_poison: list[_Poison] = []


def arm(environment: Mapping[str, str]) -> None:
    """Read STREAMPROC_CRASH_AT, _BLOCK_AT and _RAISE_AT; without them nothing is armed.

    Raises:
        ConfigError: a point is unknown, or a number is none.
    """
    _armed.clear()
    _poison.clear()
    for action in ("crash", "block", "raise"):
        name = f"STREAMPROC_{action.upper()}_AT"
        if text := environment.get(name):
            _armed.append(_parse(name, action, text))
            log.warning("a failpoint is armed: for tests only", setting=name, value=text)

    if text := environment.get("STREAMPROC_POISON_AT"):
        _poison.append(_parse_poison(text))
        log.warning("a failpoint is armed: for tests only", setting="STREAMPROC_POISON_AT", value=text)


def _parse_poison(text: str) -> _Poison:
    event_id, how, stage = (*text.split(":"), "decode")[:3] if text.count(":") in (1, 2) else ("", "", "")
    if not event_id or how not in _ENDS or stage not in ("decode", "fold"):
        ways = "|".join(_ENDS)
        raise ConfigError(f"STREAMPROC_POISON_AT = {text!r}: allowed is EVENT_ID:{ways}[:decode|fold]")
    return _Poison(event_id.encode(), how, stage)


def _parse(name: str, action: str, text: str) -> _Armed:
    point, *numbers = text.split(":")
    if point not in POINTS:
        raise ConfigError(f"{name} = {text!r}: allowed points are {', '.join(POINTS)}")
    most = 2 if action == "block" else 1
    try:
        left = int(numbers[0]) if numbers else 1
        seconds = float(numbers[1]) if len(numbers) > 1 else 5.0
    except ValueError:
        left, seconds = 0, 0.0
    if len(numbers) > most or left < 1 or not 0 < seconds <= 300:
        form = "POINT[:N[:SECONDS]] with N from 1 and SECONDS up to 300" if most == 2 else "POINT[:N] with N from 1"
        raise ConfigError(f"{name} = {text!r}: allowed is {form}")
    return _Armed(point, action, left, seconds)


def passing(point: str) -> None:
    """Say that a point is passed; the process may end here.

    Raises:
        RuntimeError: STREAMPROC_RAISE_AT says so.
    """
    if _armed:
        _strike(point)


def poisoned(stage: str, records: Sequence[Any], aside: Set[int]) -> None:
    """Say that records are about to be decoded or folded, but for the offsets that are set aside.

    Raises:
        RuntimeError, RecursionError, MemoryError: STREAMPROC_POISON_AT says so.
    """
    for poison in _poison:
        if poison.stage == stage and any(
            poison.event_id in (record.value or b"") for record in records if record.offset not in aside
        ):
            log.warning("failpoint", point=stage, action=poison.how)
            _ENDS[poison.how]()


def _fail(error: Exception) -> None:
    raise error


#: Ways in which a decoder can end its process.
_ENDS: Final[Mapping[str, Callable[[], object]]] = {
    "exit": lambda: os._exit(EXIT_CODE),
    "segfault": lambda: ctypes.string_at(0),
    "raise": lambda: _fail(RuntimeError("failpoint")),
    "recursion": lambda: _fail(RecursionError("failpoint")),
    "memory": lambda: _fail(MemoryError("failpoint")),
    "hang": lambda: _keep_busy(3600.0),
}


def _strike(point: str) -> None:
    for armed in _armed:
        if armed.point != point or armed.left <= 0:
            continue
        armed.left -= 1
        if armed.left:
            continue
        log.warning("failpoint", point=point, action=armed.action)
        if armed.action == "crash":
            os._exit(EXIT_CODE)
        if armed.action == "raise":
            raise RuntimeError(f"failpoint {point}")
        _keep_busy(armed.seconds)


def _keep_busy(seconds: float) -> None:
    """Hold the interpreter as a slow pure computation would: other threads get their turns, the event loop does not."""
    until = monotonic() + seconds
    while monotonic() < until:
        sum(range(10_000))
