"""Reading what was sealed: which keys a text needs, and the text with them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final, NamedTuple

from schemas.personal import FIELDS
from streamproc.personal.keys import Unsealable, UserKey
from streamproc.personal.payload import JSON, TEXT, WHOLE, sealed_whole
from streamproc.personal.values import find_values

_TOKEN: Final = re.compile(rb"sealed:1:(-?\d{1,19}):([0-9a-f]{8}):[A-Za-z0-9_-]+")


class Named(NamedTuple):
    """Which key: its owner and id."""

    owner: int
    key_id: str


Keys = Mapping[Named, UserKey]


def keys_in(payload: bytes) -> set[Named]:
    """The keys that the tokens in a text name."""
    return {Named(int(owner), key_id.decode()) for owner, key_id in _TOKEN.findall(payload)}


def _named(token: bytes) -> Named | None:
    found = _TOKEN.fullmatch(token)
    return Named(int(found.group(1)), found.group(2).decode()) if found else None


def unseal_payload(payload: bytes, keys: Keys) -> bytes:
    """A record as it came. Tokens whose key is not there (destroyed) stay, as does what only looks like a token.

    Raises:
        Unsealable: a token was changed.
    """
    whole = sealed_whole(payload)
    if whole is not None:
        key = keys.get(_named(whole) or Named(0, ""))
        return payload if key is None else key.unseal(WHOLE, whole)
    parts: list[bytes] = []
    at = 0
    for field, start, end in find_values(payload, FIELDS):
        token = payload[start + 1 : end - 1]
        named = _named(token)
        key = keys.get(named) if named else None
        if key is not None:
            plain = key.unseal(field, token)
            parts += (payload[at:start], _as_it_stood(plain))
            at = end
    parts.append(payload[at:])
    return b"".join(parts)


def _as_it_stood(plain: bytes) -> bytes:
    if plain[:1] == TEXT:
        return b'"%s"' % plain[1:]
    if plain[:1] == JSON:
        return plain[1:]
    raise Unsealable("sealed in a way that is not known")


def unseal_text(value: str, field: str, keys: Keys) -> str:
    """A value of a column of silver or gold in clear: what is no token, or has no key any more, stays as it is.

    Raises:
        Unsealable: a token was changed.
    """
    token = value.encode("utf-8", "surrogatepass")
    named = _named(token)
    key = keys.get(named) if named else None
    if key is None:
        return value
    plain = key.unseal(field.encode(), token)
    if plain[:1] == TEXT:
        return plain[1:].decode("utf-8", "surrogatepass")
    meaning = json.loads(_as_it_stood(plain))
    return meaning if isinstance(meaning, str) else json.dumps(meaning)
