"""Validity of a record of the five event topics by the written contracts: a reason to refuse it, or its fields."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from decimal import Decimal
from typing import Any, Final

from tests.support.truth_check import MAX_BYTES, Invalid, check_record, money_e4, time_ms

Fields = dict[str, Any]
Check = Callable[[object], Any]

_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_VERSION: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII)


def _no_constant(name: str) -> Any:
    raise Invalid(f"{name} is no JSON")


_DECODER: Final = json.JSONDecoder(parse_float=Decimal, parse_constant=_no_constant)


def _integer(value: object) -> int:
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise Invalid("no integer of 64 bits")
    return value


def _count(value: object) -> int:
    if (number := _integer(value)) < 0:
        raise Invalid("below 0")
    return number


def _text(value: object) -> str:
    if type(value) is not str:
        raise Invalid("no text")
    return value


def _flag(value: object) -> bool:
    if type(value) is not bool:
        raise Invalid("no boolean")
    return value


_OPS: Final[dict[str, dict[str, Check]]] = {
    "health": {"ok": _flag, "interval_s": _integer},
    "queue": {"queue": _text, "queued_at": time_ms, "processing_start": time_ms},
    "api_request": {"endpoint": _text, "http_status": _integer, "response_time_ms": _count},
    "ai_call": {"provider": _text, "model": _text, "latency_ms": _count, "ok": _flag},
}
_MRR: Final[dict[str, Check]] = {"mrr_usd": money_e4}
_PAID: Final[dict[str, Check]] = {"amount_usd": money_e4}
_BILLING: Final[dict[str, dict[str, Check]]] = {
    "subscription_started": _MRR,
    "subscription_changed": _MRR,
    "subscription_cancelled": _MRR,
    "payment": _PAID,
    "refund": _PAID,
}
_ALWAYS: Final[dict[str, dict[str, Check]]] = {
    "ops-events": {"service": _text},
    "billing-events": {"user_id": _integer, "subscription_id": _text, "started_at": time_ms},
}
_KINDS: Final = {"ops-events": _OPS, "billing-events": _BILLING}
#: Optional fields of billing keep their types whatever the kind.
_OPTIONAL: Final[dict[str, dict[str, Check]]] = {
    "ops-events": {},
    "billing-events": {"plan": _text, "mrr_usd": money_e4, "amount_usd": money_e4},
}


def _by_kind(topic: str, event: Fields) -> Fields:
    """The typed fields of an event whose required fields depend on its kind; raises Invalid."""
    kind = event.get("kind")
    needed = _KINDS[topic].get(kind) if type(kind) is str else None
    if needed is None:
        raise Invalid("no known kind")
    event_id = _text(event.get("event_id"))
    if _UUID.fullmatch(event_id) is None:
        raise Invalid("no UUID")
    fields: Fields = {"event_id": event_id.lower(), "occurred_at": time_ms(event.get("occurred_at")), "kind": kind}
    for name, check in (_ALWAYS[topic] | needed).items():
        fields[name] = check(event.get(name))
    for name, check in _OPTIONAL[topic].items():
        if event.get(name) is not None:
            fields[name] = check(event[name])
    return fields


def judge(topic: str, value: bytes | None) -> tuple[str, Fields]:
    """(reason or '', typed fields by name; ids in lower case, times in epoch ms, money in 1/10000 USD).

    A reason is `malformed`, `unknown_version` or `too_large`; `future_event` needs the log and comes later.
    """
    if topic not in _KINDS:
        return check_record(topic, value)
    if value is not None and len(value) > MAX_BYTES:
        return "too_large", {}
    try:
        event = _DECODER.decode(value.decode("utf-8")) if value is not None else None
        if type(event) is not dict:
            return "malformed", {}
        version = event.get("schema_version")
        found = _VERSION.fullmatch(version) if type(version) is str else None
        if found is None:
            return "malformed", {}
        if found[1] != "1":
            return "unknown_version", {}
        return "", _by_kind(topic, event)
    except (Invalid, ValueError, RecursionError):
        return "malformed", {}
