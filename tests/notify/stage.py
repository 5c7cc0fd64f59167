"""A small stage for delivery tests: transitions, an outbox that runs, and a topic that keeps records."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from schemas.alerts import AlertState, AlertTransition
from streamproc.alerts.lifecycle import fingerprint, transition_id
from streamproc.alerts.rules import RuleSet
from streamproc.notify.grouping import Notice
from streamproc.notify.load import load_rules
from streamproc.notify.logfile import FileSender
from streamproc.notify.outbox import Outbox, Sender

NOW = 1_800_000_000_000
RULES = load_rules()


def alert(
    video: str = "7",
    seq: int = 1,
    state: AlertState = AlertState.FIRING,
    rule: str = "video-cost-warning",
    inhibited_by: str = "",
    at_ms: int = NOW,
) -> AlertTransition:
    """A transition of a cost alert."""
    labels = {"video_id": video}
    identity = fingerprint(rule, labels)
    return AlertTransition(
        transition_id=transition_id(identity, seq, state, 0),
        fingerprint=identity,
        seq=seq,
        rule=rule,
        severity="critical" if "critical" in rule else "warning",
        state=state,
        labels=labels,
        metric="cost_per_video_usd",
        window="all",
        window_start_ms=0,
        window_end_ms=0,
        value=2.6,
        threshold=2.5,
        operator=">",
        unit="USD",
        summary=f"Video {video} has cost 2.60 USD",
        event_time_ms=at_ms,
        recorded_at_ms=at_ms,
        inhibited_by=inhibited_by,
    )


class Collector:
    """A receiver that keeps what it gets; `fail` are errors that it raises first."""

    label = "slack"
    broken = ""

    def __init__(self, *fail: Exception) -> None:
        self.messages: list[list[Notice]] = []
        self.fail = list(fail)

    async def send(self, notices: Sequence[Notice]) -> None:
        if self.fail:
            raise self.fail.pop(0)
        self.messages.append(list(notices))

    @property
    def ids(self) -> list[str]:
        return [notice.item.transition_id for message in self.messages for notice in message]


class Topic:
    """Stands for the alerts topic: keeps every record; what is recorded comes back to the outbox."""

    def __init__(self) -> None:
        self.records: list[AlertTransition] = []

    async def record(self, item: AlertTransition) -> None:
        self.records.append(item)

    @property
    def deliveries(self) -> list[tuple[str, str]]:
        return [(item.transition_id, item.delivery) for item in self.records if item.kind == "delivery"]


@asynccontextmanager
async def running(
    sender: Sender, topic: Topic, folder: Path, rules: RuleSet = RULES, **options: object
) -> AsyncIterator[Outbox]:
    """An outbox that delivers while the block runs; a crash of it fails the test."""
    outbox = Outbox(rules, FileSender(folder / "alerts.log"), **options)  # type: ignore[arg-type]
    outbox.restore(topic.records)
    task = asyncio.create_task(outbox.run(sender, topic.record))
    try:
        yield outbox
        if task.done():
            await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], timeout: float = 20.0) -> None:
    """Wait for a condition; fails at the deadline."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the condition did not come true")
        await asyncio.sleep(0.01)
