"""Dead letters: what the archive makes of any record on their topic, and what showing and replaying makes of a payload."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Final

import msgspec
import orjson

from schemas.keys import key_for
from schemas.topics import SOURCES
from streamproc.deadletters.replay import Options, Outcome, _Chooser
from streamproc.deadletters.show import readable
from streamproc.deadletters.store import WAITING, Letter, Place
from streamproc.sinks.dead_letters_store import _encode, _letter
from tests.fuzz.jsonish import TOPICS, nested, record
from tests.fuzz.mutate import NASTY, mutated
from tests.fuzz.target import Target, Wrong, each

_NAMES: Final = ("error", "reason", "topic", "partition", "log_id", "offset", "kafka_timestamp", "key", "other")
_GOOD: Final = (
    b"user-events",
    b"0",
    b"17",
    b"malformed",
    b"a1b2c3",
    b"1795341600000",
    b"4294967295",
    b"18446744073709551615",
)
_TIMES: Final = (0, -1, 1_795_341_600_000, 2**63 - 1, -(2**63), 10_413_792_000_000)


def _foreign(rng: random.Random) -> bytes:
    """A record of the topic as MessagePack: headers (name, value or nil), value, timestamp."""
    headers: list[tuple[str, bytes | None]] = []
    for name in _NAMES:
        for _ in range(rng.choice((0, 1, 1, 1, 1, 2))):
            text = rng.choice(_GOOD) if rng.random() < 0.7 else mutated(rng, rng.choice((*_GOOD, *NASTY)), _GOOD)
            headers.append((name, None if rng.random() < 0.03 else text))
    value = rng.choice((b"", rng.randbytes(20), b"{}"))
    return msgspec.msgpack.encode((headers, value, rng.choice(_TIMES)))


def _check_foreign(value: bytes) -> None:
    try:
        headers, payload, timestamp = msgspec.msgpack.decode(
            value, type=tuple[list[tuple[str, bytes | None]], bytes, int]
        )
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return  # no record: shortened too far
    found = SimpleNamespace(
        topic="dead-letters", partition=1, offset=5, timestamp=timestamp, value=payload or None, headers=headers
    )
    letter = _letter(found)
    if letter.payload != payload:
        raise Wrong("another payload")
    _encode([letter])


def _payload(rng: random.Random) -> bytes:
    value = record(rng, rng.choice(TOPICS))
    if len(value) > 100_000:
        value = b""
    return value if rng.random() < 0.95 else nested(rng).encode()[:50_000]


def _values(payload: bytes) -> Iterator[tuple[str, Options, bytes | None]]:
    options = (Options(), Options(send_invalid=True), Options(changes={"user_id": 5, "new": [1, {"a": None}]}))
    for topic in (*TOPICS, "unknown"):
        letter = Letter(Place(topic, 0, "l", 1), "malformed", "", b"", payload, 0, 0, "", WAITING)
        for option in options:
            chosen: list[Any] = asyncio.run(_Chooser(option, Outcome(), "sent").choose([letter]))
            yield topic, option, chosen[0][1] if chosen else None


def _check_payload(payload: bytes) -> None:
    readable(payload)
    readable(payload, raw=True)
    for topic, options, value in _values(payload):
        if value is None:
            continue
        if not options.changes and value != payload:
            raise Wrong("a payload is changed by nobody")
        try:
            event = orjson.loads(value)
        except orjson.JSONDecodeError:
            event = None
        if topic in SOURCES:
            key_for(topic, event)
        if options.changes and isinstance(event, dict):
            _only_changed(payload, value)


def _only_changed(payload: bytes, value: bytes) -> None:
    """Fields that nobody set keep their text, to the last digit."""
    try:
        before = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return
    after = msgspec.json.decode(value, type=dict[str, msgspec.Raw])
    for name in before.keys() - {"user_id", "new"}:
        if bytes(before[name]) != bytes(after[name]):
            raise Wrong(f"{name}: {bytes(before[name])[:80]!r} became {bytes(after[name])[:80]!r}")


TARGETS = [
    Target("letters-archive", "records of the topic dead-letters, by whoever", _foreign, each(_check_foreign), 500),
    Target("letters-replay", "showing and replaying payloads", _payload, each(_check_payload), 200),
]
