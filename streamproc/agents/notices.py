"""Alert transitions that no metric rule makes: a topic that is paused, a record that was set aside, records that are lost."""

from __future__ import annotations

import hashlib

from schemas.alerts import AlertState, AlertTransition
from streamproc.clock import now_ms


def stream_paused(topic: str, partition: int, offset: int, paused: bool, limit: float) -> AlertTransition:
    """A topic is paused because nearly everything is bad, or goes on; the same pause has the same id."""
    text = "is paused: nearly every record is bad" if paused else "goes on"
    return _transition(
        "stream_paused",
        {"topic": topic, "partition": str(partition)},
        f"stream_paused/{topic}/{partition}",
        2 * offset + (1 if paused else 2),
        AlertState.FIRING if paused else AlertState.RESOLVED,
        f"{topic} {text} (partition {partition}, offset {offset})",
        limit,
        "bad records / records",
    )


def poison_record(topic: str, partition: int, offset: int) -> list[AlertTransition]:
    """A record that ended its readers was set aside: told, and over at once, since the stream goes on."""
    text = (
        f"{topic}: a record ended the processes that read it and was set aside (partition {partition}, offset {offset})"
    )
    return [
        _transition(
            "poison_record",
            {"topic": topic, "partition": str(partition), "offset": str(offset)},
            f"poison_record/{topic}/{partition}/{offset}",
            seq,
            state,
            text,
            1.0,
            "records",
        )
        for seq, state in ((1, AlertState.FIRING), (2, AlertState.RESOLVED))
    ]


def lost_offsets(topic: str, partition: int, log_id: str, first: int, last: int) -> list[AlertTransition]:
    """Records were deleted before they were read: told, and over at once, since nothing can bring them back.

    The range begins with the last record of progress, so it may name what a worker counted in its last second.
    """
    text = (
        f"{topic}: {last + 1 - first} records were deleted before they were read"
        f" (partition {partition}, offsets {first} to {last}); windows lack them, but for those of a worker's last second"
    )
    return [
        _transition(
            "lost_offsets",
            {"topic": topic, "partition": str(partition), "first": str(first), "last": str(last)},
            f"lost_offsets/{topic}/{partition}/{log_id}/{first}/{last}",
            seq,
            state,
            text,
            1.0,
            "records",
        )
        for seq, state in ((1, AlertState.FIRING), (2, AlertState.RESOLVED))
    ]


def _transition(
    rule: str,
    labels: dict[str, str],
    identity: str,
    seq: int,
    state: AlertState,
    summary: str,
    threshold: float,
    unit: str,
) -> AlertTransition:
    fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]
    return AlertTransition(
        transition_id=hashlib.sha256(f"{fingerprint}/{seq}/{state}".encode()).hexdigest()[:32],
        fingerprint=fingerprint,
        seq=seq,
        rule=rule,
        severity="critical",
        state=state,
        labels=labels,
        metric="",
        window="",
        window_start_ms=0,
        window_end_ms=0,
        value=None,
        threshold=threshold,
        operator=">=",
        unit=unit,
        summary=summary,
        event_time_ms=now_ms(),
        recorded_at_ms=now_ms(),
    )
