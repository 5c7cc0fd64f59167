"""Every Kafka topic that streamproc reads or writes, with its partitions, retention and largest message."""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000
MIB = 1024 * 1024

USER_EVENTS = "user-events"
VIDEO_STATUS = "video-status"
COST_EVENTS = "cost-events"
OPS_EVENTS = "ops-events"
BILLING_EVENTS = "billing-events"
CDC_USERS = "cdc.app.users"
CDC_CHANNELS = "cdc.app.channels"
CDC_SUBSCRIPTIONS = "cdc.app.subscriptions"
WINDOW_PARTIALS = "window-partials"
WINDOW_PROGRESS = "window-progress"
WINDOW_IDS = "window-ids"
WINDOW_STATE = "window-state"
ALERTS = "alerts"
DEAD_LETTERS = "dead-letters"


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `retention_ms` is a time; no topic is ever compacted (compaction can keep a zombie's record)."""

    name: str
    key: str
    retention_ms: int = 7 * DAY_MS
    max_message_bytes: int = 32 * MIB
    internal: bool = False

    def config(self) -> dict[str, str]:
        """Topic settings for the broker (LogAppendTime where it honours it)."""
        settings = {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.max_message_bytes),
        }
        if not self.internal:
            settings["message.timestamp.type"] = "LogAppendTime"
        return settings


#: The event streams, in the order in which documents name them; the value is the field that is the message key.
SOURCES: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(USER_EVENTS, "user_id"),
        Topic(VIDEO_STATUS, "video_id"),
        Topic(COST_EVENTS, "video_id"),
        Topic(OPS_EVENTS, "service"),
        Topic(BILLING_EVENTS, "user_id"),
    )
}

#: Changes of the application's database (Debezium's envelopes): archived, and read by no window.
CHANGES: dict[str, Topic] = {
    topic.name: topic for topic in (Topic(CDC_USERS, "id"), Topic(CDC_CHANNELS, "id"), Topic(CDC_SUBSCRIPTIONS, "id"))
}

INTERNAL: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic(WINDOW_PARTIALS, "-", retention_ms=2 * DAY_MS, internal=True),
        Topic(WINDOW_PROGRESS, "source", internal=True),
        # Status repeats are remembered for 7 days; their segments must outlive that.
        Topic(WINDOW_IDS, "source", retention_ms=9 * DAY_MS, internal=True),
        Topic(WINDOW_STATE, "source", internal=True),
        Topic(ALERTS, "fingerprint", retention_ms=30 * DAY_MS, internal=True),
        Topic(DEAD_LETTERS, "source topic", retention_ms=30 * DAY_MS, internal=True),
    )
}

ALL: dict[str, Topic] = {**SOURCES, **CHANGES, **INTERNAL}
