"""Silence of a service on the real stack: fires by the watermark, once, whoever is killed and reads the log again."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterable
from pathlib import Path

from streamproc.agents.alerting import decode_transition
from tests.e2e.checks import Message, check_windows
from tests.support.events import OPS_EVENTS, encode, rfc3339
from tests.support.stack import Stack, read_raw, wait_for

MINUTE = 60_000
HOUR = 60 * MINUTE


def _health(start_ms: int, minutes: Iterable[int], *services: str) -> list[Message]:
    """Each of them says that it is well, once a minute."""
    head = {"schema_version": "1.0.0", "kind": "health", "ok": True, "interval_s": 60}
    return [
        (
            OPS_EVENTS,
            service.encode(),
            encode(
                head
                | {
                    "event_id": str(uuid.uuid4()),
                    "service": service,
                    "occurred_at": rfc3339(start_ms + minute * MINUTE),
                }
            ),
        )
        for minute in minutes
        for service in services
    ]


def _recorded(stack: Stack, start_ms: int) -> list[tuple[str, int, str]]:
    """Service, minute of the window and state of all transitions of silences in the topic, repeats included."""
    records = asyncio.run(read_raw(stack.broker.bootstrap, ["alerts"]))
    items = sorted((decode_transition(record.value) for record in records), key=lambda item: item.seq)
    return [
        (item.labels["service"], (item.window_start_ms - start_ms) // MINUTE, item.state.value)
        for item in items
        if item.rule == "uptime-no-data"
    ]


def test_silence_fires_by_the_watermark_whoever_is_killed(tmp_path: Path) -> None:
    """One service is silent for 25 minutes of event time, the other tells how time goes by."""
    now = int(time.time() * 1000)
    # Not older than the windows that a successor takes from the store.
    start = now - now % HOUR - 2 * HOUR
    # Only the watermark says how far the log is: on a slow machine a pause would be an idle source.
    with Stack(tmp_path / "stack", partitions=1, idle_timeout_s="3600") as stack:
        stack.create_topics()
        first = stack.worker("windows")
        stack.produce([*_health(start, range(5), "api", "web"), *_health(start, range(5, 16), "web")])
        wait_for("something is stored", lambda: bool(stack.windows()), 60)
        assert _recorded(stack, start) == []
        first.kill()
        # The watermark passes the silent window, and more, while nobody looks.
        stack.produce(_health(start, range(16, 30), "web"))
        second = stack.worker("windows")
        fired = ("api", 5, "firing")
        wait_for("it fires", lambda: _recorded(stack, start) == [fired], 60)
        stack.produce(_health(start, range(30, 50), "api", "web"))
        due = [fired, ("api", 30, "resolved")]
        wait_for("it resolves", lambda: _recorded(stack, start) == due, 60)
        check_windows(stack)
        second.kill()
        third = stack.worker("windows")
        # Two rounds of what a successor tells anew.
        begun = time.monotonic()
        wait_for("it judges", lambda: third.ready() and time.monotonic() > begun + 25, 90)
        assert _recorded(stack, start) == due
