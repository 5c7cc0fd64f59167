"""Setting fields of a JSON object while every other field keeps its text, to the last digit."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import orjson


def with_fields(text: bytes, changes: Mapping[str, Any]) -> bytes | None:
    """The object with `changes` set; None if the text is no JSON object, or one that is nested too deeply to be read.

    Read and written again, an integer of 20 digits would come back as 1.2345678901234568e+19.

    Raises:
        TypeError: a change cannot be written as JSON.
    """
    try:
        if not isinstance(orjson.loads(text), dict):
            return None
        fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (orjson.JSONDecodeError, msgspec.DecodeError, RecursionError):
        return None
    fields |= {name: msgspec.Raw(orjson.dumps(value)) for name, value in changes.items()}
    return msgspec.json.encode(fields)
