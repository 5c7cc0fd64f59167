"""Lines of NDJSON as messages: keys, reasons, fresh ids and times."""

from __future__ import annotations

import io
import json

import pytest

from schemas.keys import key_for
from streamproc.errors import ConfigError
from streamproc.produce.lines import RawLine, check_topic, freshened, line_batches, read_line
from tests.support.events import (
    COST_EVENTS,
    USER_EVENTS,
    VIDEO_STATUS,
    cost_event,
    encode,
    rfc3339,
    user_event,
    video_event,
)

NOW = 1_772_445_600_000


def test_lines_are_numbered_blank_ones_skipped_and_ends_counted() -> None:
    """CRLF, blank lines and a last line without an end."""
    text = b'{"a":1}\r\n\n  \n{"b":2}\nlast'
    lines = [line for batch in line_batches(io.BytesIO(text)) for line in batch]
    assert lines == [RawLine(1, b'{"a":1}', 9), RawLine(4, b'{"b":2}', 21), RawLine(5, b"last", len(text))]


def test_a_slow_pipe_is_not_held_back() -> None:
    """What one read brings is yielded at once, whole lines only."""

    class Pipe(io.BytesIO):
        parts = iter([b"one\ntw", b"o\n", b""])

        def read1(self, _size: int | None = -1, /) -> bytes:
            return next(self.parts)

    assert [[line.raw for line in batch] for batch in line_batches(Pipe())] == [[b"one"], [b"two"]]


def test_keys_are_those_of_the_contracts() -> None:
    """Decimal text of user_id or video_id; overhead for a cost of no video; a service; none where nothing can be said."""
    assert key_for("ops-events", {"service": "script-writer"}) == b"script-writer"
    assert key_for(USER_EVENTS, {"user_id": "42"}) is None
    assert key_for(USER_EVENTS, {"user_id": 42}) == b"42"
    assert key_for(VIDEO_STATUS, {"video_id": 7, "user_id": 1}) == b"7"
    assert key_for(COST_EVENTS, {"video_id": 7}) == b"7"
    assert key_for(COST_EVENTS, {"video_id": None}) == b"overhead"
    assert key_for(COST_EVENTS, {}) == b"overhead"
    assert key_for(USER_EVENTS, {"user_id": True}) is None
    assert key_for(USER_EVENTS, [1]) is None


def test_valid_and_invalid_lines() -> None:
    """A valid event keeps its bytes; an invalid one has a reason, and its key if it can be told."""
    raw = encode(cost_event(NOW, video_id=None))
    line = read_line(COST_EVENTS, RawLine(3, raw, 0))
    assert (line.number, line.key, line.value, line.problem) == (3, b"overhead", raw, "")
    broken = read_line(USER_EVENTS, RawLine(4, encode(user_event(NOW, response_time_ms=-1)), 0))
    assert broken.problem.startswith("malformed: ")
    assert broken.key == b"1"
    assert read_line(USER_EVENTS, RawLine(5, b"{", 0)).problem.startswith("malformed: ")


def test_fresh_events_keep_the_distances_of_their_times() -> None:
    """Id and time are new; what lay 120 s before the event lies 120 s before it still; the rest stays."""
    old = video_event(NOW, "completed")
    new = old | freshened(old, NOW + 5_000_000)
    assert new["event_id"] != old["event_id"]
    assert new["occurred_at"] == rfc3339(NOW + 5_000_000)
    assert new["requested_at"] == rfc3339(NOW + 5_000_000 - 120_000)
    assert new["video_id"] == old["video_id"]
    line = read_line(USER_EVENTS, RawLine(1, encode(user_event(0)), 0), fresh_at_ms=NOW)
    assert json.loads(line.value)["occurred_at"] == rfc3339(NOW)
    assert line.problem == ""


def test_an_unknown_topic_is_wrong_use() -> None:
    """The error names the topics that there are."""
    with pytest.raises(ConfigError, match="user-events, video-status, cost-events"):
        check_topic("users")
