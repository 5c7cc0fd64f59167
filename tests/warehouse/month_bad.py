"""Ways to break a valid event, each against one written rule, and only such that the contracts leave no doubt about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from tests.warehouse.month_write import Value

Breaker = Callable[[str], Value]
_GONE = object()


def _with(**fields: Any) -> Breaker:
    """Fields set to other values; _GONE takes them out."""

    def broken(value: str) -> Value:
        event = {name: field for name, field in orjson.loads(value).items() if fields.get(name) is not _GONE}
        event |= {name: field for name, field in fields.items() if field is not _GONE}
        return orjson.dumps(event, option=orjson.OPT_NON_STR_KEYS).decode()

    return broken


_ANY: dict[str, Breaker] = {
    "nothing": lambda _: "",
    "tombstone": lambda _: None,
    "cut off": lambda value: value[: len(value) // 2],
    "trailing text": lambda value: value + " x",
    "two documents": lambda value: value + "{}",
    "an array": lambda value: f"[{value}]",
    "a word": lambda _: "hello",
    "single quotes": lambda value: value.replace('"', "'"),
    "no UTF-8": lambda value: value[:-1].encode() + b',"note":"\xff\xfe"}',
    "raw newline in text": lambda value: value[:-1] + ',"note":"a\nb"}',
    "NaN": lambda value: value[:-1] + ',"extra":NaN}',
    "trailing comma": lambda value: value[:-1] + ",}",
    "unknown major version": _with(schema_version="2.0.0"),
    "no schema_version": _with(schema_version=_GONE),
    "schema_version is no semver": _with(schema_version="1.0"),
    "no event_id": _with(event_id=_GONE),
    "event_id is null": _with(event_id=None),
    "event_id without hyphens": _with(event_id="0123456789abcdef0123456789abcdef"),
    "occurred_at without offset": _with(occurred_at="2026-10-01T10:00:00"),
    "occurred_at with a space": _with(occurred_at="2026-10-01 10:00:00Z"),
    "occurred_at is no day": _with(occurred_at="2026-02-30T10:00:00Z"),
    "occurred_at is a number": _with(occurred_at=1_790_000_000_000),
}


def _of(kind: str, **fields: Any) -> Breaker:
    """An event of another kind of the topic with a fault; the fields that it has beside do not matter."""
    return _with(kind=kind, **fields)


_OF_TOPIC: dict[str, dict[str, Breaker]] = {
    "user-events": {
        "user_id as text": _with(user_id="12"),
        "user_id is a boolean": _with(user_id=True),
        "no activity_type": _with(activity_type=_GONE),
        "negative response time": _with(response_time_ms=-1),
        "response time with decimals": _with(response_time_ms=1.5),
        "session_id is no UUID": _with(session_id="abc"),
        "user_agent is a number": _with(user_agent=5),
    },
    "video-status": {
        "unknown status": _with(status="rendering"),
        "no video_id": _with(video_id=_GONE),
        "no requested_at": _with(requested_at=None),
        "started without its time": _with(status="started", started_at=_GONE),
        "completed without its time": _with(
            status="completed", started_at="2026-10-01T10:00:00Z", completed_at=None, published_at=None
        ),
        "published without its id": _with(
            status="published",
            started_at="2026-10-01T10:00:00Z",
            completed_at="2026-10-01T10:00:00Z",
            published_at="2026-10-01T10:00:00Z",
            youtube_video_id=_GONE,
        ),
        "quality_score above 1": _with(quality_score=1.5),
    },
    "cost-events": {
        "unknown component": _with(component="coffee"),
        "amount is a word": _with(amount_usd="much"),
        "amount with a sign of currency": _with(amount_usd="$1.00"),
        "amount is null": _with(amount_usd=None),
        "amount is a boolean": _with(amount_usd=True),
        "corrects is no UUID": _with(corrects="the last one"),
    },
    "ops-events": {
        "unknown kind": _with(kind="coffee"),
        "no service": _with(service=_GONE),
        "health without ok": _of("health", ok=_GONE, interval_s=60),
        "health with ok as text": _of("health", ok="yes", interval_s=60),
        "health without interval_s": _of("health", ok=True, interval_s=None),
        "queue without its time": _of("queue", queue="q", queued_at="2026-10-01T10:00:00Z", processing_start=_GONE),
        "queue with a bad time": _of("queue", queue="q", queued_at="soon", processing_start="2026-10-01T10:00:00Z"),
        "api_request below 0": _of("api_request", endpoint="/", http_status=200, response_time_ms=-1),
        "api_request without endpoint": _of("api_request", endpoint=_GONE, http_status=200, response_time_ms=1),
        "ai_call without ok": _of("ai_call", provider="p", model="m", latency_ms=5, ok=_GONE),
        "ai_call with latency as text": _of("ai_call", provider="p", model="m", latency_ms="5", ok=True),
    },
    "billing-events": {
        "unknown kind": _with(kind="gift"),
        "no subscription_id": _with(subscription_id=_GONE),
        "no started_at": _with(started_at=None),
        "started without mrr_usd": _of("subscription_started", mrr_usd=_GONE),
        "cancelled without mrr_usd": _of("subscription_cancelled", mrr_usd=None),
        "mrr_usd is a word": _of("subscription_changed", mrr_usd="free"),
        "payment without amount_usd": _of("payment", amount_usd=_GONE),
        "refund with amount as a boolean": _of("refund", amount_usd=True),
        "user_id as text": _with(user_id="12"),
    },
}


def breakers(topic: str) -> dict[str, Breaker]:
    """Every way to break an event of a topic, by its name; values in and out are JSON text (bytes: no UTF-8)."""
    return _ANY | _OF_TOPIC[topic]
