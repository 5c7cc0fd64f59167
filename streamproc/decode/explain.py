"""Why one record is no valid event, in words: the authority for dead letters and for bronze's error column."""

from __future__ import annotations

import re
from typing import Final

import msgspec

from schemas.events import (
    BILLING_KINDS,
    COMPONENTS,
    OPS_KINDS,
    REQUIRED_BY_STATUS,
    STATUSES,
    STRUCTS,
    SUPPORTED_MAJOR,
    BillingEvent,
    CostEvent,
    Event,
    OpsEvent,
    UserEvent,
    VideoStatus,
)
from schemas.outcomes import MAX_EVENT_BYTES, DeadReason
from schemas.topics import BILLING_EVENTS, OPS_EVENTS
from streamproc.decode.ids import is_uuid
from streamproc.decode.money import amount_e4
from streamproc.decode.ops_billing import is_absent, missing_field
from streamproc.decode.strict import MAX_DEPTH, too_deep, utf8_problem
from streamproc.decode.times import time_ms
from streamproc.decode.versions import (
    brought_up,
    is_semver,
    is_supported,
    minor_of,
    path_to_current,
    version_of,
    why_not_read,
)

Problem = tuple[DeadReason, str]


_DECODERS: Final = {topic: msgspec.json.Decoder(struct) for topic, struct in STRUCTS.items()}
_MISSING = re.compile(r"Object missing required field `(.*)`")
_ALLOWED: Final = {"status": STATUSES, "component": COMPONENTS}
_KINDS: Final = {OPS_EVENTS: OPS_KINDS, BILLING_EVENTS: BILLING_KINDS}
_BAD_UUID: Final = "not a UUID in 8-4-4-4-12 form"
_BAD_TIME: Final = "not an RFC 3339 time with T, an offset and at most nine decimals, in the years 1970 to 2105"
_BAD_AMOUNT: Final = "not a JSON number (or a string of one) that fits into 64 bits of 1/10000 USD"


def explain(topic: str, value: bytes | None) -> Problem | None:
    """Why a record of `topic` is no valid event, with the path of the field but without its value; None if it is one.

    `future_event` is not decided here: it needs log time.

    Raises:
        KeyError: no such event stream.
    """
    decoder = _DECODERS[topic]
    if not value:
        return DeadReason.MALFORMED, "empty value"
    if len(value) > MAX_EVENT_BYTES:
        return DeadReason.TOO_LARGE, f"{len(value)} bytes; at most {MAX_EVENT_BYTES} are taken"
    text = utf8_problem(value)
    if not text and too_deep(value):
        text = f"nested deeper than {MAX_DEPTH} levels"
    if text:
        return DeadReason.MALFORMED, text
    former = ""
    try:
        # The version comes first: an event of another version need not have our fields.
        version = version_of(value)
        if is_semver(version) and not is_supported(version):
            return DeadReason.UNKNOWN_VERSION, why_not_read(version)
        path = path_to_current(topic, version)
        if path:
            # The field may have another name in the record.
            former = f" (brought to the current version from {SUPPORTED_MAJOR}.{minor_of(version)})"
            value = brought_up(path, value)
        event: Event = decoder.decode(value)
        text = _problem(event)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        text = in_words(error, topic)
    return (DeadReason.MALFORMED, text + former) if text else None


def in_words(error: Exception, topic: str = "") -> str:
    """The decoder's message as `path: what`; no message of it holds a value but that of an enumeration."""
    if not isinstance(error, msgspec.ValidationError):
        detail = str(error).removeprefix("JSON is malformed: ")
        return f"not strict JSON: {detail}" if isinstance(error, msgspec.DecodeError) else "not strict JSON"
    what, _, path = str(error).rpartition(" - at `$")
    if not path or not what:
        what, path = str(error), ""
    path = path.rstrip("`").lstrip(".")
    missing = _MISSING.fullmatch(what)
    if missing:
        return f"{missing.group(1)}: required field is missing"
    if what.startswith("Invalid enum value"):
        what = f"not one of {', '.join(_KINDS[topic] if path == 'kind' else _ALLOWED[path])}"
    what = what.replace("`", "").replace("Expected", "expected")
    return f"{path}: {what}" if path else what


def _problem(event: Event) -> str:
    """What the JSON types cannot say; '' if nothing is wrong. Times and UUIDs are checked wherever they are present."""
    if not is_semver(event.schema_version):
        return "schema_version: not a semantic version"
    if not is_uuid(event.event_id):
        return f"event_id: {_BAD_UUID}"
    if time_ms(event.occurred_at) is None:
        return f"occurred_at: {_BAD_TIME}"
    if isinstance(event, UserEvent):
        bad = event.session_id is not None and not is_uuid(event.session_id)
        return f"session_id: {_BAD_UUID}" if bad else ""
    if isinstance(event, OpsEvent | BillingEvent):
        return _kind_problem(event)
    return _cost_problem(event) if isinstance(event, CostEvent) else _video_problem(event)


def _kind_problem(event: OpsEvent | BillingEvent) -> str:
    for field in ("queued_at", "processing_start") if isinstance(event, OpsEvent) else ("started_at",):
        text = getattr(event, field)
        if text is not None and time_ms(text) is None:
            return f"{field}: {_BAD_TIME}"
    if isinstance(event, BillingEvent):
        for field, raw in (("mrr_usd", event.mrr_usd), ("amount_usd", event.amount_usd)):
            if not is_absent(raw) and amount_e4(bytes(raw)) is None:
                return f"{field}: {_BAD_AMOUNT}"
    field = missing_field(event)
    return f"{field}: required field is missing (kind {event.kind})" if field else ""


def _cost_problem(event: CostEvent) -> str:
    if event.corrects is not None and not is_uuid(event.corrects):
        return f"corrects: {_BAD_UUID}"
    return f"amount_usd: {_BAD_AMOUNT}" if amount_e4(bytes(event.amount_usd)) is None else ""


def _video_problem(event: VideoStatus) -> str:
    for field in ("requested_at", "started_at", "completed_at", "published_at"):
        text = getattr(event, field)
        if text is not None and time_ms(text) is None:
            return f"{field}: {_BAD_TIME}"
    for field in REQUIRED_BY_STATUS[event.status]:
        if getattr(event, field) is None:
            return f"{field}: required field is missing (status {event.status})"
    return ""
