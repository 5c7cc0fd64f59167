"""The Kafka key of a record as contracts name it: what has one id goes to one partition, where the rules of windows hold."""

from __future__ import annotations

from typing import Any, Final

from schemas.topics import CHANGES, COST_EVENTS, SOURCES

OVERHEAD_KEY: Final = b"overhead"


def key_for(topic: str, event: object) -> bytes | None:
    """The key of a decoded event: decimal text of the id, the service's name, `overhead` for a cost of no single video; None
    if the event does not say.

    Raises:
        KeyError: no event stream.
    """
    if not isinstance(event, dict):
        return None
    name = SOURCES[topic].key
    found = event.get(name)
    # Only a service is named by a text: an id in quotes, or a number as a service, is malformed wherever it lies.
    if name == "service":
        return found.encode("utf-8", "replace") if isinstance(found, str) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found).encode()
    return OVERHEAD_KEY if topic == COST_EVENTS and found is None else None


def change_key(topic: str, envelope: object) -> bytes | None:
    """The key of a decoded change as Debezium writes it without a schema part: `{"id":7}`; None if no row of it has an id.

    Raises:
        KeyError: no topic of changes.
    """
    name = CHANGES[topic].key
    body: Any = envelope.get("payload", envelope) if isinstance(envelope, dict) else None
    if not isinstance(body, dict):
        return None
    for side in ("after", "before"):
        row = body.get(side)
        found = row.get(name) if isinstance(row, dict) else None
        if isinstance(found, int) and not isinstance(found, bool):
            return f'{{"{name}":{found}}}'.encode()
    return None
