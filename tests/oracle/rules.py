"""Validity of one record by the written contracts, on orjson: which reason refuses it, or the fields that count.

One function a topic, each giving the same row of columns (COLUMNS), so that a log becomes one table. What is null in
text columns is NIL, in integer columns NONE: a column of nulls alone has no type of its own.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable
from datetime import datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import Any, Final

import orjson

NIL: Final = "\0"
NONE: Final = -(1 << 63)

#: Columns of a row, after the reason. `text` is a CRC-32 of the fields that only silver keeps.
COLUMNS: Final = (
    "event_id",
    "occurred",
    "user_id",
    "video_id",
    "kind",
    "dim_a",
    "dim_b",
    "number",
    "requested",
    "started",
    "completed",
    "published",
    "share",
    "text",
)
TEXTS: Final = ("event_id", "kind", "dim_a", "dim_b")
Row = tuple[Any, ...]
EMPTY: Final[Row] = (NIL, NONE, NONE, NONE, NIL, NIL, NIL, NONE, NONE, NONE, NONE, NONE, -1.0, 0)

_LARGEST: Final = 1 << 20
_UUID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", re.ASCII)
_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?", re.ASCII)
_TIME: Final = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d):([0-5]\d)(?:\.(\d{1,9}))?(?:Z|([+-])([01]\d|2[0-3]):([0-5]\d))", re.ASCII
)
_AMOUNT: Final = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?", re.ASCII)
_TIMES_BY_STATUS: Final = {
    "requested": (),
    "failed": (),
    "started": ("started_at",),
    "completed": ("started_at", "completed_at"),
    "published": ("started_at", "completed_at", "published_at"),
}
_COMPONENTS: Final = frozenset(("script", "voice", "image", "processing", "other"))
_YEAR_2106_MS: Final = 4_291_747_200_000
_minutes: dict[str, int] = {}


class _Refused(Exception):
    """The record breaks a rule."""


def _minute(text: str) -> int:
    """Epoch seconds of YYYY-MM-DDTHH:MM in UTC; few differ, so they are remembered."""
    known = _minutes.get(text)
    if known is None:
        try:
            known = int(datetime.strptime(text + "+0000", "%Y-%m-%dT%H:%M%z").timestamp())
        except ValueError as error:
            raise _Refused(str(error)) from error
        if len(_minutes) > 100_000:
            _minutes.clear()
        _minutes[text] = known
    return known


def instant(value: object) -> int:
    """RFC 3339 with `T` and an offset as epoch ms, truncated; raises _Refused."""
    found = _TIME.fullmatch(value) if type(value) is str else None
    if found is None:
        raise _Refused("no time")
    minute, second, fraction, sign, hours, minutes = found.groups()
    ms = (_minute(minute) + int(second)) * 1000
    if fraction:
        ms += int(f"{fraction}00"[:3])
    if sign:
        away = (int(hours) * 60 + int(minutes)) * 60_000
        ms += away if sign == "-" else -away
    if not 0 <= ms < _YEAR_2106_MS:
        raise _Refused("out of range")
    return ms


def _whole(event: dict[str, Any], name: str) -> int:
    value = event.get(name)
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise _Refused(name)
    return value


def _maybe_whole(event: dict[str, Any], name: str) -> int | None:
    return None if event.get(name) is None else _whole(event, name)


def _maybe_text(event: dict[str, Any], name: str) -> str:
    value = event.get(name)
    if value is None:
        return NIL
    if type(value) is not str:
        raise _Refused(name)
    return value


def _maybe_uuid(event: dict[str, Any], name: str) -> str:
    value = _maybe_text(event, name)
    if value != NIL and _UUID.fullmatch(value) is None:
        raise _Refused(name)
    return value.lower()


def _maybe_time(event: dict[str, Any], name: str) -> int:
    return NONE if event.get(name) is None else instant(event[name])


def money(value: object) -> int:
    """USD, a text or a number with all its digits (int or Decimal), in 1/10000, half to even; raises _Refused."""
    if type(value) is str:
        if _AMOUNT.fullmatch(value) is None:
            raise _Refused("no amount")
    elif type(value) is not int and type(value) is not Decimal:
        raise _Refused("no amount")
    try:
        amount = int((Decimal(value) * 10_000).quantize(Decimal(1), ROUND_HALF_EVEN))  # type: ignore[arg-type]  # see above
    except InvalidOperation as error:
        raise _Refused("amount out of range") from error
    if not -(1 << 63) < amount < 1 << 63:
        raise _Refused("amount out of range")
    return amount


def _check(*fields: object) -> int:
    """CRC-32 over fields as ClickHouse computes it too (see silver.py)."""
    return zlib.crc32("\x1f".join([NIL if field is None else str(field) for field in fields]).encode())


def _user(event: dict[str, Any], value: bytes) -> Row:
    user, kind = _whole(event, "user_id"), event.get("activity_type")
    if type(kind) is not str:
        raise _Refused("activity_type")
    took = _maybe_whole(event, "response_time_ms")
    if took is not None and took < 0:
        raise _Refused("response_time_ms")
    resource = _maybe_text(event, "resource_type"), _maybe_whole(event, "resource_id")
    agent = _maybe_uuid(event, "session_id"), _maybe_text(event, "ip_address"), _maybe_text(event, "user_agent")
    text = _check(event["schema_version"], *resource, *agent)
    return (user, NONE, kind, NIL, NIL, NONE if took is None else took, NONE, NONE, NONE, NONE, -1.0, text)


def _video(event: dict[str, Any], value: bytes) -> Row:
    status = event.get("status")
    video, channel, user = _whole(event, "video_id"), _whole(event, "channel_id"), _whole(event, "user_id")
    needed = _TIMES_BY_STATUS.get(status) if type(status) is str else None
    if needed is None:
        raise _Refused("status")
    requested = instant(event.get("requested_at"))
    times = [_maybe_time(event, name) for name in ("started_at", "completed_at", "published_at")]
    youtube = _maybe_text(event, "youtube_video_id")
    if any(time == NONE for time in times[: len(needed)]) or (status == "published" and youtube == NIL):
        raise _Refused("a time of the status")
    share = event.get("quality_score")
    if share is not None and (type(share) not in (int, float) or not 0 <= share <= 1):
        raise _Refused("quality_score")
    niche, kind = _maybe_text(event, "niche"), _maybe_text(event, "video_type")
    more = _maybe_text(event, "title"), _maybe_whole(event, "duration_seconds"), _maybe_text(event, "error")
    text = _check(event["schema_version"], channel, user, youtube, *more)
    score = -1.0 if share is None else float(share)
    return (user, video, status, niche, kind, NONE, requested, *times, score, text)


def _cost(event: dict[str, Any], value: bytes) -> Row:
    component, amount = event.get("component"), event.get("amount_usd")
    if type(component) is not str or component not in _COMPONENTS:
        raise _Refused("component")
    if type(amount) is float:
        # Doubles lose digits that decide how half a unit is rounded: the text is read again with all of them.
        amount = json.loads(value, parse_float=Decimal)["amount_usd"]
    video, channel, user = (_maybe_whole(event, name) for name in ("video_id", "channel_id", "user_id"))
    text = _check(
        event["schema_version"], channel, user, _maybe_uuid(event, "corrects"), _maybe_text(event, "provider")
    )
    place = NONE if video is None else video
    return (NONE, place, component, NIL, NIL, money(amount), NONE, NONE, NONE, NONE, -1.0, text)


#: Fields that a kind of ops event must have, and how each is read.
_OPS_FIELDS: Final[dict[str, tuple[str, ...]]] = {
    "health": ("ok", "interval_s"),
    "queue": ("queue", "queued_at", "processing_start"),
    "api_request": ("endpoint", "http_status", "response_time_ms"),
    "ai_call": ("provider", "model", "latency_ms", "ok"),
}


def _ops(event: dict[str, Any], value: bytes) -> Row:
    """Of services only health counts here: `dim_a` is the service, `number` 1 if it was up."""
    service, kind, ok = event.get("service"), event.get("kind"), event.get("ok")
    if type(service) is not str or type(kind) is not str or kind not in _OPS_FIELDS:
        raise _Refused("service or kind")
    for name in ("queue", "endpoint", "provider", "model"):
        _maybe_text(event, name)
    for name in ("queued_at", "processing_start"):
        _maybe_time(event, name)
    numbers = [_maybe_whole(event, name) for name in ("interval_s", "response_time_ms", "latency_ms")]
    _maybe_whole(event, "http_status")
    if any(number is not None and number < 0 for number in numbers) or (ok is not None and type(ok) is not bool):
        raise _Refused("a number or ok")
    if any(event.get(name) is None for name in _OPS_FIELDS[kind]):
        raise _Refused(f"a field of {kind}")
    up = int(ok is True) if kind == "health" else NONE
    return (NONE, NONE, kind, service, NIL, up, NONE, NONE, NONE, NONE, -1.0, _check(event["schema_version"]))


_BY_TOPIC: Final[dict[str, Callable[[dict[str, Any], bytes], Row]]] = {
    "user-events": _user,
    "video-status": _video,
    "cost-events": _cost,
    "ops-events": _ops,
}


def _no_constant(name: str) -> Any:
    raise _Refused(f"{name} is no JSON")


_SLOW: Final = json.JSONDecoder(parse_constant=_no_constant)


def _parse(value: bytes) -> Any:
    """Strict JSON. What orjson refuses is read again: to it a number beyond a double is no JSON, to RFC 8259 it is."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        try:
            event = _SLOW.decode(value.decode("utf-8"))
            # Half a surrogate pair is no text that anybody could store.
            json.dumps(event, ensure_ascii=False).encode()
            return event
        except (ValueError, RecursionError) as error:
            raise _Refused("no JSON") from error


def judge(topic: str, value: bytes | None) -> tuple[str, Row]:
    """(dead-letter reason or '', row of COLUMNS). `future_event` needs the log and comes later."""
    if not value:
        return "malformed", EMPTY
    if len(value) > _LARGEST:
        return "too_large", EMPTY
    try:
        event = _parse(value)
        if type(event) is not dict:
            return "malformed", EMPTY
        version = event.get("schema_version")
        found = _VERSION.fullmatch(version) if type(version) is str else None
        if found is None:
            return "malformed", EMPTY
        if found[1] != "1":
            return "unknown_version", EMPTY
        event_id = event.get("event_id")
        if type(event_id) is not str or _UUID.fullmatch(event_id) is None:
            return "malformed", EMPTY
        return "", (event_id.lower(), instant(event.get("occurred_at")), *_BY_TOPIC[topic](event, value))
    except _Refused:
        return "malformed", EMPTY
