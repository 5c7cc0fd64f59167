"""What a worker keeps of one partition of an event topic: its folded state and what is not yet safe elsewhere."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schemas.internal import LostRange, Progress, Segment, source_name
from streamproc.agents.flood import FloodGuard
from streamproc.agents.poison import Care
from streamproc.clock import monotonic
from streamproc.windows.source import NEVER, SourceState


@dataclass(slots=True)
class DeadLetter:
    """A record that cannot count: `reason` is one of the contract's, `error` says in words what is wrong with it."""

    record: Any
    reason: str
    error: str


@dataclass(slots=True)
class SourceRuntime:
    """One partition of an event topic at this worker (`topic` as contracts name it).

    `state` is None until the log has a first record (an empty log has no identity). `dead_until` is the last offset
    whose dead letter and cells are surely sent (but for large cells, which are sent less often); `tail` the last record applied. `paused` while nearly everything is bad.
    """

    topic: str
    partition: int
    state: SourceState | None = None
    log_id: str = ""
    guard: FloodGuard = field(default_factory=FloodGuard)
    dead: list[DeadLetter] = field(default_factory=list)
    dead_until: int = -1
    paused: bool = False
    tail_hash: str = ""
    tail: Any = None
    taken_offset: int = -1
    reported_offset: int = -1
    reported_at_s: float = float("-inf")
    opened_at_s: float = float("-inf")
    saved_offset: int = -1
    saved: Progress | None = None
    saved_fully_at_s: float = float("-inf")
    save_due_s: float = 0.0
    ids: list[Segment] = field(default_factory=list)
    statuses: list[Segment] = field(default_factory=list)
    care: Care = field(default_factory=Care)
    lost: list[LostRange] = field(default_factory=list)

    @property
    def source(self) -> str:
        """Name of the source, '' while the log is empty."""
        return source_name(self.topic, self.partition, self.log_id) if self.log_id else ""

    @property
    def next_offset(self) -> int:
        """The offset to read next."""
        return 0 if self.state is None else self.state.offset + 1

    def open(self, log_id: str, dedup_horizon_ms: int) -> SourceState:
        """Begin with a log that was not seen before."""
        self.log_id = log_id
        self.opened_at_s = monotonic()
        self.state = SourceState(self.topic, self.source, dedup_horizon_ms)
        return self.state

    def progress(self, kind: str, wall_ms: int) -> Progress:
        """The progress record as of what is applied now."""
        assert self.state is not None
        state = self.state
        return Progress(
            kind=kind,
            source=self.source,
            topic=self.topic,
            partition=self.partition,
            log_id=self.log_id,
            offset=state.offset,
            wall_ms=wall_ms,
            log_time_ms=max(state.log_time_ms, NEVER),
            max_event_ms=max(state.max_event_ms, NEVER),
            tail_hash=self.tail_hash,
            poison=sorted(self.care.poison),
            sent=state.sent_until,
            lost=list(self.lost),
        )
