"""Why a record did not count: dead-letter reasons, and outcomes that are counted but are no dead letters."""

from __future__ import annotations

from enum import StrEnum


class DeadReason(StrEnum):
    """The reasons of dead letters, as contracts name them."""

    MALFORMED = "malformed"
    UNKNOWN_VERSION = "unknown_version"
    FUTURE_EVENT = "future_event"
    TOO_LARGE = "too_large"
    CRASHES_DECODER = "crashes_decoder"


class Skip(StrEnum):
    """Counted, and not dead letters."""

    DUPLICATE = "duplicate"
    LATE = "late"


MAX_EVENT_BYTES = 1024 * 1024
FUTURE_LIMIT_MS = 300_000
DEDUP_HORIZON_MS = 600_000
ALLOWED_LATENESS_MS = 600_000
STATUS_HORIZON_MS = 7 * 86_400_000
