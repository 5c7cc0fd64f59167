"""Where the values of named fields lie in the bytes of a JSON text, at any depth, however their keys are written."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from typing import Final, NamedTuple

# The closing quote may be missing at the end of bytes that are no JSON: every search takes linear time. Nothing possessive or
# atomic here: Python 3.11 before 3.11.5 matches groups within them wrongly, and values stayed in clear.
_STRING: Final = rb'"[^"\\]*(?:\\.[^"\\]*)*"?'
_TOKEN: Final = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_TEXT: Final = re.compile(_STRING, re.DOTALL)
_SCALAR: Final = re.compile(rb"[^,\]}\s]*")


class Value(NamedTuple):
    """A value that is not null: its field, and where its JSON text begins and ends (with its quotes)."""

    field: bytes
    start: int
    end: int


@cache
def _plain_key(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(b'"(' + _one_of(fields) + rb')"\s*:\s*')


@cache
def _any_key(fields: tuple[str, ...]) -> re.Pattern[bytes]:
    """From outside a string the next one: a key that is one of these (group 1), one with escapes (group 2), or any other."""
    key = b'"(?:(' + _one_of(fields) + rb')|([^"\\]*(?:\\.[^"\\]*)+))"\s*:\s*'
    return re.compile(key + b"|" + _STRING, re.DOTALL)


def _one_of(fields: tuple[str, ...]) -> bytes:
    return b"|".join(re.escape(field.encode()) for field in fields)


@cache
def _names(fields: tuple[str, ...]) -> frozenset[bytes]:
    return frozenset(field.encode() for field in fields)


def find_values(payload: bytes, fields: tuple[str, ...]) -> Iterator[Value]:
    """The outermost values of these fields in order. Exact for JSON; of other bytes whatever looks like it."""
    if b"\\" in payload:
        return _walk(payload, _any_key(fields), _names(fields))
    return _search(payload, _plain_key(fields))


def _search(payload: bytes, key: re.Pattern[bytes]) -> Iterator[Value]:
    """Without a backslash every quote begins or ends a string, so that a quoted name before a colon is a key."""
    found = key.search(payload)
    while found:
        start = found.end()
        if payload[start : start + 1] == b'"':
            end = payload.find(b'"', start + 1) + 1 or len(payload)
        else:
            end = _end(payload, start)
        if payload[start:end] != b"null":
            yield Value(found.group(1), start, end)
        found = key.search(payload, end)


def _walk(payload: bytes, key: re.Pattern[bytes], names: frozenset[bytes]) -> Iterator[Value]:
    found = key.search(payload)
    while found:
        end = found.end()
        name = found.group(1) or (_unescaped(found.group(2)) if found.group(2) is not None else b"")
        if name in names:
            start, end = end, _end(payload, end)
            if payload[start:end] != b"null":
                yield Value(name, start, end)
        found = key.search(payload, end)


def _unescaped(raw: bytes) -> bytes:
    try:
        return str(json.loads(b'"%s"' % raw)).encode("utf-8", "surrogatepass")
    except ValueError:
        return raw


def _end(payload: bytes, start: int) -> int:
    """Where the value ends that begins here."""
    if payload[start : start + 1] not in (b"{", b"["):
        found = (_TEXT if payload[start : start + 1] == b'"' else _SCALAR).match(payload, start)
        return found.end() if found else start
    depth = 0
    for token in _TOKEN.finditer(payload, start):
        first = token.group()[:1]
        if first in (b"{", b"["):
            depth += 1
        elif first in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    return len(payload)
