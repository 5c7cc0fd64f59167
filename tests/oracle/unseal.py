"""Reads what the service has sealed, with the master key of STREAMPROC_MASTER_KEY and keys by plain SQL; nothing of the service."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

_TOKEN: Final = re.compile(rb"sealed:1:(-?\d+):([0-9a-f]{8}):([A-Za-z0-9_-]+)")
_QUOTED: Final = re.compile(rb'"(' + _TOKEN.pattern + rb')"')
_RECORD: Final = re.compile(rb'(?:\{"event_id":"[^"]*","sealed":")?(' + _TOKEN.pattern + rb')(?:"\})?')
_FIELDS: Final = (b"email", b"username", b"ip_address")


class Unsealer:
    """`rows` runs a SELECT. Keys that come later are looked up again."""

    def __init__(self, rows: Callable[[str], Iterable[Sequence[Any]]]) -> None:
        self._rows = rows
        self._ciphers: dict[tuple[int, str], AESGCM] = {}

    def _load(self) -> None:
        master = AESGCM(base64.b64decode(os.environ["STREAMPROC_MASTER_KEY"]))
        for user, key_id, wrapped in self._rows("SELECT user_id, key_id, wrapped FROM keys.user_keys"):
            raw = base64.b64decode(wrapped)
            secret = master.decrypt(raw[:12], raw[12:], f"{user}:{key_id}".encode())
            expanded = HKDFExpand(hashes.SHA256(), 64, b"streamproc sealed 1").derive(secret)
            self._ciphers[int(user), key_id] = AESGCM(expanded[:32])

    def _plain(self, token: bytes, fields: Sequence[bytes]) -> bytes | None:
        """What a token of one of these fields holds; None if it is of none of them, or of nobody's key."""
        found = _TOKEN.fullmatch(token)
        if found is None:
            return None
        name = int(found[1]), found[2].decode()
        if name not in self._ciphers:
            self._load()
        raw = base64.urlsafe_b64decode(found[3] + b"=" * (-len(found[3]) % 4))
        for field in fields if name in self._ciphers else ():
            try:
                return self._ciphers[name].decrypt(raw[:12], raw[12:], b"%d\0%s" % (name[0], field))
            except InvalidTag:
                continue
        return None

    def record(self, payload: bytes) -> bytes:
        """A record's bytes as they came."""
        whole = _RECORD.fullmatch(payload)
        if whole is not None:
            plain = self._plain(whole[1], (b"payload",))
            return payload if plain is None else plain

        def clear(found: re.Match[bytes]) -> bytes:
            plain = self._plain(found[1], _FIELDS)
            if plain is None:
                return found[0]
            return b'"%s"' % plain[1:] if plain[:1] == b"t" else plain[1:]

        return _QUOTED.sub(clear, payload)

    def text(self, value: str | None, field: str) -> str | None:
        """A column's value; what is not sealed, or cannot be read, stays as it is."""
        plain = None if value is None else self._plain(value.encode("utf-8", "surrogatepass"), (field.encode(),))
        if plain is None:
            return value
        return plain[1:].decode() if plain[:1] == b"t" else str(json.loads(plain[1:]))
