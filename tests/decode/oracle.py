"""The rules of the contract once more, slow and plain, with the standard library: what decode must agree with.

Shares no code with streamproc.decode or schemas.events. Where the contract leaves a choice, the choice is written here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

INT64: Final = (-(2**63), 2**63 - 1)
STATUSES: Final = ["requested", "started", "completed", "failed", "published"]
COMPONENTS: Final = ["script", "voice", "image", "processing", "other"]
OPS_KINDS: Final = ["health", "queue", "api_request", "ai_call"]
BILLING_KINDS: Final = ["subscription_started", "subscription_changed", "subscription_cancelled", "payment", "refund"]
NEEDED: Final = {
    "health": ["ok", "interval_s"],
    "queue": ["queue", "queued_at", "processing_start"],
    "api_request": ["endpoint", "http_status", "response_time_ms"],
    "ai_call": ["provider", "model", "latency_ms", "ok"],
    "payment": ["amount_usd"],
    "refund": ["amount_usd"],
}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Verdict = tuple[str, dict[str, Any]]


class Refused(Exception):
    """The record is no valid event; the argument is the reason."""


@dataclass(frozen=True)
class Number:
    """A JSON number as it is written."""

    text: str

    @property
    def is_int(self) -> bool:
        return re.search(r"[.eE]", self.text) is None


@dataclass(frozen=True)
class Pairs:
    """A JSON object with every pair in order, repeated keys included."""

    pairs: list[tuple[str, Any]]


def _no_constant(text: str) -> Any:
    raise ValueError(text)


def _parse(text: str) -> Any:
    return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_no_constant, object_pairs_hook=Pairs)


def _depth(node: Any) -> int:
    """Nesting of a document; refuses lone surrogates anywhere in it."""
    if isinstance(node, str):
        node.encode("utf-8")
        return 0
    if isinstance(node, Pairs):
        return 1 + max((max(_depth(key), _depth(child)) for key, child in node.pairs), default=0)
    if isinstance(node, list):
        return 1 + max((_depth(child) for child in node), default=0)
    return 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_int(low: int = INT64[0]) -> Callable[[Any], bool]:
    def check(value: Any) -> bool:
        if not isinstance(value, Number) or not value.is_int or len(value.text) > 30:
            return False
        return low <= int(value.text) <= INT64[1]

    return check


def _is_share(value: Any) -> bool:
    return isinstance(value, Number) and 0 <= float(value.text) <= 1


def _is_one_of(allowed: list[str]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in allowed


def _is_flag(value: Any) -> bool:
    return value is True or value is False


def _anything(_value: Any) -> bool:
    return True


# name -> (required, check of each occurrence of the key)
Fields = dict[str, tuple[bool, Callable[[Any], bool]]]
_HEAD: Final[Fields] = {
    "event_id": (True, _is_text),
    "schema_version": (True, _is_text),
    "occurred_at": (True, _is_text),
}
FIELDS: Final[dict[str, Fields]] = {
    "user-events": _HEAD
    | {
        "user_id": (True, _is_int()),
        "activity_type": (True, _is_text),
        "resource_type": (False, _is_text),
        "resource_id": (False, _is_int()),
        "session_id": (False, _is_text),
        "ip_address": (False, _is_text),
        "user_agent": (False, _is_text),
        "response_time_ms": (False, _is_int(0)),
    },
    "video-status": _HEAD
    | {
        "video_id": (True, _is_int()),
        "channel_id": (True, _is_int()),
        "user_id": (True, _is_int()),
        "status": (True, _is_one_of(STATUSES)),
        "requested_at": (True, _is_text),
        "started_at": (False, _is_text),
        "completed_at": (False, _is_text),
        "published_at": (False, _is_text),
        "youtube_video_id": (False, _is_text),
        "video_type": (False, _is_text),
        "niche": (False, _is_text),
        "title": (False, _is_text),
        "duration_seconds": (False, _is_int()),
        "quality_score": (False, _is_share),
        "error": (False, _is_text),
    },
    "cost-events": _HEAD
    | {
        "video_id": (False, _is_int()),
        "channel_id": (False, _is_int()),
        "user_id": (False, _is_int()),
        "component": (True, _is_one_of(COMPONENTS)),
        "amount_usd": (True, _anything),
        "corrects": (False, _is_text),
        "provider": (False, _is_text),
    },
    "ops-events": _HEAD
    | {
        "service": (True, _is_text),
        "kind": (True, _is_one_of(OPS_KINDS)),
        "ok": (False, _is_flag),
        "interval_s": (False, _is_int(0)),
        "queue": (False, _is_text),
        "queued_at": (False, _is_text),
        "processing_start": (False, _is_text),
        "endpoint": (False, _is_text),
        "http_status": (False, _is_int()),
        "response_time_ms": (False, _is_int(0)),
        "provider": (False, _is_text),
        "model": (False, _is_text),
        "latency_ms": (False, _is_int(0)),
    },
    "billing-events": _HEAD
    | {
        "user_id": (True, _is_int()),
        "kind": (True, _is_one_of(BILLING_KINDS)),
        "subscription_id": (True, _is_text),
        "started_at": (True, _is_text),
        "plan": (False, _is_text),
        "mrr_usd": (False, _anything),
        "amount_usd": (False, _anything),
    },
}


def read_uuid(text: str) -> int:
    """128 bits of a UUID in 8-4-4-4-12 form."""
    groups = text.split("-")
    if [len(group) for group in groups] != [8, 4, 4, 4, 12] or set("".join(groups)) - set("0123456789abcdefABCDEF"):
        raise Refused("malformed")
    return int("".join(groups), 16)


def read_time(text: str) -> int:
    """Epoch ms of an RFC 3339 time."""
    shape = re.sub("[0-9]", "9", text)
    start, zone, rest = shape[:19], "", shape[19:]
    for zone in ("Z", "+99:99", "-99:99"):
        if rest.endswith(zone):
            rest = rest.removesuffix(zone)
            break
    else:
        raise Refused("malformed")
    if start != "9999-99-99T99:99:99" or rest not in ["", *("." + "9" * count for count in range(1, 10))]:
        raise Refused("malformed")
    parts = [int(text[low:high]) for low, high in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))]
    try:
        at = datetime(parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], tzinfo=UTC)
        if zone != "Z":
            hours, minutes = int(text[-5:-3]), int(text[-2:])
            if hours > 23 or minutes > 59:
                raise Refused("malformed")
            shift = timedelta(hours=hours, minutes=minutes)
            at = at - shift if zone[0] == "+" else at + shift
    except (ValueError, OverflowError):
        raise Refused("malformed") from None
    decimals = text[20 : 19 + len(rest)]
    exact = Fraction((at - EPOCH) // timedelta(seconds=1)) + Fraction(int(decimals or 0), 10 ** len(decimals))
    ms = exact * 1000 // 1
    if not 0 <= ms < 4_291_747_200_000:  # 2106-01-01
        raise Refused("malformed")
    return ms


def read_amount(value: Any) -> int:
    """1/10000 USD of a JSON number, or of a string that is written like one."""
    if isinstance(value, str):
        text = value
        try:
            value = _parse(text)
        except ValueError:
            raise Refused("malformed") from None
        if isinstance(value, Number) and value.text != text:
            raise Refused("malformed")
    if not isinstance(value, Number):
        raise Refused("malformed")
    amount = round(_fraction(value.text) * 10_000)  # half to even
    if not INT64[0] <= amount <= INT64[1]:
        raise Refused("malformed")
    return amount


def _fraction(text: str) -> Fraction:
    """The number; one beyond 10**40 is 10**40, and one nearer to 0 than 10**-40 is 0 (both decide alike)."""
    mantissa, _, exponent = text.replace("E", "e").partition("e")
    exact = Fraction(Decimal(mantissa))
    if len(exponent.lstrip("+-").lstrip("0")) > 7 or abs(int(exponent or 0)) > 2_000_000:
        return Fraction(0) if not exact or exponent[0] == "-" else Fraction(10**40)
    size = Decimal(mantissa).adjusted() + int(exponent or 0)
    if exact and abs(size) > 40:
        return Fraction(0) if size < 0 else Fraction(10**40)
    return exact * Fraction(10) ** int(exponent or 0) if exact else exact


def _read_document(value: bytes | None) -> Pairs:
    if not value:
        raise Refused("malformed")
    if len(value) > 1024 * 1024:
        raise Refused("too_large")
    try:
        document = _parse(value.decode("utf-8"))
        if _depth(document) > 256:
            raise Refused("malformed")
    except (ValueError, RecursionError):
        raise Refused("malformed") from None
    if not isinstance(document, Pairs):
        raise Refused("malformed")
    return document


def _fields(topic: str, document: Pairs) -> dict[str, Any]:
    """Known fields that are there (null is not there), the last value of each; every occurrence has the right type."""
    versions = [value for key, value in document.pairs if key == "schema_version"]
    if not versions or not all(isinstance(version, str) for version in versions):
        raise Refused("malformed")
    _check_version(versions[-1])
    found: dict[str, Any] = {}
    for key, value in document.pairs:
        required, check = FIELDS[topic].get(key, (False, _anything))
        if value is None and not required:
            found.pop(key, None)
            continue
        if not check(value):
            raise Refused("malformed")
        found[key] = value
    if any(required and name not in found for name, (required, _) in FIELDS[topic].items()):
        raise Refused("malformed")
    return {name: value for name, value in found.items() if name in FIELDS[topic]}


def _check_version(text: str) -> None:
    core, plus, build = text.partition("+")
    core, minus, pre = core.partition("-")
    numbers = core.split(".")
    good = len(numbers) == 3 and all(_is_decimal(part) and _is_shortest(part) for part in numbers)
    for there, tail in ((minus, pre), (plus, build)):
        for part in tail.split(".") if there else []:
            good = good and bool(part) and not re.search("[^0-9A-Za-z-]", part)
            if tail is pre and _is_decimal(part):
                good = good and _is_shortest(part)
    if not good:
        raise Refused("malformed")
    if numbers[0] != "1":
        raise Refused("unknown_version")


def _is_shortest(digits: str) -> bool:
    return digits == "0" or digits[0] != "0"


def _is_decimal(part: str) -> bool:
    return part.isascii() and part.isdigit()


def _values(topic: str, field: dict[str, Any]) -> dict[str, Any]:
    number = read_uuid(field["event_id"])
    row: dict[str, Any] = {
        "event_id_hi": number >> 64,
        "event_id_lo": number % 2**64,
        "occurred_at_ms": read_time(field["occurred_at"]),
    }
    for name in ("session_id", "corrects"):
        if name in field and name in FIELDS[topic]:
            read_uuid(field[name])
    if topic == "user-events":
        row["user_id"] = int(field["user_id"].text)
        row["activity_type"] = field["activity_type"]
        row["response_time_ms"] = int(field["response_time_ms"].text) if "response_time_ms" in field else -1
    elif topic == "cost-events":
        row["video_id"] = int(field["video_id"].text) if "video_id" in field else 0
        row["has_video"] = "video_id" in field
        row["component"] = field["component"]
        row["amount_e4"] = read_amount(field["amount_usd"])
    elif topic == "ops-events":
        row |= _ops_values(field)
    elif topic == "billing-events":
        row |= _billing_values(field)
    else:
        row |= _video_values(field)
    return row


def _ops_values(field: dict[str, Any]) -> dict[str, Any]:
    at = {name: read_time(field[name]) for name in ("queued_at", "processing_start") if name in field}
    kind = field["kind"]
    if any(name not in field for name in NEEDED[kind]):
        raise Refused("malformed")
    row: dict[str, Any] = {"kind": OPS_KINDS.index(kind), "service": field["service"], "ok": field.get("ok") is True}
    row |= {name: field.get(name, "unknown") for name in ("queue", "provider")}
    row |= {name: int(field[name].text) if name in field else -1 for name in ("response_time_ms", "latency_ms")}
    if kind != "api_request":
        row["response_time_ms"] = -1
    row["queue_e4"] = (at["processing_start"] - at["queued_at"]) * 10 if kind == "queue" else 0
    return row


def _billing_values(field: dict[str, Any]) -> dict[str, Any]:
    read_time(field["started_at"])
    kind = field["kind"]
    if any(name not in field for name in NEEDED.get(kind, ["mrr_usd"])):
        raise Refused("malformed")
    row: dict[str, Any] = {"kind": BILLING_KINDS.index(kind), "user_id": int(field["user_id"].text)}
    row["subscription_id"] = field["subscription_id"]
    row["mrr_e4"] = read_amount(field["mrr_usd"]) if "mrr_usd" in field else 0
    row["amount_e4"] = read_amount(field["amount_usd"]) if "amount_usd" in field else 0
    return row


def _video_values(field: dict[str, Any]) -> dict[str, Any]:
    names = ("requested_at", "started_at", "completed_at", "published_at")
    at = {name: read_time(field[name]) for name in names if name in field}
    status = field["status"]
    required: list[str] = []
    if status in ("started", "completed", "published"):
        required.append("started_at")
    if status in ("completed", "published"):
        required.append("completed_at")
    if status == "published":
        required += ["published_at", "youtube_video_id"]
    if any(name not in field for name in required):
        raise Refused("malformed")
    row: dict[str, Any] = {name: int(field[name].text) for name in ("video_id", "channel_id", "user_id")}
    row |= {name: field.get(name, "unknown") for name in ("niche", "video_type")}
    row["status"] = STATUSES.index(status)
    row["generation_e4"] = (at["completed_at"] - at["requested_at"]) * 10 if status == "completed" else 0
    row["queue_e4"] = (at["started_at"] - at["requested_at"]) * 10 if status == "started" else 0
    return row


def judge(topic: str, value: bytes | None) -> Verdict:
    """('ok', column values of the event), or (dead-letter reason, {})."""
    try:
        return "ok", _values(topic, _fields(topic, _read_document(value)))
    except Refused as refused:
        return str(refused), {}
