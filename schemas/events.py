"""The events of the streams as producers send them: fields, JSON types and ranges, one struct a topic.

Structs check what JSON types can say (an int is no float and no bool, 64 bits, enumerations). UUIDs, times and amounts
stay text here: `streamproc.decode` reads them a whole batch at a time. A field that may be absent may be null too.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from schemas.topics import BILLING_EVENTS, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
SUPPORTED_MAJOR: Final = "1"

_SEMVER_ID = r"(?:0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)"
#: Semantic Versioning 2.0.0; group 1 is the major version.
SEMVER_PATTERN: Final = (
    r"(0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)\.(?:0|[1-9][0-9]*)"
    rf"(?:-{_SEMVER_ID}(?:\.{_SEMVER_ID})*)?(?:\+[0-9a-zA-Z-]+(?:\.[0-9a-zA-Z-]+)*)?"
)
_SUPPORTED_PATTERN: Final = SEMVER_PATTERN.replace("(0|[1-9][0-9]*)", SUPPORTED_MAJOR, 1)
UUID_PATTERN: Final = "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
#: Groups: year, month, day, hour, minute, second, decimals, offset.
TIME_PATTERN: Final = (
    r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9])"
    r"(?:\.([0-9]{1,9}))?(Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
#: The grammar of a JSON number (RFC 8259), for both forms of an amount; groups: mantissa, exponent.
AMOUNT_PATTERN: Final = r"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)(?:[eE]([+-]?[0-9]+))?"


def _text(description: str, pattern: str) -> Meta:
    # `pattern` goes to the JSON Schema only: checked by msgspec, a pattern costs more than the rest of the decoding.
    return Meta(description=description, extra_json_schema={"pattern": f"^{pattern}$"})


Int64 = Annotated[int, Meta(ge=INT64_MIN, le=INT64_MAX)]
NotNegative = Annotated[int, Meta(ge=0, le=INT64_MAX)]
Share = Annotated[float, Meta(ge=0, le=1)]
Uuid = Annotated[str, _text("UUID in its 8-4-4-4-12 form, either case", UUID_PATTERN)]
Time = Annotated[
    str, _text("RFC 3339: T, an offset (Z or ±hh:mm), up to nine decimals, 1970 to 2105; cut to ms", TIME_PATTERN)
]
Version = Annotated[str, _text("semantic version; the major version must be 1", _SUPPORTED_PATTERN)]
#: Raw keeps the decimal text: a double would round it.
Amount = Annotated[
    msgspec.Raw,
    Meta(
        description="USD as a JSON number, or the same as a string; held as 1/10000 USD, rounded half to even",
        extra_json_schema={"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{AMOUNT_PATTERN}$"}]},
    ),
]


def no_amount() -> msgspec.Raw:
    """What an absent amount gives: the same as `null`. (A function, since JSON Schemas cannot show a default of this type.)"""
    return msgspec.Raw(b"null")


OptionalAmount = Annotated[
    msgspec.Raw,
    Meta(
        description="as an amount; may be absent or null",
        extra_json_schema={
            "anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{AMOUNT_PATTERN}$"}, {"type": "null"}]
        },
    ),
]

Status = Literal["requested", "started", "completed", "failed", "published"]
Component = Literal["script", "voice", "image", "processing", "other"]
OpsKind = Literal["health", "queue", "api_request", "ai_call"]
BillingKind = Literal["subscription_started", "subscription_changed", "subscription_cancelled", "payment", "refund"]
#: The position is the status code of `Decoded.columns["status"]`.
STATUSES: Final[tuple[Status, ...]] = ("requested", "started", "completed", "failed", "published")
COMPONENTS: Final[tuple[Component, ...]] = ("script", "voice", "image", "processing", "other")

#: Fields of video-status that a status makes required (beside those that always are).
REQUIRED_BY_STATUS: Final[dict[Status, tuple[str, ...]]] = {
    "requested": (),
    "started": ("started_at",),
    "completed": ("started_at", "completed_at"),
    "failed": (),
    "published": ("started_at", "completed_at", "published_at", "youtube_video_id"),
}
#: The position is the code of `Decoded.columns["kind"]`.
OPS_KINDS: Final[tuple[OpsKind, ...]] = ("health", "queue", "api_request", "ai_call")
BILLING_KINDS: Final[tuple[BillingKind, ...]] = (
    "subscription_started",
    "subscription_changed",
    "subscription_cancelled",
    "payment",
    "refund",
)
#: Fields that a kind makes required.
REQUIRED_BY_OPS_KIND: Final[dict[OpsKind, tuple[str, ...]]] = {
    "health": ("ok", "interval_s"),
    "queue": ("queue", "queued_at", "processing_start"),
    "api_request": ("endpoint", "http_status", "response_time_ms"),
    "ai_call": ("provider", "model", "latency_ms", "ok"),
}
REQUIRED_BY_BILLING_KIND: Final[dict[BillingKind, tuple[str, ...]]] = {
    "subscription_started": ("mrr_usd",),
    "subscription_changed": ("mrr_usd",),
    "subscription_cancelled": ("mrr_usd",),
    "payment": ("amount_usd",),
    "refund": ("amount_usd",),
}


class UserEvent(msgspec.Struct, gc=False, kw_only=True):
    """One action of a user (topic `user-events`, key user_id)."""

    event_id: Uuid
    schema_version: Version
    occurred_at: Time
    user_id: Int64
    activity_type: str
    resource_type: str | None = None
    resource_id: Int64 | None = None
    session_id: Uuid | None = None
    ip_address: str | None = None
    user_agent: str | None = None
    response_time_ms: NotNegative | None = None


class VideoStatus(msgspec.Struct, gc=False, kw_only=True):
    """A video reached a status (topic `video-status`, key video_id)."""

    event_id: Uuid
    schema_version: Version
    occurred_at: Time
    video_id: Int64
    channel_id: Int64
    user_id: Int64
    status: Status
    requested_at: Time
    started_at: Time | None = None
    completed_at: Time | None = None
    published_at: Time | None = None
    youtube_video_id: str | None = None
    video_type: str | None = None
    niche: str | None = None
    title: str | None = None
    duration_seconds: Int64 | None = None
    quality_score: Share | None = None
    error: str | None = None


class CostEvent(msgspec.Struct, gc=False, kw_only=True):
    """A cost, or its correction (topic `cost-events`, key video_id or `overhead`)."""

    event_id: Uuid
    schema_version: Version
    occurred_at: Time
    component: Component
    amount_usd: Amount
    video_id: Int64 | None = None
    channel_id: Int64 | None = None
    user_id: Int64 | None = None
    corrects: Uuid | None = None
    provider: str | None = None


class OpsEvent(msgspec.Struct, gc=False, kw_only=True):
    """What a service says of itself (topic `ops-events`, key service)."""

    event_id: Uuid
    schema_version: Version
    occurred_at: Time
    service: str
    kind: OpsKind
    ok: bool | None = None
    interval_s: NotNegative | None = None
    queue: str | None = None
    queued_at: Time | None = None
    processing_start: Time | None = None
    endpoint: str | None = None
    http_status: Int64 | None = None
    response_time_ms: NotNegative | None = None
    provider: str | None = None
    model: str | None = None
    latency_ms: NotNegative | None = None


class BillingEvent(msgspec.Struct, gc=False, kw_only=True):
    """A subscription changed, or money moved (topic `billing-events`, key user_id)."""

    event_id: Uuid
    schema_version: Version
    occurred_at: Time
    user_id: Int64
    kind: BillingKind
    subscription_id: str
    started_at: Time
    plan: str | None = None
    mrr_usd: OptionalAmount = msgspec.field(default_factory=no_amount)
    amount_usd: OptionalAmount = msgspec.field(default_factory=no_amount)


Event = UserEvent | VideoStatus | CostEvent | OpsEvent | BillingEvent

#: The struct of each topic.
STRUCTS: Final[dict[str, type[Event]]] = {
    USER_EVENTS: UserEvent,
    VIDEO_STATUS: VideoStatus,
    COST_EVENTS: CostEvent,
    OPS_EVENTS: OpsEvent,
    BILLING_EVENTS: BillingEvent,
}
