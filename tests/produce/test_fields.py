"""Fields that nobody sets keep their text."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproc.produce.fields import with_fields
from streamproc.produce.lines import RawLine, read_line

NOW = 1_795_341_600_000
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b'{"a": 123456789012345678901234567890}', b'{"a":123456789012345678901234567890,"x":[1]}'),
        (b'{"a": 0.10, "b": 1e5}', b'{"a":0.10,"b":1e5,"x":[1]}'),
        (b'{"a": "\\u00e9\\/"}', b'{"a":"\\u00e9\\/","x":[1]}'),
        (b'{"x": 7, "a": 1, "x": 8}', b'{"x":[1],"a":1}'),
        (b"{}", b'{"x":[1]}'),
    ],
)
def test_only_what_is_set_changes(text: bytes, expected: bytes) -> None:
    assert with_fields(text, {"x": [1]}) == expected


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"7", b'{"a":', b'{"a":NaN}', b"\xff", b'{"a":' + b"[" * 2000 + b"]" * 2000 + b"}"]
)
def test_what_is_no_object(text: bytes) -> None:
    assert with_fields(text, {"x": 1}) is None


@given(st.dictionaries(st.text(), VALUES), st.dictionaries(st.text(), st.integers(0, 2**53)))
def test_like_updating_the_object(event: dict[str, object], changes: dict[str, int]) -> None:
    """The meaning is that of a dictionary's update."""
    try:
        text = json.dumps(event).encode()
        text.decode()
        json.dumps(event, ensure_ascii=False).encode()
        json.dumps(changes, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return  # lone surrogates are no JSON here
    found = with_fields(text, changes)
    if found is None:
        raise AssertionError(text)
    assert json.loads(found) == event | changes


@pytest.mark.parametrize("levels", [1, 300, 900, 3000])
def test_a_fresh_line_that_is_nested_deeply(levels: int) -> None:
    """Fresh events of any depth: written anew or left as they are, and judged; never an exception."""
    raw = b'{"x":' + b"[" * levels + b"]" * levels + b',"occurred_at":"2026-03-01T10:00:00Z"}'
    line = read_line("user-events", RawLine(1, raw, len(raw)), NOW)
    assert line.problem
    assert b"[" * levels in line.value


def test_a_fresh_line_with_a_time_beyond_the_calendar() -> None:
    """The distance to it cannot be kept, so it stays."""
    raw = b'{"occurred_at":"2026-03-01T10:00:00Z","ends_at":"9999-12-31T23:59:59Z","began_at":"2026-03-01T09:00:00Z"}'
    event = json.loads(read_line("user-events", RawLine(1, raw, len(raw)), NOW).value)
    assert event["ends_at"] == "9999-12-31T23:59:59Z"
    assert event["began_at"] != "2026-03-01T09:00:00Z"
