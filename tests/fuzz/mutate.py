"""Mutations of bytes: flips, cuts, repeats, foreign pieces, and what is known to hurt readers of text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

MIB: Final = 1 << 20

#: Pieces that readers of text and numbers have fallen over elsewhere.
NASTY: Final[tuple[bytes, ...]] = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b"\x80",
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x80\xa8",
    b"\xf0\x9f\x98\x80",
    "\u0301\u202e\u0660".encode(),
    b"\\u0000",
    b"\\ud800",
    b"\\udc00\\ud800",
    b"NaN",
    b"-Infinity",
    b"1e400",
    b"1e-400",
    b"-0",
    b"9223372036854775807",
    b"9223372036854775808",
    b"-9223372036854775809",
    b"18446744073709551616",
    b"1" + b"0" * 400,
    b"9" * 5000,
    b"0x1f",
    b"1_000",
    b"+1",
    b".5",
    b"\r\n",
    b"\x0b\x0c",
    b"'",
    b'"',
    b"`",
    b"\\",
    b"//",
    b"/*",
    b"--",
    b";",
    b"$$",
    b"%s%n{}{0}",
    b"\x1b[31m",
    b"",
)


def mutated(rng: random.Random, value: bytes, others: Sequence[bytes] = (), most: int = 4) -> bytes:
    """`value` after one to `most` small changes; `others` are what pieces are taken from."""
    for _ in range(rng.randint(1, most)):
        value = _changed(rng, value, others)
    return value


def _changed(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    at = rng.randint(0, len(value))
    end = min(len(value), at + rng.choice((1, 1, 1, 2, 4, 16, 200)))
    kind = rng.randrange(9)
    if kind == 0 and at < len(value):
        return value[:at] + bytes((value[at] ^ 1 << rng.randrange(8),)) + value[at + 1 :]
    if kind == 1:
        return value[:at] + rng.randbytes(rng.randint(1, 6)) + value[end:]
    if kind == 2:
        return value[:at] + rng.choice(NASTY) + value[rng.choice((at, end)) :]
    if kind == 3:
        return value[:at] + value[end:]
    if kind == 4:
        return value[:end] + value[at:end] * rng.choice((1, 1, 2, 30)) + value[end:]
    if kind == 5:
        return value[:at] if rng.random() < 0.5 else value[at:]
    if kind == 6 and others:
        other = rng.choice(others)
        start = rng.randint(0, len(other))
        return value[:at] + other[start : start + rng.randint(1, 40)] + value[at:]
    if kind == 7 and others:
        other = rng.choice(others)
        return value[:at] + other[rng.randint(0, len(other)) :]
    return value[:at] + bytes((rng.choice(b' \t\r\n"\\{}[](),:;.-+eE0123456789nulltrue'),)) + value[at:]
