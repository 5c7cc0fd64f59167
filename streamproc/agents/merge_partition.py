"""One partition of window-partials at a worker: its windows, how far it was read and how far it is stored."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from schemas.results import ALL, OPEN
from streamproc.windows.merge import MergeState, WindowKey

#: Ends of batches that are remembered: about 100 s at five a second. While ClickHouse is away for longer, what was
#: reported before goes on counting.
_MAX_PASSED: Final = 512
#: An entity stays in memory for a minute after its last event. With very many of them (a video costs 2 KB) idle ones go
#: sooner; whoever comes back is looked up in ClickHouse.
_ENTITY_IDLE_MS: Final = 60_000
_BUSY_ENTITY_IDLE_MS: Final = 5_000
_MANY_ENTITIES: Final = 500


class Span(NamedTuple):
    """Windows that begin at `since` or later and before `before`, in epoch ms by size; without `before` no end."""

    since: dict[str, int]
    before: dict[str, int]


@dataclass(slots=True)
class MergePartition:
    """One partition of window-partials at this worker: its windows and how far it was read."""

    number: int
    state: MergeState = field(default_factory=MergeState)
    next_offset: int = 0
    tail: Any = None
    tail_hash: str = ""
    #: Whether the stored cells of all windows that may be open are known.
    loaded: bool = False
    #: What is still to be asked for until then, the newest windows first; None before the first question.
    to_look_up: list[Span] | None = None
    #: No record says how far its cells are stored: the log is new, and who died with the old one may have stored cells
    #: without their values.
    from_start: bool = False
    #: Whether Redis lacks what was let go: quiet entities, older windows; None (a new owner cannot tell): if it is young.
    history_due: bool | None = None
    reported: int = -1
    #: (offset, identity) of the last records of batches: where a restart may begin.
    passed: deque[tuple[int, str]] = field(default_factory=lambda: deque(maxlen=_MAX_PASSED))
    #: Messages of our own stage 1 that were joined when they were acknowledged, by offset.
    joined: dict[int, bytes] = field(default_factory=dict)

    def restart(self) -> None:
        """Read from the beginning of a new log. What is held stays: perhaps nobody else has it any more."""
        self.next_offset, self.tail, self.tail_hash, self.reported = 0, None, "", -1
        self.passed.clear()
        self.joined.clear()
        self.state.new_log()

    def settled(self, now_ms: int) -> list[WindowKey]:
        """Windows that nothing waits for in this state: final ones, and entities that have been idle (by a steady clock)."""
        windows = self.state.windows
        entities = sum(1 for key in windows if key.size == ALL)
        idle_ms = _ENTITY_IDLE_MS if entities <= _MANY_ENTITIES else _BUSY_ENTITY_IDLE_MS
        return [
            key
            for key, window in windows.items()
            if (now_ms - window.touched_at_ms > idle_ms if key.size == ALL else window.status != OPEN)
            and window.complete
            and not window.changed
            and key not in self.state.dirty
        ]

    def stored_until(self) -> int:
        """The first offset of window-partials whose cells are not surely in ClickHouse."""
        first = min((at for w in self.state.windows.values() for _, at in w.changed.values()), default=self.next_offset)
        # Only ends of batches are remembered with their identity: go back to the last one at or before it.
        return max((offset + 1 for offset, _ in self.passed if offset < first), default=self.reported)

    def hash_before(self, offset: int) -> str:
        """Identity of the record before `offset`, as far as it is remembered ('' if not)."""
        for record_offset, identity in reversed(self.passed):
            if record_offset == offset - 1:
                return identity
        return ""
