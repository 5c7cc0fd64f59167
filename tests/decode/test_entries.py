"""Entries of Redis Streams as messages: bytes as they are, keys as contracts name them, fields as JSON that readers take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.topics import CDC_USERS, CHANGES, COST_EVENTS, OPS_EVENTS, SOURCES, USER_EVENTS
from streamproc.decode import explain
from streamproc.decode.changes import decode_change
from streamproc.decode.entries import EntryMessage, read_entry

EXAMPLES = Path(__file__).parents[2] / "schemas" / "examples"
TOPICS = st.sampled_from([*SOURCES, *CHANGES])
NAMES = st.one_of(st.sampled_from([b"user_id", b"ok", b"video_id", b"x", b'"', b"occurred_at"]), st.binary(max_size=6))
TEXTS = st.one_of(
    st.sampled_from([b"7", b"-0", b"07", b"1e3", b"0.5", b"true", b"null", b"NaN", b'"\\\n\x00']),
    st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")),
    st.binary(max_size=8),
)
PAIRS = st.lists(st.tuples(NAMES, TEXTS), max_size=6)


@given(
    TOPICS, st.binary(max_size=200), st.binary(min_size=1, max_size=20), PAIRS, st.sampled_from([b"value", b"payload"])
)
def test_value_and_key_go_as_they_are(
    topic: str, value: bytes, key: bytes, others: list[tuple[bytes, bytes]], name: bytes
) -> None:
    others = [pair for pair in others if pair[0] not in (b"key", b"value", b"payload")]
    assert read_entry(topic, [*others, (name, value), (b"key", key)]) == EntryMessage(key, value)
    assert read_entry(topic, [(b"value", b"old"), *others, (b"value", value), (b"payload", b"less")]).value == value


@given(
    st.sampled_from(sorted(SOURCES)),
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.text(max_size=9), st.none(), st.booleans()),
)
def test_a_key_is_taken_from_the_event(topic: str, found: object) -> None:
    """By the table of the contracts, which knows numbers, one text, and one word for nothing."""
    name = {"video-status": "video_id", "cost-events": "video_id", "ops-events": "service"}.get(topic, "user_id")
    key = None
    if topic == OPS_EVENTS:
        key = found.encode() if isinstance(found, str) else None
    elif found is None:
        key = b"overhead" if topic == COST_EVENTS else None
    elif isinstance(found, int) and not isinstance(found, bool):
        key = b"%d" % found
    value = json.dumps({name: found}).encode()
    assert read_entry(topic, [(b"value", value)]) == EntryMessage(key, value)
    assert read_entry(topic, [(b"key", b""), (b"value", value)]) == EntryMessage(key, value)


@given(TOPICS, PAIRS)
def test_fields_become_an_object_that_says_the_same(topic: str, pairs: list[tuple[bytes, bytes]]) -> None:
    """Whatever they hold: nothing is lost, and what is text in all of Redis is text or the literal that it spells."""
    pairs = [pair for pair in pairs if pair[0] not in (b"key", b"value", b"payload")]
    value = read_entry(topic, pairs).value
    found = json.loads(value.decode("utf-8", "surrogateescape"), object_pairs_hook=list)
    assert len(found) == len(pairs)
    for (name, text), (its_name, its_value) in zip(pairs, found, strict=True):
        assert its_name == name.decode("utf-8", "surrogateescape")
        if isinstance(its_value, str):
            assert its_value == text.decode("utf-8", "surrogateescape")
        else:
            assert json.loads(text) == its_value


@pytest.mark.parametrize("topic", SOURCES)
def test_every_valid_example_is_valid_as_fields_too(topic: str) -> None:
    """Flat texts, as Redis has them; a null is a field that is not there."""
    seen = 0
    for path in sorted((EXAMPLES / topic / "valid").glob("*.json")):
        event = json.loads(path.read_bytes(), parse_float=str)
        if any(isinstance(value, (dict, list)) for value in event.values()):
            continue
        fields = [
            (name.encode(), (value if isinstance(value, str) else json.dumps(value)).encode())
            for name, value in event.items()
            if value is not None
        ]
        message = read_entry(topic, fields)
        assert explain(topic, message.value) is None, path
        assert message.key == read_entry(topic, [(b"value", path.read_bytes())]).key
        seen += 1
    assert seen > 5


@pytest.mark.parametrize("wrap", [lambda row: row, lambda row: {"schema": {}, "payload": row}], ids=["plain", "schema"])
def test_the_key_of_a_change_is_debeziums(wrap) -> None:
    """From the row after, or before; one that its reader takes."""
    for row in ({"after": {"id": 7}}, {"before": {"id": 7}, "after": None, "op": "d"}):
        value = json.dumps(wrap(row)).encode()
        assert read_entry(CDC_USERS, [(b"value", value)]) == EntryMessage(b'{"id":7}', value)
    assert read_entry(CDC_USERS, [(b"value", b'{"payload":[]}')]).key is None
    deleted = json.dumps(
        {"op": "d", "before": None, "after": None, "source": {"lsn": 5, "ts_ms": 1}, "ts_ms": 1}
    ).encode()
    assert not isinstance(decode_change(CDC_USERS, b'{"id":7}', deleted), tuple)


def test_what_is_too_long_for_every_reader_is_not_parsed() -> None:
    """A megabyte of JSON would be tens of megabytes of objects."""
    value = b'{"user_id":7,"x":"' + b"y" * 1024 * 1024 + b'"}'
    assert read_entry(USER_EVENTS, [(b"value", value)]) == EntryMessage(None, value)
