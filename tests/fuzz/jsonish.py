"""Events as lists of key and value literals, so that mutations reach what bytes alone rarely hit."""

from __future__ import annotations

import json
import random
from functools import cache
from pathlib import Path
from typing import Final

import schemas
from tests.fuzz.mutate import MIB, mutated

TOPICS: Final = ("user-events", "video-status", "cost-events")

#: Keys and values as they stand in the JSON text.
Pairs = list[tuple[str, str]]

_NUMBERS = ["0", "-0", "-1", "1.0", "1e0", "1.5", "1e400", "-1e-400", "9223372036854775807", "9223372036854775808"]
_NUMBERS += ["-9223372036854775808", "-9223372036854775809", "1" + "0" * 40, "1" + "0" * 5000, "0." + "3" * 5000]
_NUMBERS += [
    "01",
    "1.",
    ".5",
    "+1",
    "NaN",
    "Infinity",
    "- 1",
    "0.00005",
    "0.00015000000000000001",
    "922337203685477.5807",
]
_NUMBERS += ["1e-9999999999", "1E+9999999999", "-0.00005", "4.9e-324", "1.7976931348623157e308", "12345678901234567890"]
_TEXTS = [
    "",
    " ",
    "1",
    "true",
    "null",
    "0.5 ",
    "1e5",
    "1.0.0",
    "2.0.0",
    "0.1.0",
    "1.0",
    "1.0.0-01",
    "1.0.0+",
    "1.0.0-a.b",
]
_TEXTS += ["2026-03-01T10:00:00Z\n", "2026-03-01t10:00:00Z", "2026-03-01 10:00:00Z", "2026-02-29T10:00:00Z"]
_TEXTS += ["2026-03-01T24:00:00Z", "2026-03-01T10:00:60Z", "2026-03-01T10:00:00+24:00", "0000-01-01T00:00:00Z"]
_TEXTS += ["0001-01-01T00:00:00+00:01", "9999-12-31T23:59:59-00:01", "2026-03-01T10:00:00.0123456789Z", "12,5", "NaN"]
_TEXTS += [
    "1970-01-01T00:00:00.000Z",
    "1969-12-31T23:59:59.999Z",
    "2105-12-31T23:59:59.999999999Z",
    "2106-01-01T00:00:00Z",
]
_TEXTS += [
    "2026-03-01T10:00:00.123456789+23:59",
    "2026-03-01T10:00:00.9-23:59",
    "2026-03-01T10:00:00,5Z",
    "2026-3-1T1:0:0Z",
]
_TEXTS += [
    "123e4567e89b12d3a456426614174000",
    "{123e4567-e89b-12d3-a456-426614174000}",
    "0.00005",
    "-7",
    "unknown",
    "other",
]
_TEXTS += [
    "completed",
    "published",
    "voice",
    "١٢",
    "０",
    "é\u0000\u2028",
    "😀" * 20,
    "x" * 300,
    "a\tb\\c\"d/e'f`g",
    "\ufeff",
]
_RAW = [
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[1]",
    '{"a":[{"b":"c"}]}',
    '"\\ud800"',
    '"\\udc00x"',
    '"\\x"',
    '"\t"',
    "",
    "nul",
]
_RAW += [
    '"\\ud83d\\ude00"',
    '"\\/\\b\\f"',
    "[[[]]]",
    '{"":{"":[]}}',
    '{"user_id":1,"user_id":2}',
    '"amount_usd":1',
    "'x'",
]
ODD: Final = tuple(
    _NUMBERS + [json.dumps(text) for text in _TEXTS] + [json.dumps(t, ensure_ascii=False) for t in _TEXTS] + _RAW
)


@cache
def examples(topic: str) -> tuple[bytes, ...]:
    """The valid and the invalid examples of a topic that are not large."""
    folder = Path(schemas.__file__).parent / "examples" / topic
    return tuple(path.read_bytes() for path in sorted(folder.glob("*/*.json")) if path.stat().st_size < 20_000)


@cache
def _valid(topic: str) -> tuple[Pairs, ...]:
    folder = Path(schemas.__file__).parent / "examples" / topic / "valid"
    found = [json.loads(path.read_bytes(), object_pairs_hook=list) for path in sorted(folder.glob("*.json"))]
    return tuple([(json.dumps(key), _literal(value)) for key, value in pairs] for pairs in found)


def _literal(value: object) -> str:
    # A nested object came as a list of pairs, which as a list of lists is as good a strange value.
    return json.dumps(value, ensure_ascii=False)


def record(rng: random.Random, topic: str) -> bytes:
    """One record: an event with nothing to some things changed, or no event at all; now and then a large one."""
    kind = rng.random()
    if kind < 0.15:
        return mutated(rng, rng.choice(examples(topic)), examples(topic))
    if kind < 0.1505:
        return _huge(rng)
    pairs = list(rng.choice(_valid(topic)))
    _new_id(rng, pairs)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if pairs:
            _change(rng, topic, pairs)
    value = _rendered(rng, pairs)
    return mutated(rng, value, examples(topic), most=2) if kind > 0.9 else value


def _new_id(rng: random.Random, pairs: Pairs) -> None:
    digits = f"{rng.getrandbits(128):032x}"
    text = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    for place, (key, _) in enumerate(pairs):
        if key == '"event_id"':
            pairs[place] = (key, json.dumps(text.upper() if rng.random() < 0.1 else text))


def _change(rng: random.Random, topic: str, pairs: Pairs) -> None:
    place = rng.randrange(len(pairs))
    key, literal = pairs[place]
    kind = rng.randrange(10)
    if kind <= 2:
        pairs[place] = (key, rng.choice(ODD))
    elif kind <= 4:
        repeated = rng.choice((literal, rng.choice(ODD), "null", rng.choice(rng.choice(_valid(topic)))[1]))
        pairs.insert(rng.randint(0, len(pairs)), (_escaped(rng, key) if rng.random() < 0.3 else key, repeated))
    elif kind == 5:
        del pairs[place]
    elif kind == 6:
        pairs.insert(place, (json.dumps(rng.choice(_TEXTS)), rng.choice((rng.choice(ODD), nested(rng)))))
    elif kind == 7:
        pairs[place] = (_escaped(rng, key), literal)
    elif kind == 8:
        pairs[place] = (
            key,
            mutated(rng, literal.encode("utf-8", "surrogateescape"), most=1).decode("utf-8", "surrogateescape"),
        )
    else:
        pairs[:] = rng.sample(pairs, len(pairs))


def _escaped(rng: random.Random, literal: str) -> str:
    """A string literal with some characters written as \\uXXXX; its meaning is the same."""
    if not literal.startswith('"') or "\\" in literal or not literal.isascii():
        return literal
    body = "".join(f"\\u{ord(char):04x}" if rng.random() < 0.2 else char for char in literal[1:-1])
    return f'"{body}"'


def nested(rng: random.Random) -> str:
    """Arrays and objects within each other: some levels, around the limit, or 10,000; closed or not."""
    levels = rng.choice((1, 3, 10, 253, 254, 255, 256, 257, 600) if rng.random() < 0.98 else (10_000, 100_000))
    opening, closing = rng.choice((("[", "]"), ('{"a":', "}"), ('[{"]":', "}]")))
    return opening * levels + rng.choice(("1", "[]", '"]"')) + closing * rng.choice((levels, levels, levels - 1))


def _rendered(rng: random.Random, pairs: Pairs) -> bytes:
    if rng.random() < 0.8:
        text = "{" + ",".join(f"{key}:{literal}" for key, literal in pairs) + "}"
    else:
        gap = rng.choice((" ", "\n", "\t", "\r\n ", "\u00a0", ""))
        text = f"{gap}{{{gap}" + f"{gap},{gap}".join(f"{k}{gap}:{gap}{v}" for k, v in pairs) + f"{gap}}}{gap}"
    value = text.encode("utf-8", "surrogateescape")
    return b"\xef\xbb\xbf" + value if rng.random() < 0.005 else value


def _huge(rng: random.Random) -> bytes:
    """Records around and above the limit of 1 MiB, made of what is slow to read if it is read at all."""
    size = rng.choice((MIB - 3, MIB, MIB + 1, 2 * MIB, 2 * MIB, 20_000_000))
    piece = rng.choice(
        (b" ", b"[", b'{"a":', b'\\"', b'"', b"9", b"\xff", b"\xc3\xa9", b"1,", b'"a":1,', b"\x00", b"\\u0041")
    )
    body = piece * (size // len(piece))
    return (
        rng.choice((b"", b"[", b'{"event_id":"', b'{"user_id":', b'{"amount_usd":"', b'{"x":'))
        + body
        + rng.choice((b"", b'"}', b"}"))
    )
