"""Sealing in the bytes of a record: the values of personal fields become tokens, all other bytes stay as they came.

What is sealed says how it stood there, so that the very bytes come back: `t` and the text itself where it needed no escapes,
`j` and the JSON text otherwise (escapes, numbers, objects).
"""

from __future__ import annotations

import re
from typing import Final

from schemas.personal import FIELDS
from streamproc.personal.keys import ERASED, Unsealable, UserKey, sealed_length
from streamproc.personal.values import find_values

TEXT: Final = b"t"
JSON: Final = b"j"
#: The field by whose name whole records are sealed.
WHOLE: Final = b"payload"

_NAMES: Final = tuple(f'"{field}"'.encode() for field in FIELDS)
_EVENT_ID: Final = re.compile(rb'"event_id"\s*:\s*"([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})"')
_SEALED_WHOLE: Final = re.compile(
    rb'(?:\{"event_id":"[0-9a-fA-F-]{36}","sealed":")?(sealed:1:-?\d{1,19}:[0-9a-f]{8}:([A-Za-z0-9_-]+)|erased)(?:"\})?'
)
#: At most about 15 MB: nobody bounds what a producer puts into a field.
_REMEMBERED: Final = 20_000
_LONGEST_REMEMBERED: Final = 256


def may_hold_values(payload: bytes) -> bool:
    """False only if no personal field is in these bytes, however its name is written."""
    return b"\\" in payload or any(name in payload for name in _NAMES)


def sealed_whole(payload: bytes) -> bytes | None:
    """The token that stands for a whole record, None if this is none; `erased` is one too."""
    found = _SEALED_WHOLE.fullmatch(payload)
    return found.group(1) if found else None


class Sealer:
    """Makes tokens, and remembers the last ones: most values of a user come again and again."""

    def __init__(self, remembered: int = _REMEMBERED) -> None:
        self._remembered = remembered
        self._tokens: dict[tuple[UserKey, bytes, bytes], bytes] = {}

    def forget(self) -> None:
        """Let go of all values that were sealed."""
        self._tokens.clear()

    def _token(self, key: UserKey | None, field: bytes, plain: bytes) -> bytes:
        if key is None:
            return ERASED.encode()
        if len(plain) > _LONGEST_REMEMBERED:
            return key.seal(field, plain)
        name = (key, field, plain)
        token = self._tokens.get(name)
        if token is None:
            token = key.seal(field, plain)
            if len(self._tokens) >= self._remembered:
                self._tokens.clear()
            self._tokens[name] = token
        return token

    def fields(self, payload: bytes, key: UserKey | None) -> bytes:
        """A JSON record with the values of its personal fields sealed by its user's key (None: the user was erased)."""
        parts: list[bytes] = []
        at = 0
        for field, start, end in find_values(payload, FIELDS):
            raw = payload[start:end]
            plain = TEXT + raw[1:-1] if raw[:1] == b'"' and b"\\" not in raw else JSON + raw
            parts += (payload[at:start], b'"', self._token(key, field, plain), b'"')
            at = end
        if not parts:
            return payload
        parts.append(payload[at:])
        return b"".join(parts)

    def whole(self, payload: bytes, key: UserKey | None) -> bytes:
        """A record of which nothing is to be seen but its event_id, by which people look for it. Nothing stays nothing."""
        if not payload:
            return payload
        token = ERASED.encode() if key is None else key.seal(WHOLE, payload)
        found = _EVENT_ID.search(payload)
        return b'{"event_id":"%s","sealed":"%s"}' % (found.group(1), token) if found else token

    def text(self, value: str, field: str, key: UserKey | None) -> str:
        """A value outside JSON: the token that the same text has within it, if it needs no escapes there."""
        return self._token(key, field.encode(), TEXT + value.encode("utf-8", "surrogatepass")).decode()


def _blanked(payload: bytes) -> bytes:
    parts: list[bytes] = []
    at = 0
    for _, start, end in find_values(payload, FIELDS):
        parts.append(payload[at:start])
        at = end
    parts.append(payload[at:])
    return b"*".join(parts)


def alike(stored: bytes, came: bytes) -> bool:
    """Whether what is stored can be this record, sealed by whatever key or not at all; keys may be destroyed, so personal
    values are not compared, and of a record sealed whole only its length is."""
    if stored == came:
        return True
    token = sealed_whole(stored)
    if token == ERASED.encode():
        return True
    if token is not None:
        try:
            return sealed_length(token[token.rindex(b":") + 1 :]) == len(came)
        except Unsealable:
            return False
    return _blanked(stored) == _blanked(came)
