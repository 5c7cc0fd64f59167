"""Entries of a Redis Stream as Kafka messages: which bytes are the event, and under which key they go."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import orjson
from msgspec import inspect

from schemas.events import STRUCTS
from schemas.keys import change_key, key_for
from schemas.outcomes import MAX_EVENT_BYTES
from schemas.topics import CHANGES

KEY_FIELD: Final = b"key"
#: Fields that hold the event's bytes; the first one that is there counts.
VALUE_FIELDS: Final = (b"value", b"payload")

_INTEGER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEAN: Final = re.compile(rb"true|false")
_LITERALS: Final = {inspect.IntType: _INTEGER, inspect.FloatType: _NUMBER, inspect.BoolType: _BOOLEAN}


class EntryMessage(NamedTuple):
    """What is sent to Kafka; `key` is None where nothing says it."""

    key: bytes | None
    value: bytes


def read_entry(topic: str, fields: Sequence[tuple[bytes, bytes]]) -> EntryMessage:
    """The message of one entry for a contract topic; of a repeated field the last one counts.

    The field `value` (or `payload`) goes as it is, whatever is in it: whoever reads the topic judges it. Without one, the
    fields are the event's own, and become a JSON object: no entry is too strange to be sent, and looked at there.

    Raises:
        KeyError: neither an event stream nor a topic of changes.
    """
    by_name = dict(fields)
    value = next((by_name[name] for name in VALUE_FIELDS if name in by_name), None)
    if value is None:
        value = _object(topic, [(name, text) for name, text in fields if name != KEY_FIELD])
    return EntryMessage(by_name.get(KEY_FIELD) or _derived(topic, value), value)


def _derived(topic: str, value: bytes) -> bytes | None:
    if len(value) > MAX_EVENT_BYTES:
        # Refused by all readers: not worth an object of many times its size.
        return None
    try:
        event = orjson.loads(value)
    except orjson.JSONDecodeError:
        return None
    return change_key(topic, event) if topic in CHANGES else key_for(topic, event)


def _literals(topic: str) -> dict[bytes, re.Pattern[bytes]]:
    """Fields of a topic's events that are no JSON text, and how such a value looks."""
    found: dict[bytes, re.Pattern[bytes]] = {}
    for field in msgspec.structs.fields(STRUCTS[topic]):
        kind = inspect.type_info(field.type)
        for each in kind.types if isinstance(kind, inspect.UnionType) else (kind,):
            if type(each) in _LITERALS:
                found[field.encode_name.encode()] = _LITERALS[type(each)]
    return found


_FIELDS: Final = {topic: _literals(topic) for topic in STRUCTS}


def _object(topic: str, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A JSON object of texts, but for numbers and booleans where the topic's events have them: Redis knows texts only."""
    literals = _FIELDS.get(topic, {})
    parts = []
    for name, text in fields:
        form = literals.get(name)
        parts.append(_text(name) + b":" + (text if form is not None and form.fullmatch(text) else _text(text)))
    return b"{" + b",".join(parts) + b"}"


def _text(raw: bytes) -> bytes:
    """Bytes as a JSON text. Those that are no UTF-8 stay as they are, so that the dead letter shows them."""
    return json.dumps(raw.decode("utf-8", "surrogateescape"), ensure_ascii=False).encode("utf-8", "surrogateescape")
