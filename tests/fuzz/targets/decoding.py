"""Decoding of each topic: every record gets exactly one outcome, alone as in any batch; a sample is held against the oracle."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

from streamproc.decode import Decoded, decode_batch, explain
from tests.decode.oracle import judge
from tests.fuzz.jsonish import TOPICS, record
from tests.fuzz.target import Target, Wrong, plain

#: The oracle takes fifty times as long as the decoder.
_ORACLE_EVERY = 20
_ALONE_EVERY = 10
_SHORT = 100_000


def rows(decoded: Decoded) -> list[dict[str, Any]]:
    """One dictionary a valid record."""
    lists = {name: column if isinstance(column, list) else column.tolist() for name, column in decoded.columns.items()}
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]


def _check(topic: str, inputs: list[bytes]) -> None:
    decoded = decode_batch(topic, list(inputs))
    outcomes = [*decoded.ok.tolist(), *(position for position, _, _ in decoded.dead)]
    if sorted(outcomes) != list(range(len(inputs))):
        raise Wrong(f"{len(inputs)} records got {len(outcomes)} outcomes")
    if any(len(column) != len(decoded.ok) for column in decoded.columns.values()):
        raise Wrong("columns are not aligned with the valid records")
    for position, _, text in decoded.dead:
        if not text or "please report" in text or len(text) > 200:
            raise Wrong(f"the reason is no reason: {text!r}", position)
    found = dict(zip(decoded.ok.tolist(), rows(decoded), strict=True))
    dead = {position: (str(reason), text) for position, reason, text in decoded.dead}
    step = 1 if len(inputs) == 1 else _ALONE_EVERY
    for position in range(0, len(inputs), step):
        _alone(topic, inputs[position], position, found.get(position), dead.get(position))
    step = 1 if len(inputs) == 1 else _ORACLE_EVERY
    for position in range(0, len(inputs), step):
        if len(inputs[position]) <= _SHORT:
            _as_the_oracle(topic, inputs[position], position, found.get(position), dead.get(position))


def _alone(topic: str, value: bytes, position: int, row: Any, reason: Any) -> None:
    """The verdict depends on the record alone."""
    alone = decode_batch(topic, [value])
    if rows(alone) != ([] if row is None else [row]):
        raise Wrong(f"alone {rows(alone)}, in its batch {row}", position)
    why = explain(topic, value)
    if (None if why is None else (str(why[0]), why[1])) != reason:
        raise Wrong(f"explain says {why}, the batch {reason}", position)


def _as_the_oracle(topic: str, value: bytes, position: int, row: Any, reason: Any) -> None:
    verdict, expected = judge(topic, value)
    said = "ok" if reason is None else reason[0]
    if verdict != said or (row or {}) != expected:
        raise Wrong(f"the oracle says {verdict} {expected}, decoding {reason or row}", position)


def _maker(topic: str) -> Callable[[random.Random], bytes]:
    return lambda rng: record(rng, topic)


TARGETS = [
    Target(f"decode-{topic}", f"decode_batch of {topic}", _maker(topic), plain(partial(_check, topic)))
    for topic in TOPICS
]
