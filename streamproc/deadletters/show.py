"""Payloads for human eyes: pretty where they are JSON, with personal fields masked unless wanted."""

from __future__ import annotations

import re
from typing import Any, Final

import orjson

from streamproc.logs import redact

_PERSONAL: Final = frozenset({"email", "ip_address"})
_IP = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_MASK: Final = "***"
_SHOWN_BYTES: Final = 20_000


def mask(value: Any) -> Any:
    """A JSON value with the contents of email and ip_address fields replaced, at any depth."""
    if isinstance(value, dict):
        return {k: _MASK if k.lower() in _PERSONAL and v is not None else mask(v) for k, v in value.items()}
    return [mask(item) for item in value] if isinstance(value, list) else value


def readable(payload: bytes, *, raw: bool = False) -> str:
    """The payload as text: indented JSON, or what can be shown of other bytes (at most 20,000)."""
    if not raw:
        try:
            return orjson.dumps(mask(orjson.loads(payload)), option=orjson.OPT_INDENT_2).decode()
        except (orjson.JSONDecodeError, TypeError, RecursionError):
            pass  # no JSON, or nested too deeply: shown as text below
    text = payload[:_SHOWN_BYTES].decode(errors="backslashreplace")
    if len(payload) > _SHOWN_BYTES:
        text += f"\n... {len(payload) - _SHOWN_BYTES:,} more bytes"
    return text if raw else _IP.sub(_MASK, redact(text))
