"""Recorded messages as files: one a mode, one JSON object a line with topic, key and value as they came."""

from __future__ import annotations

import datetime
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from schemas.changes import ROW_OPS, ROWS
from schemas.topics import CDC_USERS
from streamproc.decode.changes import Change, decode_change

SAMPLES: Final = Path(__file__).parent / "samples"


class Message(NamedTuple):
    """One message of one connector; `key` and `value` are the texts that came, None for null."""

    mode: str
    topic: str
    key: str | None
    value: str | None


def by_mode(messages: Sequence[Message]) -> dict[str, list[Message]]:
    """The messages of each mode."""
    found: dict[str, list[Message]] = {}
    for each in messages:
        found.setdefault(each.mode, []).append(each)
    return found


def save(messages: Sequence[Message], held: str) -> None:
    """Write a file a mode, and what the tables held. All of a mode is kept only where the times' mode is the default; of the
    other times' modes one record of each kind, and they are kept for one decimals' mode: they do not depend on it."""
    SAMPLES.mkdir(exist_ok=True)
    for mode, of_mode in by_mode(messages).items():
        decimals, _, times = mode.split("-")
        if times != "adaptive" and decimals != "string":
            continue
        kept: Counter[tuple[str, str]] = Counter()
        lines = []
        for each in of_mode:
            kind = each.topic, operation(each)
            most = (
                100
                if each.topic in ROWS and times == "adaptive"
                else 1
                if each.topic in ROWS or times == "adaptive"
                else 0
            )
            if each.topic != "cdc.app.signals" and kept[kind] < most:
                kept[kind] += 1
                lines.append(json.dumps({"topic": each.topic, "key": each.key, "value": each.value}))
        (SAMPLES / f"{mode}.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (SAMPLES / "tables.json").write_text(held, encoding="utf-8")


def operation(message: Message) -> str:
    """The operation, or what else the record is."""
    value = json.loads(message.value or "null")
    payload = value.get("payload", value) if value else None
    return "tombstone" if payload is None else str(payload.get("op") or payload.get("status") or "heartbeat")


def _position(message: Message) -> int:
    value = json.loads(message.value or "null")
    return int(value.get("payload", value)["source"]["lsn"])


def newest(changes: Iterable[Change], emptied: int = -1) -> dict[int, Change]:
    """The rows that are left, by id: for each its change of the highest position, if the table was not `emptied` behind it."""
    last: dict[int, Change] = {}
    for change in changes:
        if change.id not in last or change.position >= last[change.id].position:
            last[change.id] = change
    return {number: change for number, change in last.items() if not change.deleted and change.position > emptied}


def as_stored(topic: str, row: dict[str, Any]) -> tuple[Any, ...]:
    """A row of the database as text, in the values of `Change`: computed apart from the decoder."""
    values = []
    for field in ROWS[topic]:
        value = row[field.name]
        if value is not None and field.kind == "amount":
            value = int(Decimal(value).quantize(Decimal("0.0001"), ROUND_HALF_EVEN).scaleb(4))
        elif value is not None and field.kind == "time":
            moment = datetime.datetime.fromisoformat(value)
            moment = moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
            value = (moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(milliseconds=1)
        values.append(value)
    return tuple(values)


def problems(messages: Sequence[Message], held: str) -> list[str]:
    """What is wrong with how the messages of one mode are decoded: what is left must be what the tables held."""
    wrong = []
    # Connectors of the default times were started again.
    state = "restarted" if messages[0].mode.endswith("-adaptive") else "stopped"
    tables = json.loads(held, parse_float=Decimal)[state]
    changes: dict[str, list[Change]] = {topic: [] for topic in ROWS}
    emptied: dict[str, int] = {}
    unscaled = messages[0].mode.startswith("precise-plain")
    for each in messages:
        topic = each.topic if each.topic in ROWS else next(iter(ROWS))
        found = decode_change(topic, *(None if text is None else text.encode() for text in (each.key, each.value)))
        kind = operation(each)
        if each.topic in ROWS and isinstance(found, Change):
            changes[topic].append(found)
            wrong += [] if found.op == kind else [f"{each.topic} {kind}: {found}"]
        elif kind in ROW_OPS and each.topic in ROWS:
            expected = unscaled and isinstance(found, tuple) and "monthly_budget: not an amount" in found[1]
            wrong += [] if expected else [f"{each.topic} {kind}: {found}"]
        elif kind == "t":
            emptied[topic] = _position(each)
        elif found is not None and each.topic != "cdc.app.signals":
            wrong.append(f"{each.topic} {kind}: {found}")
    for topic, rows in changes.items():
        table = {row["id"]: as_stored(topic, row) for row in tables[topic.rpartition(".")[2]]}
        left = {number: change.values for number, change in newest(rows, emptied.get(topic, -1)).items()}
        if left != table and not (unscaled and topic == CDC_USERS):
            wrong.append(f"{topic}: {left} is left, and the table held {table}")
    return wrong


def load(mode: str) -> list[Message]:
    """The messages of one mode, in the order of arrival."""
    lines = (SAMPLES / f"{mode}.ndjson").read_text(encoding="utf-8").splitlines()
    return [Message(**json.loads(line) | {"mode": mode}) for line in lines]


def tables() -> str:
    """What the tables held when the connectors were stopped, as JSON."""
    return (SAMPLES / "tables.json").read_text(encoding="utf-8")


def modes() -> list[str]:
    """The modes that were recorded."""
    return sorted(path.stem for path in SAMPLES.glob("*.ndjson"))
