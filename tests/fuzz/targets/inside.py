"""Records of the internal topics and of `alerts`, damaged or of another release: they count nothing and end nothing."""

from __future__ import annotations

import random
from functools import cache
from typing import Any, Final

import msgspec
import numpy as np

from schemas import internal
from schemas.alerts import AlertState, AlertTransition
from schemas.results import Cell
from streamproc.agents.alerting import decode_transition, encode_transition
from streamproc.agents.progress_log import Known
from streamproc.agents.restore import load_state
from streamproc.alerts.engine import AlertEngine
from streamproc.decode import decode_batch
from streamproc.notify.grouping import Notice
from streamproc.notify.load import load_rules
from streamproc.notify.message import render
from streamproc.sinks.windows_sink import _encode_cells, _encode_entities, _encode_windows
from streamproc.windows.accumulators import TYPES, UnreadableError, load_accumulator
from streamproc.windows.merge import MergeState
from streamproc.windows.recent import RecentKeys
from streamproc.windows.source import SourceState
from tests.fuzz.jsonish import TOPICS, record
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, Wrong, each

_AT_MS: Final = 1_772_360_130_250
_NUMBERS: Final = (0, 1, -1, 255, 2**31, 2**53 + 1, 2**56, 2**63 - 1, -(2**63), 2**64 - 1, _AT_MS, 4_294_967_296_000)
_THINGS: Final[tuple[Any, ...]] = (
    *_NUMBERS,
    "",
    "x",
    "1d",
    "all",
    "9" * 5000,
    b"",
    b"\x00" * 8,
    None,
    True,
    1.5,
    float("nan"),
    [],
    {},
    [[]],
)


@cache
def _states() -> tuple[SourceState, ...]:
    """One state a topic, of some hundred valid events."""
    rng = random.Random("inside")
    states = []
    for topic in TOPICS:
        values: list[bytes | None] = [v for v in (record(rng, topic) for _ in range(600)) if len(v) < 10_000]
        decoded = decode_batch(topic, values)
        state = SourceState(topic, f"{topic}/0/l0g")
        state.apply(len(values) - 1, np.full(len(values), _AT_MS), decoded.ok, decoded.columns)
        states.append(state)
    return tuple(states)


@cache
def _cells() -> tuple[Cell, ...]:
    return tuple(cell for state in _states() for cell in state.all_cells())


def _twisted(rng: random.Random, value: bytes) -> bytes:
    """A MessagePack document with some of its leaves replaced, or its bytes changed."""
    if rng.random() < 0.5:
        return mutated(rng, value, (value,))
    try:
        tree = msgspec.msgpack.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # bytes within it that only look like a document
        return mutated(rng, value, (value,))
    for _ in range(rng.randint(1, 3)):
        tree = _replaced(rng, tree)
    return msgspec.msgpack.encode(tree)


def _replaced(rng: random.Random, tree: Any) -> Any:
    if isinstance(tree, list) and tree and rng.random() < 0.95:
        at = rng.randrange(len(tree))
        if rng.random() < 0.05:
            return [*tree[:at], *tree[at + 1 :]] if rng.random() < 0.5 else [*tree, rng.choice(_THINGS)]
        return [*tree[:at], _replaced(rng, tree[at]), *tree[at + 1 :]]
    if isinstance(tree, dict) and tree and rng.random() < 0.95:
        name = rng.choice(list(tree))
        return {**tree, name: _replaced(rng, tree[name])}
    if isinstance(tree, bytes) and rng.random() < 0.7:
        return (
            _twisted(rng, tree)
            if tree[:1] and tree[0] & 0xF0 == 0x90 and rng.random() < 0.7
            else mutated(rng, tree, (tree,))
        )
    return rng.choice(_THINGS)


def _partials(rng: random.Random) -> bytes:
    cells = [rng.choice(_cells()) for _ in range(rng.randint(1, 4))]
    return _twisted(rng, internal.encode(internal.Partials("user-events/0/l0g", 5, cells)))


def _check_partials(value: bytes) -> None:
    try:
        partials = internal.decode_partials(value)
    except msgspec.MsgspecError:
        return
    state = MergeState()
    state.apply(_cells()[:5], 1, _AT_MS)
    state.apply(partials.cells, 7, _AT_MS)
    state.loaded(list(state.to_load), partials.cells, _AT_MS)
    state.finish({}, _AT_MS, 1)
    state.rolled(_AT_MS)
    values = [value for key in list(state.windows) for value in state.values(key, _AT_MS)]
    cells = [cell for window in state.windows.values() for cell, _ in window.changed.values()]
    _encode_cells(cells)
    _encode_windows([value for value in values if value.size != "all"])
    _encode_entities([value for value in values if value.size == "all"])


def _accumulator(rng: random.Random) -> bytes:
    cell = rng.choice(_cells())
    return _twisted(rng, cell.data)


def _check_accumulator(value: bytes) -> None:
    for kind in TYPES:
        try:
            found = load_accumulator(kind, value)
        except UnreadableError:
            continue
        total = TYPES[kind]()
        total.merge(found)
        total.merge(found)
        again = load_accumulator(kind, found.to_bytes())
        if again.state() != found.state():
            raise Wrong(f"{kind}: {found.state()} became {again.state()}")


def _saved(rng: random.Random) -> bytes:
    state = rng.choice(_states())
    cells = rng.sample(state.all_cells(), 3)
    dimensions = {name: index.values for name, index in state.dimensions.items()}
    saved = internal.SavedState(state.source, state.offset, state.log_time_ms, state.max_event_ms, dimensions, cells)
    return _twisted(rng, internal.encode(saved))


def _check_saved(value: bytes) -> None:
    """As a restore reads it; what was loaded goes on working."""
    try:
        stored = internal.decode_state(value)
        state = SourceState("user-events", "user-events/0/l0g")
        load_state(state, stored)
        keys = RecentKeys(600_000, 60_000)
        keys.load(value[: len(value) // 2])
    except (msgspec.MsgspecError, UnreadableError):
        return
    state.evict()


def _progress(rng: random.Random) -> bytes:
    known = internal.Progress(
        kind=rng.choice(("progress", "snapshot", "merge", "begun", "poison")),
        source="user-events/0/l0g",
        topic=rng.choice(("user-events", "merge", internal.BESIDE + "user-events")),
        partition=0,
        log_id="l0g",
        offset=7,
        wall_ms=_AT_MS,
        tail_hash="00",
        state_offsets=[1, 2],
        ids=[internal.Segment(1, _AT_MS, 3)],
        poison=[5],
        role="windows",
    )
    return _twisted(rng, internal.encode(known))


def _check_progress(value: bytes) -> None:
    try:
        progress = internal.decode_progress(value)
    except msgspec.MsgspecError:
        return
    known = Known(progress.log_id)
    known.add(progress, 3)
    if known.snapshot is not None and known.offset < progress.offset and progress.offset > 0:
        raise Wrong("a snapshot beyond what is known")


_TRANSITION: Final = AlertTransition(
    transition_id="t", fingerprint="f", seq=1, rule="queue_slow", severity="warning", state=AlertState.FIRING,
    labels={"queue": "video-generation"}, metric="queue_processing_time_seconds", window="5m", window_start_ms=_AT_MS,
    window_end_ms=_AT_MS + 300_000, value=1.5, threshold=1.0, operator=">", unit="s", summary="slow",
    event_time_ms=_AT_MS, recorded_at_ms=_AT_MS,
)  # fmt: skip


def _transition(rng: random.Random) -> bytes:
    value = encode_transition(_TRANSITION)
    if rng.random() < 0.4:
        return mutated(rng, value, (value,))
    tree = msgspec.json.decode(value)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(tree))
        tree[name] = rng.choice([thing for thing in _THINGS if not isinstance(thing, bytes)])
    return msgspec.json.encode(tree)


def _check_transition(value: bytes) -> None:
    try:
        item = decode_transition(value)
    except msgspec.MsgspecError:
        return
    engine = AlertEngine(load_rules())
    engine.restore([item, item])
    engine.tick(_AT_MS)
    engine.counts()
    render([Notice(item)])


TARGETS = [
    Target("inside-partials", "records of window-partials", _partials, each(_check_partials), 200),
    Target("inside-accumulators", "accumulators as bytes", _accumulator, each(_check_accumulator), 500),
    Target("inside-state", "records of window-state and window-ids", _saved, each(_check_saved), 200),
    Target("inside-progress", "records of window-progress", _progress, each(_check_progress), 500),
    Target("inside-alerts", "records of alerts", _transition, each(_check_transition), 200),
]
