"""Records of former versions become current ones, on a planted contract with stored samples of each version."""

from __future__ import annotations

import pytest

from schemas.topics import COST_EVENTS, USER_EVENTS
from schemas.upcasters import Contract
from schemas.versions import Version
from streamproc.decode import batch, decode_batch, explain, versions
from tests.decode.test_against_oracle import rows
from tests.schemas.planted import FOLDER, PLANTED, UPCASTERS
from tests.schemas.samples import records, stored
from tests.support.events import encode, user_event

CURRENT = encode(user_event(1_772_359_200_250, schema_version="1.2.0", response_time_ms=5))
BOTH = pytest.mark.parametrize("topic", [USER_EVENTS, COST_EVENTS])


@pytest.fixture
def _planted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "CONTRACT", PLANTED)


def former(topic: str) -> tuple[list[bytes | None], list[dict[str, object]]]:
    """The stored samples of both former versions, and what they must become."""
    folders = [FOLDER / "1.0.0", FOLDER / "1.1.0"]
    values = [value for folder in folders for value in records(folder, topic)]
    return values, [row for folder in folders for row in stored(folder, topic, "columns")]


@BOTH
@pytest.mark.usefixtures("_planted")
def test_samples_of_each_former_version(topic: str) -> None:
    """Alone, together, and in batches of several chunks: the same."""
    values, expected = former(topic)
    assert [explain(topic, value) for value in values] == [None] * len(values)
    for value, row in zip(values, expected, strict=True):
        assert rows(decode_batch(topic, [value])) == [row]
    many = decode_batch(topic, values * 700)
    assert many.dead == []
    assert rows(many) == expected * 700


@BOTH
def test_without_the_upcasters_they_are_not_what_they_were(topic: str) -> None:
    """Of the samples themselves: that they need it."""
    values, expected = former(topic)
    assert rows(decode_batch(topic, values)) != expected


@pytest.mark.usefixtures("_planted")
def test_among_current_and_broken_records() -> None:
    """Each keeps its place; the reason says that the record was of a former version, and names no value."""
    values, expected = former(USER_EVENTS)
    good = values[0]
    assert good is not None
    wrong = [
        (good.replace(b'"user":7', b'"user":"7"'), "user_id: expected int, got str (brought to the current version from 1.0)"),
        (good.replace(b'"user":7', b'"user_id":7'), "user_id: required field is missing (brought to the current version from 1.0)"),
        (good.replace(b"0.042", b"-1"), "response_time_ms: expected int >= 0 (brought to the current version from 1.0)"),
        (good.replace(b"0.042", b"1e30"), "response_time_ms: expected int <= 9223372036854775807 (brought to the current version from 1.0)"),
        (good.replace(b"123e4567", b"123x4567"), "event_id: not a UUID in 8-4-4-4-12 form (brought to the current version from 1.0)"),
        (b"{", None),
        (b"[]", None),
        (None, "empty value"),
        (b'{"schema_version":1}', None),
    ]  # fmt: skip
    mixed = [CURRENT, values[0], *(value for value, _ in wrong), values[1], CURRENT]
    found = decode_batch(USER_EVENTS, mixed)
    assert found.ok.tolist() == [0, 1, len(mixed) - 2, len(mixed) - 1]
    assert rows(found)[1:3] == expected[:2]
    assert [at for at, _, _ in found.dead] == list(range(2, 2 + len(wrong)))
    for (value, text), (_, reason, said) in zip(wrong, found.dead, strict=True):
        assert explain(USER_EVENTS, value) == (reason, said)
        assert reason.value == "malformed"
        assert text is None or said == text


@pytest.mark.usefixtures("_planted")
def test_the_record_itself_stays_and_unknown_fields_with_it() -> None:
    """To the last digit, and the version that it says."""
    value = records(FOLDER / "1.0.0", USER_EVENTS)[4]
    assert value is not None
    brought = versions.brought_up(versions.path_to_current(USER_EVENTS, "1.0.0"), value)
    assert b'"kept":{"deep":[1.50]}' in brought
    assert b'"schema_version":"1.0.0"' in brought


def test_older_than_the_two_former_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead, with the versions that are read; and of the new contract 1.1 is the oldest."""
    monkeypatch.setattr(versions, "CONTRACT", Contract(Version(1, 3, 0), UPCASTERS))
    values = [*records(FOLDER / "1.0.0", USER_EVENTS)[:1], *records(FOLDER / "1.1.0", USER_EVENTS)[:1]]
    found = decode_batch(USER_EVENTS, values)
    text = "schema_version: 1.0 is not read any more; 1.1 to 1.3 are read, and newer minors as 1.3"
    assert [(at, reason.value, said) for at, reason, said in found.dead] == [(0, "unknown_version", text)]
    assert explain(USER_EVENTS, values[0]) == found.dead[0][1:]
    assert rows(found) == stored(FOLDER / "1.1.0", USER_EVENTS, "columns")[:1]


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("version", ["1.2.0", "1.3.0", "1.2.0-rc.1", "1.99.0", f"1.{'9' * 5000}.0"])
def test_newer_minors_are_read_as_the_current_one(version: str) -> None:
    """Their unknown fields are ignored, and no upcaster touches them."""
    value = CURRENT.replace(b'"1.2.0"', f'"{version}","response_time_s":9'.encode())
    found = decode_batch(USER_EVENTS, [value])
    assert found.columns["response_time_ms"].tolist() == [5]  # type: ignore[union-attr]
    assert explain(USER_EVENTS, value) is None


def test_nothing_is_done_where_no_upcaster_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """The way that costs something is not even entered: neither by the shipped contract, nor for other topics."""
    entered: list[str] = []
    monkeypatch.setattr(batch, "_with_former_versions", lambda topic, *_: entered.append(topic))
    assert decode_batch(USER_EVENTS, [CURRENT, b"{"]).ok.tolist() == [0]
    monkeypatch.setattr(versions, "CONTRACT", Contract(Version(1, 2, 0), {(COST_EVENTS, 0): UPCASTERS[COST_EVENTS, 1]}))
    assert decode_batch(USER_EVENTS, [CURRENT]).ok.tolist() == [0]
    assert entered == []
