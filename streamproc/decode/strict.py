"""Limits that the JSON decoder does not hold by itself: size, nesting, and UTF-8 in what it skips."""

from __future__ import annotations

import re
from typing import Final

from schemas.outcomes import MAX_EVENT_BYTES

#: Deepest nesting of arrays and objects. Fixed, for the decoder's own limit moves with the caller's stack.
MAX_DEPTH: Final = 256
#: No valid JSON of this length is nested deeper than MAX_DEPTH (each level takes two bytes).
SHALLOW_BYTES: Final = 2 * MAX_DEPTH + 1

# An unclosed string runs to the end; possessive repeats keep this linear on hostile input.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)', re.DOTALL)
_NOT_BRACKET = re.compile(rb"[^\[\]{}]++")
_STEP: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def too_deep(value: bytes) -> bool:
    """True if arrays and objects in the JSON text are nested deeper than MAX_DEPTH."""
    if len(value) <= SHALLOW_BYTES or value.count(b"[") + value.count(b"{") <= MAX_DEPTH:
        return False
    depth = 0
    for byte in _NOT_BRACKET.sub(b"", _STRING.sub(b"", value)):
        depth += _STEP[byte]
        if depth > MAX_DEPTH:
            return True
    return False


def utf8_problem(value: bytes) -> str:
    """Where a text stops being UTF-8, or '' if it is UTF-8."""
    if value.isascii():
        return ""
    try:
        value.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason} (byte {error.start})"
    return ""


def refused_before_parsing(values: list[bytes]) -> set[int]:
    """Positions of values that are too large, nested too deeply, or not UTF-8."""
    refused: set[int] = set()
    if max(map(len, values)) > SHALLOW_BYTES:
        refused.update(
            position
            for position, value in enumerate(values)
            if len(value) > SHALLOW_BYTES and (len(value) > MAX_EVENT_BYTES or too_deep(value))
        )
    if not all(map(bytes.isascii, values)):
        refused.update(position for position, value in enumerate(values) if utf8_problem(value))
    return refused
