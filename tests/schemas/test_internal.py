"""Records of internal topics that cannot be read: one kind of error, so that followers pass them by."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from schemas import internal
from schemas.alerts import AlertTransition
from streamproc.agents.alerting import decode_transition, encode_transition

PROGRESS = internal.Progress(
    kind="progress", source="s", topic="user-events", partition=0, log_id="l", offset=1, wall_ms=5
)
DECODERS = [internal.decode_partials, internal.decode_progress, internal.decode_state, decode_transition]
BROKEN = [
    None,
    b"",
    b"\xff",
    b'{"rule":"\xff"}',
    b'{"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    internal.encode(PROGRESS).replace(b"user-events", b"user-event\xff"),
    b"\x94\xa1\xff\x01\x90",
    b"\x91" * 5000,
]


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize("value", BROKEN)
def test_what_cannot_be_read_is_one_error(decode: Callable[[bytes | None], Any], value: bytes | None) -> None:
    """A deleted value, text that is no UTF-8, endless nesting: whoever follows a topic catches msgspec's error."""
    with pytest.raises(msgspec.MsgspecError):
        decode(value)


def test_what_can_be_read() -> None:
    assert internal.decode_progress(internal.encode(PROGRESS)) == PROGRESS


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("window_start_ms", 2**63 - 1),
        ("recorded_at_ms", -1),
        ("event_time_ms", 10_413_792_000_000),
        ("seq", -1),
        ("version", -5),
        ("fingerprint", "no hash"),
        ("fingerprint", ""),
    ],
)
def test_transitions_that_no_table_and_no_message_could_hold(field: str, value: object) -> None:
    """One such record on the alerts topic stopped all that came after it."""
    good = AlertTransition(
        transition_id="t", fingerprint="0a", seq=1, rule="r", severity="warning", state="firing", labels={}, metric="m",
        window="5m", window_start_ms=0, window_end_ms=1, value=1.5, threshold=1.0, operator=">", unit="s", summary="",
        event_time_ms=0, recorded_at_ms=0,
    )  # fmt: skip
    assert decode_transition(encode_transition(good)).rule == "r"
    with pytest.raises(msgspec.MsgspecError):
        decode_transition(encode_transition(msgspec.structs.replace(good, **{field: value})))
