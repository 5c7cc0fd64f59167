"""From files to silver: every valid event once, the first in log order, as tuples of what the warehouse needs of it."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from tests.warehouse.valid import Fields, judge

EVENT_TOPICS: Final = ("user-events", "video-status", "cost-events", "ops-events", "billing-events")
AHEAD_MS: Final = 300_000


class UserEvent(NamedTuple):
    event_id: str
    at: int
    log_ms: int
    user_id: int
    activity_type: str
    resource_type: str | None
    resource_id: int | None
    session_id: str | None
    ip_address: str | None
    user_agent: str | None
    response_time_ms: int | None


class VideoStatus(NamedTuple):
    event_id: str
    at: int
    log_ms: int
    video_id: int
    status: str
    fields: Fields


class Cost(NamedTuple):
    event_id: str
    at: int
    log_ms: int
    video_id: int | None
    user_id: int | None
    component: str
    amount: int


class Ops(NamedTuple):
    event_id: str
    at: int
    log_ms: int
    service: str
    kind: str
    fields: Fields


class Billing(NamedTuple):
    event_id: str
    at: int
    log_ms: int
    user_id: int
    kind: str
    subscription_id: str
    mrr: int | None
    amount: int | None


@dataclass
class Silver:
    """The winners of each topic in log order, and how many records were refused or came again (by topic and word)."""

    users: list[UserEvent] = field(default_factory=list)
    videos: list[VideoStatus] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    ops: list[Ops] = field(default_factory=list)
    billing: list[Billing] = field(default_factory=list)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)

    def of(self, topic: str) -> list[Any]:
        """Its winners."""
        lists: dict[str, list[Any]] = {
            "user-events": self.users,
            "video-status": self.videos,
            "cost-events": self.costs,
            "ops-events": self.ops,
            "billing-events": self.billing,
        }
        return lists[topic]


#: Few texts and numbers occur often; each is kept once.
_known: dict[Any, Any] = {}


def _same(value: Any) -> Any:
    return _known.setdefault(value, value)


def _row(topic: str, f: Fields, log_ms: int) -> Any:
    head = f["event_id"], f["occurred_at"], log_ms
    if topic == "user-events":
        return UserEvent(
            *head,
            _same(f["user_id"]),
            _same(f["activity_type"]),
            _same(f.get("resource_type")),
            _same(f.get("resource_id")),
            _same(f.get("session_id")),
            _same(f.get("ip_address")),
            _same(f.get("user_agent")),
            _same(f.get("response_time_ms")),
        )
    if topic == "video-status":
        return VideoStatus(*head, f["video_id"], f["status"], f)
    if topic == "cost-events":
        return Cost(*head, f.get("video_id"), f.get("user_id"), _same(f["component"]), f["amount_usd"])
    if topic == "ops-events":
        return Ops(*head, _same(f["service"]), _same(f["kind"]), f)
    return Billing(*head, f["user_id"], f["kind"], f["subscription_id"], f.get("mrr_usd"), f.get("amount_usd"))


def records(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """(Kafka's timestamp in ms, value) of each record of a file in log order."""
    with path.open("rb", buffering=1 << 20) as lines:
        for line in lines:
            record = orjson.loads(line)
            if "value_b64" in record:
                yield record["ts"], base64.b64decode(record["value_b64"])
            else:
                value = record["value"]
                yield record["ts"], None if value is None else value.encode()


def read_silver(directory: Path) -> Silver:
    """Silver of all event topics; a file that is not there has no records."""
    silver = Silver()
    for topic in EVENT_TOPICS:
        path = directory / f"{topic}.ndjson"
        if path.exists():
            _read_topic(silver, topic, path)
    _known.clear()
    return silver


def _read_topic(silver: Silver, topic: str, path: Path) -> None:
    """Timestamps do not decrease in a file, so log time is the same however the keys fall on partitions."""
    rows, seen, log_ms = silver.of(topic), set[bytes](), 0
    for ts, value in records(path):
        if ts < log_ms:
            raise ValueError(f"{path.name}: timestamps go back from {log_ms} to {ts}")
        log_ms = ts
        reason, fields = judge(topic, value)
        if not reason and fields["occurred_at"] > log_ms + AHEAD_MS:
            reason = "future_event"
        if not reason:
            event_id = bytes.fromhex(fields["event_id"].replace("-", ""))
            reason = "duplicate" if event_id in seen else ""
            seen.add(event_id)
        silver.counts[topic, reason or "valid"] += 1
        if not reason:
            rows.append(_row(topic, fields, log_ms))
