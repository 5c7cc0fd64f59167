"""Whether silver says of each record what the windows' decoder says: the same verdict, the same values."""

from __future__ import annotations

import uuid
from collections import Counter
from typing import Any, Final

from schemas.events import BILLING_KINDS, OPS_KINDS, STATUSES
from schemas.topics import BILLING_EVENTS, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from streamproc.decode import Decoded, decode_batch
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.sinks.support import batch, bronze_sink

TABLES: Final = {
    USER_EVENTS: "silver.user_activity",
    VIDEO_STATUS: "silver.video_status",
    COST_EVENTS: "silver.cost_events",
    OPS_EVENTS: "silver.ops_events",
    BILLING_EVENTS: "silver.billing",
}

#: Columns of `Decoded` as silver has them. NULL is what decoding gives for an absent value.
_COLUMNS: Final = {
    USER_EVENTS: {
        "user_id": "user_id",
        "activity_type": "activity_type",
        "response_time_ms": "ifNull(response_time_ms, -1)",
    },
    VIDEO_STATUS: {
        "video_id": "video_id",
        "channel_id": "channel_id",
        "user_id": "user_id",
        "status": "status",
        "niche": "ifNull(niche, 'unknown')",
        "video_type": "ifNull(video_type, 'unknown')",
        "generation_e4": "if(status = 'completed', 10 * (toUnixTimestamp64Milli(assumeNotNull(completed_at))"
        " - toUnixTimestamp64Milli(requested_at)), 0)",
        "queue_e4": "if(status = 'started', 10 * (toUnixTimestamp64Milli(assumeNotNull(started_at))"
        " - toUnixTimestamp64Milli(requested_at)), 0)",
    },
    COST_EVENTS: {
        "video_id": "ifNull(video_id, 0)",
        "has_video": "isNotNull(video_id)",
        "component": "component",
        "amount_e4": "amount_e4",
    },
    OPS_EVENTS: {
        "kind": "kind",
        "service": "service",
        "ok": "ifNull(ok, false)",
        "response_time_ms": "if(kind = 'api_request', ifNull(response_time_ms, -1), -1)",
        "latency_ms": "ifNull(latency_ms, -1)",
        "queue": "ifNull(queue, 'unknown')",
        "provider": "ifNull(provider, 'unknown')",
        "queue_e4": "if(kind = 'queue', 10 * (toUnixTimestamp64Milli(assumeNotNull(processing_start))"
        " - toUnixTimestamp64Milli(assumeNotNull(queued_at))), 0)",
    },
    BILLING_EVENTS: {
        "kind": "kind",
        "user_id": "user_id",
        "subscription_id": "subscription_id",
        "mrr_e4": "ifNull(mrr_e4, 0)",
        "amount_e4": "ifNull(amount_e4, 0)",
    },
}
_HEAD: Final = {
    "event_id_hi": "toString(event_id)",
    "occurred_at_ms": "toUnixTimestamp64Milli(occurred_at)",
}

Row = tuple[Any, ...]


def expected(topic: str, values: list[bytes | None], decoded: Decoded | None = None) -> dict[int, Row]:
    """Position -> (event_id, epoch ms, the topic's columns) of each valid record."""
    found = decode_batch(topic, values) if decoded is None else decoded
    lists = {name: column if isinstance(column, list) else column.tolist() for name, column in found.columns.items()}
    for name, words in (
        ("status", STATUSES),
        ("kind", {OPS_EVENTS: OPS_KINDS, BILLING_EVENTS: BILLING_KINDS}.get(topic)),
    ):
        if name in lists and words is not None:
            lists[name] = [words[code] for code in lists[name]]
    halves = zip(lists["event_id_hi"], lists["event_id_lo"], strict=True)
    ids = [str(uuid.UUID(int=high << 64 | low)) for high, low in halves]
    columns = [ids, lists["occurred_at_ms"], *(lists[name] for name in _COLUMNS[topic])]
    return dict(zip(found.ok.tolist(), zip(*columns, strict=True), strict=True))


async def stored(clickhouse: ClickHouse, log_id: str, topic: str, values: list[bytes | None]) -> dict[int, Row]:
    """The same of what silver makes of these records, as the archive writes them (errors included)."""
    errors = [""] * len(values)
    for position, reason, text in decode_batch(topic, values).dead:
        errors[position] = f"{reason}: {text}"
    payloads = [value or b"" for value in values]
    await bronze_sink(clickhouse).write([batch(log_id, list(range(len(values))), payloads, topic, tuple(errors))])
    columns = ", ".join((*_HEAD.values(), *_COLUMNS[topic].values()))
    rows = await clickhouse.rows(
        f"SELECT offset, {columns} FROM {TABLES[topic]} WHERE log_id = '{log_id}' ORDER BY offset"
    )
    return {row[0]: row[1:] for row in rows}


def differing(wanted: dict[int, Row], found: dict[int, Row]) -> dict[int, str]:
    """Position -> what is different, in words. Ids that came twice are left out: silver may have merged them already."""
    times = Counter(row[0] for row in wanted.values())
    wrong = {}
    for position in sorted(wanted.keys() | found.keys()):
        seen = wanted.get(position) or found[position]
        if wanted.get(position) != found.get(position) and times[seen[0]] < 2:
            wrong[position] = f"windows have {wanted.get(position)}, silver has {found.get(position)}"
    return wrong
