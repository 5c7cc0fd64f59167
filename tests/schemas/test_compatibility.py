"""The comparison of schemas, held against events: what it passes can be read, what it refuses is named.

The truth is jsonschema and the real decoder, over events drawn from the older schema.
"""

from __future__ import annotations

from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.compatibility import Break, breaks, new_fields
from schemas.export import json_schema
from schemas.shapes import UnknownFormError, shape_of
from schemas.topics import BILLING_EVENTS, COST_EVENTS, SOURCES, USER_EVENTS, VIDEO_STATUS
from streamproc.decode import decode_batch
from tests.schemas.documents import Schema, changes, documents, encode

SETTINGS = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def compared(old: Schema, new: Schema) -> list[Break]:
    return breaks(shape_of(old), shape_of(new))


@pytest.mark.parametrize("topic", SOURCES)
def test_every_narrowing_is_refused_by_the_name_of_its_field(topic: str) -> None:
    original = json_schema(topic)
    tried = changes(original)
    assert {change.narrows for change in tried} == {True, False}
    for change in tried:
        found = compared(original, change.schema)
        if change.narrows:
            assert change.field in {each.path for each in found}, (change.name, change.field)
        else:
            assert not found, (change.name, change.field, found)


#: Nothing could be drawn from these, or the decoder of today does not know the field.
_NO_TRUTH: Final = {"type changed", "pattern narrowed", "anything allowed", "new required field", "new optional field"}


@pytest.mark.parametrize("topic", SOURCES)
@pytest.mark.parametrize("direction", ["to the changed one", "from the changed one"])
def test_what_passes_is_read(topic: str, direction: str) -> None:
    """One to three changes at random. If the original may become the changed schema, jsonschema takes every event of the original
    there; if the changed one may become the original, jsonschema and the decoder take every event of the changed one."""
    jsonschema = pytest.importorskip("jsonschema", reason="comes with the extra `batch` (dbt)")
    original, onward = json_schema(topic), direction == "to the changed one"
    passed = 0

    @SETTINGS
    @given(st.data())
    def run(data: st.DataObject) -> None:
        nonlocal passed
        changed = original
        wanted = data.draw(st.sampled_from([(not onward,), (True, False)]))  # mixed ones seldom pass
        for _ in range(data.draw(st.integers(1, 3))):
            fitting = [each for each in changes(changed) if each.narrows in wanted and each.name not in _NO_TRUTH]
            changed = data.draw(st.sampled_from(fitting)).schema
        before, after = (original, changed) if onward else (changed, original)
        if compared(before, after) or _empty(before):
            return
        event = data.draw(documents(before))
        jsonschema.validate(event, after)
        assert onward or decode_batch(topic, [encode(event)]).dead == []
        passed += 1

    run()
    assert passed >= 8


def _empty(schema: Schema) -> bool:
    """Bounds that leave nothing: no event can be drawn."""
    parts = [part for field in schema["properties"].values() for part in field.get("anyOf", [field])]
    return any(part.get("minimum", 0) > part.get("maximum", part.get("minimum", 0)) for part in parts)


@pytest.mark.parametrize("topic", SOURCES)
def test_drawn_events_are_valid(topic: str) -> None:
    """Of the truth itself: what is drawn from the exported schema, the decoder takes."""

    @SETTINGS
    @given(documents(json_schema(topic)))
    def run(event: dict[str, Any]) -> None:
        assert decode_batch(topic, [encode(event)]).dead == []

    run()


def words(topic: str, field: str, name: str) -> list[str]:
    (change,) = [each for each in changes(json_schema(topic)) if (each.field, each.name) == (field, name)][:1]
    return [each.what for each in compared(json_schema(topic), change.schema) if each.path == field]


def test_in_words() -> None:
    """Each kind of change, as a person reads it."""
    assert words(USER_EVENTS, "response_time_ms", "minimum narrowed") == ["bounds narrowed: minimum is 1, it was 0"]
    assert words(USER_EVENTS, "user_id", "type changed") == ["type narrowed: integer before, now array"]
    assert words(USER_EVENTS, "session_id", "null refused") == ["may not be null any more"]
    assert words(USER_EVENTS, "session_id", "made required") == ["field is required now; it was optional"]
    assert words(USER_EVENTS, "brand_new", "new required field") == ["field is required now; it was not there"]
    assert words(USER_EVENTS, "activity_type", "pattern narrowed") == ["format changed: pattern is ^x$, it was not set"]
    assert words(VIDEO_STATUS, "quality_score", "number to integer") == [
        "type narrowed: number before, now integer or null"
    ]
    assert words(VIDEO_STATUS, "status", "value removed") == ['the value "started" is not allowed any more']
    assert words(COST_EVENTS, "provider", "demanded by a value") == [
        "conditional requirement added: required where component is image"
    ]
    assert words(BILLING_EVENTS, "plan", "dropped") == [
        "field is gone, and what records say in it with it; no upcaster takes it"
    ]


def test_the_older_release_reads_new_records_as_long_as_only_optional_fields_are_added() -> None:
    """The forward direction, which is told and not demanded."""
    original = json_schema(USER_EVENTS)
    told = {
        change.name: breaks(shape_of(change.schema), shape_of(original), may_drop=True) for change in changes(original)
    }
    assert told["new optional field"] == []
    assert told["new required field"] == []
    assert told["integer to number"] and told["null allowed"] and told["made optional"]
    (added,) = [change for change in changes(original) if change.name == "new optional field"]
    assert new_fields(shape_of(original), shape_of(added.schema)) == ["brand_new"]


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"additionalProperties": False}, "unknown fields must be allowed"),
        ({"dependentRequired": {"a": ["b"]}}, "dependentRequired"),
        ({"properties": {"a": {"oneOf": []}}}, "a: oneOf"),
        ({"properties": {"a": {"anyOf": [{"type": "null"}], "minimum": 1}}}, "a: minimum beside anyOf"),
        ({"allOf": [{"if": {}, "then": {}, "else": {}}]}, "allOf"),
        ({"required": ["nobody"]}, "nobody"),
        ({"type": "array"}, "no object"),
    ],
)
def test_what_is_not_understood_is_refused(more: Schema, words: str) -> None:
    """Better than to pass it."""
    with pytest.raises(UnknownFormError, match=words):
        shape_of({**json_schema(USER_EVENTS), "properties": {}, "required": [], **more})


def test_descriptions_and_order_are_no_change() -> None:
    """Annotations, the order of fields, of values and of required fields."""
    one = json_schema(VIDEO_STATUS)
    fields = dict(reversed([(name, {**field, "description": "other"}) for name, field in one["properties"].items()]))
    fields["status"]["enum"] = fields["status"]["enum"][::-1]
    other = {**one, "title": "x", "properties": fields, "required": one["required"][::-1], "allOf": one["allOf"][::-1]}
    assert shape_of(one).canonical() == shape_of(other).canonical()
    assert all(
        shape_of(one).canonical() != shape_of(change.schema).canonical()
        for change in changes(one)
        if not change.name.endswith("lifted")
    )
