"""Decoding of changes: one outcome a record, alone as in any batch, and a row that ClickHouse's columns hold."""

from __future__ import annotations

import random
from functools import cache

from schemas.outcomes import DeadReason
from schemas.topics import CHANGES
from streamproc.decode.changes import decode_changes
from streamproc.sinks.silver_changes import PlacedChange, encode_changes
from tests.cdc.samples import load
from tests.fuzz.mutate import mutated
from tests.fuzz.target import Target, Wrong, plain

_TOPICS = [*CHANGES]
_MODES = ("string-plain-adaptive", "precise-schema-adaptive")
_REASONS = (DeadReason.MALFORMED, DeadReason.TOO_LARGE)


@cache
def _recorded() -> tuple[bytes, ...]:
    """Keys and values of the real connector."""
    found = {text for mode in _MODES for each in load(mode) for text in (each.key, each.value) if text}
    return tuple(sorted(text.encode() for text in found))


def _make(rng: random.Random) -> bytes:
    known = _recorded()
    value = rng.choice(known)
    return value if rng.random() < 0.05 else mutated(rng, value, known)


def _check(inputs: list[bytes]) -> None:
    keys = [inputs[position - 1] for position in range(len(inputs))]
    for topic in _TOPICS:
        found = decode_changes(topic, keys, list(inputs))
        places = [position for position, *_ in (*found.rows, *found.dead)]
        if len(set(places)) != len(places):
            raise Wrong("a record got two outcomes")
        for position, reason, text in found.dead:
            if reason not in _REASONS or not text or len(text) > 300:
                raise Wrong(f"the reason is no reason: {reason} {text!r}", position)
        for position, change in found.rows:
            encode_changes(topic, [PlacedChange(change, 0, "log", position, 0)])
        for position in range(0, len(inputs), 10):
            alone = decode_changes(topic, [keys[position]], [inputs[position]])
            row = [change for _, change in alone.rows]
            if row != [change for at, change in found.rows if at == position]:
                raise Wrong("alone it is another change", position)


TARGETS = [Target("decode-changes", "decode_changes of all topics", _make, plain(_check))]
