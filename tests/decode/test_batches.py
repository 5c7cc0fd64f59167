"""A record's verdict depends on that record alone: not on its neighbours, the size of the batch, or where it is split."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.outcomes import MAX_EVENT_BYTES, DeadReason
from streamproc.decode import Decoded, decode_batch, explain
from streamproc.decode.batch import CHUNK
from streamproc.decode.ids import parse_ids
from streamproc.decode.strict import MAX_DEPTH
from tests.decode.strategies import TOPICS, records
from tests.decode.test_against_oracle import check, rows
from tests.support.events import cost_event, encode, user_event, video_event

AT = 1_772_359_200_000
MAKE: dict[str, Callable[..., dict[str, object]]] = {
    "user-events": user_event,
    "video-status": video_event,
    "cost-events": cost_event,
}


def joined(first: Decoded, second: Decoded, split: int) -> tuple[list[int], list[object], list[object]]:
    dead = [*first.dead, *((at + split, reason, text) for at, reason, text in second.dead)]
    return [*first.ok.tolist(), *(second.ok + split).tolist()], dead, rows(first) + rows(second)


@pytest.mark.parametrize("topic", TOPICS)
def test_split_anywhere(topic: str) -> None:
    @settings(max_examples=40, deadline=None, derandomize=True)
    @given(st.lists(records(topic), min_size=1, max_size=8), st.integers(0, 400))
    def run(values: list[bytes | None], cut: int) -> None:
        many = values * 30
        split = cut % (len(many) + 1)
        whole = decode_batch(topic, many)
        parts = joined(decode_batch(topic, many[:split]), decode_batch(topic, many[split:]), split)
        assert parts == (whole.ok.tolist(), whole.dead, rows(whole))

    run()


@pytest.mark.parametrize("topic", TOPICS)
def test_more_than_one_chunk(topic: str) -> None:
    values: list[bytes | None] = [encode(MAKE[topic](AT + at)) for at in range(CHUNK + 100)]
    for at in (0, 5, CHUNK - 1, CHUNK, CHUNK + 7):
        values[at] = b"{}"
    decoded = check(topic, values)
    assert [at for at, _, _ in decoded.dead] == [0, 5, CHUNK - 1, CHUNK, CHUNK + 7]
    assert decoded.array("occurred_at_ms").tolist() == [AT + at for at in decoded.ok.tolist()]
    assert {column.dtype for column in decoded.columns.values() if isinstance(column, np.ndarray)} == {
        column.dtype for column in decode_batch(topic, []).columns.values() if isinstance(column, np.ndarray)
    }


@pytest.mark.parametrize("topic", TOPICS)
def test_column_types(topic: str) -> None:
    wanted = {"event_id_hi": np.uint64, "event_id_lo": np.uint64, "status": np.int8, "has_video": np.bool_}
    texts = {"activity_type", "niche", "video_type", "component"}
    for size in (0, 1, 200):
        decoded = decode_batch(topic, [encode(MAKE[topic](AT))] * size)
        assert decoded.ok.dtype == np.int64
        for name, column in decoded.columns.items():
            assert len(column) == size
            if name in texts:
                assert decoded.texts(name) is column
                with pytest.raises(TypeError, match=name):
                    decoded.array(name)
            else:
                assert decoded.array(name).dtype == wanted.get(name, np.int64)
                with pytest.raises(TypeError, match=name):
                    decoded.texts(name)


def test_unknown_topic() -> None:
    with pytest.raises(KeyError):
        decode_batch("no-such-topic", [])
    with pytest.raises(KeyError):
        explain("no-such-topic", b"{}")


@pytest.mark.parametrize("size", [5, 60])
def test_no_record_hides_or_moves_another(size: int) -> None:
    event = encode(user_event(AT))
    for trick in (
        event + b"," + event,
        event + b"\n" + event,
        event[:-1],
        b"}" + event,
        b"",
        event + b"]",
        b"[" + event,
    ):
        values: list[bytes | None] = [event] * size + [trick] + [event] * size
        decoded = check("user-events", values)
        assert [at for at, _, _ in decoded.dead] == [size]


def test_ids_do_not_move_one_another() -> None:
    good = "123e4567-e89b-12d3-a456-426614174000"
    dashed, broken = good[:-2] + "--", good[:-2] + "\n-"
    pairs = [[good + "a", good[1:]], [good + "\n" + good, ""], [good[:-1] + "\n", good], [good[:-1] + "é", good]]
    for pair in [*pairs, [dashed, good], [broken, dashed], [good[:-1] + " ", good]]:
        high, low, bad = parse_ids([good] * 20 + pair)
        assert bad == [20 + at for at, text in enumerate(pair) if text != good]
        assert set(high[:20].tolist()) == {0x123E4567E89B12D3}
        assert set(low[:20].tolist()) == {0xA456426614174000}


def test_size_limit_is_inclusive() -> None:
    head = encode(user_event(AT))[:-1] + b',"padding":"'
    fits = head + b"x" * (MAX_EVENT_BYTES - len(head) - 2) + b'"}'
    decoded = check("user-events", [fits, fits[:-2] + b'y"}', b"\xff" * (MAX_EVENT_BYTES + 1)])
    assert decoded.ok.tolist() == [0]
    assert [reason for _, reason, _ in decoded.dead] == [DeadReason.TOO_LARGE, DeadReason.TOO_LARGE]


def nested(levels: int, opening: str = "[", closing: str = "]") -> bytes:
    """A user event that is nested `levels` deep, its own braces included."""
    body = opening * (levels - 1) + '"[{"' + closing * (levels - 1)
    return encode(user_event(AT))[:-1] + f',"x":{body}}}'.encode()


def test_nesting_limit_does_not_depend_on_the_stack() -> None:
    values: list[bytes | None] = [nested(MAX_DEPTH), nested(MAX_DEPTH, '{"a":', "}"), nested(MAX_DEPTH + 1)]
    values += [nested(10_000), b"[" * 1_000_000, encode(user_event(AT, note=["[{" * 500, [[]] * 400]))]
    check("user-events", values)

    def deeper(frames: int) -> Decoded:
        return decode_batch("user-events", values) if frames == 0 else deeper(frames - 1)

    frame, used = sys._getframe(), 0
    while frame.f_back is not None:
        frame, used = frame.f_back, used + 1
    decoded = deeper(sys.getrecursionlimit() - used - MAX_DEPTH - 60)
    assert decoded.ok.tolist() == [0, 1, 5]
    assert {text for _, _, text in decoded.dead} == {f"nested deeper than {MAX_DEPTH} levels"}


def test_hostile_strings_take_linear_time() -> None:
    """Bracket-rich and quote-rich values of 1 MiB: the nesting check must not look at each quote anew."""
    for body in (b'"' + b'\\"[' * 340_000, b"[" * 300 + b'"\\' * 500_000, b'{"' * 500_000, b'"[' * 500_000):
        assert explain("user-events", b'{"x":' + body) is not None


def test_personal_values_are_not_told() -> None:
    secrets = {
        "ip_address": 203011377,
        "user_agent": ["Mozilla-secret"],
        "session_id": "secret-session",
        "user_id": "me",
    }
    for field, value in secrets.items():
        problem = explain("user-events", encode(user_event(AT, **{field: value})))
        assert problem is not None
        assert problem[1].startswith(f"{field}: ")
        assert not any(word in problem[1] for word in ("secret", "203011377", "'me'"))
    problem = explain("video-status", encode(video_event(AT, status="x" * 5000)))
    assert problem is not None and len(problem[1]) < 200


def test_version_is_judged_before_fields() -> None:
    for version, reason in (("2.0.0", DeadReason.UNKNOWN_VERSION), ("2.0", DeadReason.MALFORMED)):
        value = json.dumps({"schema_version": version, "something": "else"}).encode()
        problem = explain("cost-events", value)
        assert problem is not None and problem[0] == reason
        assert decode_batch("cost-events", [value] * 3).dead == [(at, *problem) for at in range(3)]
