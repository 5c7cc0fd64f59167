"""Validity of one record by the written rules of contracts.md, on Python's own json: shares no code with the product.

A record becomes a flat row of columns, or a reason why it is none. Reasons that need the log (future_event) come later.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

Row = dict[str, Any]

MAX_BYTES: Final = 1024 * 1024
_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\Z", re.ASCII)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))\Z", re.ASCII)
_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(?:0|[1-9]\d*)\.(?:0|[1-9]\d*)(?:-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?\Z",
    re.ASCII,
)
_MONEY = re.compile(r"-?\d+(?:\.\d+)?\Z", re.ASCII)
_STATUSES = {"requested", "started", "completed", "failed", "published"}
_COMPONENTS = {"script", "voice", "image", "processing", "other"}


class Invalid(Exception):
    """The record breaks a written rule; its argument says which."""


def _reject_constant(name: str) -> Any:
    raise Invalid(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_float=Decimal, parse_constant=_reject_constant)


def _parse(value: bytes | None) -> Row:
    if value is None:
        raise Invalid("no value")
    try:
        parsed = _DECODER.decode(value.decode("utf-8", "strict"))
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise Invalid(str(error)) from None
    if type(parsed) is not dict:
        raise Invalid("no JSON object")
    return parsed


def time_ms(value: object) -> int:
    """RFC 3339 text as epoch ms, truncated."""
    match = _TIME.match(value) if type(value) is str else None
    if not match:
        raise Invalid("no RFC 3339 time")
    text, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime.fromisoformat(text + "+00:00")
    except ValueError as error:
        raise Invalid(str(error)) from None
    offset = 0
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise Invalid("offset out of range")
        offset = (int(hours) * 60 + int(minutes)) * (1 if sign == "+" else -1)
    ms = (int(moment.timestamp()) - offset * 60) * 1000 + int((fraction or "0").ljust(3, "0")[:3])
    if not 0 <= ms < datetime(2106, 1, 1, tzinfo=UTC).timestamp() * 1000:
        raise Invalid("not in the years 1970 to 2105")
    return ms


def _integer(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Invalid("no integer of 64 bits")
    return value


def _not_negative(value: object) -> int:
    if (number := _integer(value)) < 0:
        raise Invalid("below 0")
    return number


def _text(value: object) -> str:
    if type(value) is not str:
        raise Invalid("no text")
    return value


def _uuid(value: object) -> str:
    if not _UUID.match(_text(value)):
        raise Invalid("no UUID")
    return str(value).lower()


def _one_of(allowed: set[str]) -> Callable[[object], str]:
    def check(value: object) -> str:
        if _text(value) not in allowed:
            raise Invalid("not one of the allowed words")
        return str(value)

    return check


def _share(value: object) -> float:
    if type(value) not in (int, Decimal) or not 0 <= value <= 1:  # type: ignore[operator]  # both compare with int
        raise Invalid("not within 0..1")
    return float(value)  # type: ignore[arg-type]  # int or Decimal by the line above


def money_e4(value: object) -> int:
    """USD as text or JSON number in 1/10000 USD, more decimals half to even."""
    if type(value) is str and not _MONEY.match(value):
        raise Invalid("no amount")
    if type(value) not in (str, int, Decimal):
        raise Invalid("no amount")
    amount = Decimal(value) * 10_000  # type: ignore[arg-type]  # str, int or Decimal by the line above
    return int(amount.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def _flag(value: object) -> int:
    if type(value) is not bool:
        raise Invalid("no boolean")
    return int(value)


Check = Callable[[object], Any]
_HEAD: dict[str, Check] = {"event_id": _uuid, "occurred_at": time_ms}
_REQUIRED: dict[str, dict[str, Check]] = {
    "user-events": {"user_id": _integer, "activity_type": _text},
    "video-status": {
        "video_id": _integer,
        "channel_id": _integer,
        "user_id": _integer,
        "status": _one_of(_STATUSES),
        "requested_at": time_ms,
    },
    "cost-events": {"component": _one_of(_COMPONENTS), "amount_usd": money_e4},
    "ops-events": {"service": _text, "kind": _one_of({"health", "queue", "api_request", "ai_call"})},
    "billing-events": {
        "user_id": _integer,
        "kind": _one_of(
            {"subscription_started", "subscription_changed", "subscription_cancelled", "payment", "refund"}
        ),
        "subscription_id": _text,
        "started_at": time_ms,
    },
}
_OPTIONAL: dict[str, dict[str, Check]] = {
    "user-events": {
        "resource_type": _text,
        "resource_id": _integer,
        "session_id": _uuid,
        "ip_address": _text,
        "user_agent": _text,
        "response_time_ms": _not_negative,
    },
    "video-status": {
        "started_at": time_ms,
        "completed_at": time_ms,
        "published_at": time_ms,
        "youtube_video_id": _text,
        "video_type": _text,
        "niche": _text,
        "title": _text,
        "duration_seconds": _integer,
        "quality_score": _share,
        "error": _text,
    },
    "cost-events": {
        "video_id": _integer,
        "channel_id": _integer,
        "user_id": _integer,
        "corrects": _uuid,
        "provider": _text,
    },
    "ops-events": {
        "ok": _flag,
        "interval_s": _not_negative,
        "queue": _text,
        "queued_at": time_ms,
        "processing_start": time_ms,
        "endpoint": _text,
        "http_status": _integer,
        "response_time_ms": _not_negative,
        "provider": _text,
        "model": _text,
        "latency_ms": _not_negative,
    },
    "billing-events": {"plan": _text, "mrr_usd": money_e4, "amount_usd": money_e4},
}
_BY_STATUS: dict[str, tuple[str, ...]] = {
    "requested": (),
    "failed": (),
    "started": ("started_at",),
    "completed": ("started_at", "completed_at"),
    "published": ("started_at", "completed_at", "published_at", "youtube_video_id"),
}
_BY_KIND: dict[str, tuple[str, ...]] = {
    "health": ("ok", "interval_s"),
    "queue": ("queue", "queued_at", "processing_start"),
    "api_request": ("endpoint", "http_status", "response_time_ms"),
    "ai_call": ("provider", "model", "latency_ms", "ok"),
    "payment": ("amount_usd",),
    "refund": ("amount_usd",),
}


def _typed(topic: str, event: Row) -> Row:
    row: Row = {}
    for name, check in (_HEAD | _REQUIRED[topic]).items():
        if event.get(name) is None:
            raise Invalid(f"{name} is missing")
        row[name] = check(event[name])
    for name, check in _OPTIONAL[topic].items():
        if event.get(name) is not None:
            row[name] = check(event[name])
    for name in _BY_STATUS[row["status"]] if topic == "video-status" else ():
        if name not in row:
            raise Invalid(f"{name} is missing at {row['status']}")
    for name in _BY_KIND.get(row["kind"], ("mrr_usd",)) if topic in ("ops-events", "billing-events") else ():
        if name not in row:
            raise Invalid(f"{name} is missing at {row['kind']}")
    return row


def check_record(topic: str, value: bytes | None) -> tuple[str, Row]:
    """(dead-letter reason or '', typed columns or an empty row) of one record's value."""
    if value is not None and len(value) > MAX_BYTES:
        return "too_large", {}
    try:
        event = _parse(value)
        version = event.get("schema_version")
        match = _SEMVER.match(version) if type(version) is str else None
        if match is None:
            return "malformed", {}
        if match.group(1) != "1":
            return "unknown_version", {}
        return "", _typed(topic, event)
    except Invalid:
        return "malformed", {}
