"""Events drawn from a JSON Schema, and schemas changed at random: the material for tests of the comparison.

Knows nothing of schemas.shapes or schemas.compatibility. What a JSON Schema cannot say (the calendar, 64 bits of an amount) is
kept by drawing real times and small amounts.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from schemas.events import AMOUNT_PATTERN, TIME_PATTERN, UUID_PATTERN

Schema = dict[str, Any]

_TEXT = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=6)
_TIMES = st.datetimes(datetime(1970, 1, 1), datetime(2105, 12, 31)).map(lambda at: at.isoformat() + "Z")
_PATTERNS: Final = {
    f"^{UUID_PATTERN}$": st.uuids().map(str),
    f"^{TIME_PATTERN}$": _TIMES,
    f"^{AMOUNT_PATTERN}$": st.integers(-(10**9), 10**9).map(lambda number: f"{number / 1000:.3f}"),
}
_VERSIONS = st.sampled_from(["1.0.0", "1.0.3", "1.0.0-rc.1+b"])
_INT64: Final = (-(2**63), 2**63 - 1)


def values(field: Schema) -> st.SearchStrategy[Any]:
    """Values that a field's schema allows."""
    if "anyOf" in field:
        return st.one_of([values(each) for each in field["anyOf"]])
    if "enum" in field:
        return st.sampled_from(field["enum"])
    low, high = field.get("minimum", _INT64[0]), field.get("maximum", _INT64[1])
    match field["type"]:
        case "integer":
            return st.one_of(st.integers(low, high), st.sampled_from([low, high]))
        case "number":
            low, high = max(low, -(10**9)), min(high, 10**9)
            return st.one_of(st.floats(low, high), st.sampled_from([low, high]))
        case "string":
            return _PATTERNS.get(field.get("pattern", ""), _VERSIONS if "pattern" in field else _TEXT)
        case kind:
            return {"boolean": st.booleans(), "null": st.none()}[kind]


@st.composite
def documents(draw: st.DrawFn, schema: Schema, unknown: bool = True) -> dict[str, Any]:
    """An event that is valid under the schema; with a field that it does not know, if wanted."""
    event = {
        name: draw(values(field))
        for name, field in schema["properties"].items()
        if name in schema["required"] or draw(st.booleans())
    }
    for rule in schema.get("allOf", ()):
        ((name, condition),) = rule["if"]["properties"].items()
        if event[name] == condition["const"]:
            for needed in rule["then"]["required"]:
                if event.get(needed) is None:
                    event[needed] = draw(values(schema["properties"][needed]).filter(lambda value: value is not None))
    if unknown and draw(st.booleans()):
        event["not_in_any_schema"] = draw(st.sampled_from([None, 1.5, {"deep": [{}]}, "text"]))
    return event


def encode(event: dict[str, Any]) -> bytes:
    """As a producer sends it."""
    return json.dumps(event, ensure_ascii=False).encode()


class Change(NamedTuple):
    """A change of a schema, the field that is changed, and whether records of the original can be refused after it."""

    name: str
    field: str
    narrows: bool
    original: Schema
    act: Callable[[Schema], object]

    @property
    def schema(self) -> Schema:
        """The changed schema."""
        changed = copy.deepcopy(self.original)
        self.act(changed)
        return changed


def _parts(field: Schema) -> list[Schema]:
    return list(field.get("anyOf", [field]))


class _Changes(list[Change]):
    """Changes of one schema as they are found."""

    def __init__(self, original: Schema) -> None:
        super().__init__()
        self.original = original

    def add(self, what: str, name: str, narrows: bool, act: Callable[[Schema], object]) -> None:
        """One more, of the schema."""
        self.append(Change(what, name, narrows, self.original, act))

    def add_at(self, what: str, name: str, place: int, narrows: bool, act: Callable[[Schema], object]) -> None:
        """One more, of one of a field's alternatives."""
        self.add(what, name, narrows, lambda s: act(_parts(s["properties"][name])[place]))


def changes(original: Schema) -> list[Change]:
    """Every single change that is tried, of every field that it fits."""
    found = _Changes(original)
    for name, field in original["properties"].items():
        _of_a_field(found, name, field)
        for place, part in enumerate(_parts(field)):
            _of_a_part(found, name, place, part)
    _of_conditions(found)
    integer = {"type": "integer"}
    found.add("new optional field", "brand_new", False, lambda s: s["properties"].update(brand_new=integer))
    found.add("new required field", "brand_new", True, lambda s: _require_new(s, integer))
    return found


def _of_a_field(found: _Changes, name: str, field: Schema) -> None:
    if name in found.original["required"]:
        found.add("made optional", name, False, lambda s: s["required"].remove(name))
    else:
        found.add("made required", name, True, lambda s: s["required"].append(name))
        found.add("dropped", name, True, lambda s: _drop(s, name))
    if {"type": "null"} in _parts(field):
        found.add("null refused", name, True, lambda s: s["properties"][name]["anyOf"].remove({"type": "null"}))
    else:
        found.add("null allowed", name, False, lambda s: _widen(s, name, {"type": "null"}))
    found.add("anything allowed", name, False, lambda s: s["properties"].update({name: {}}))
    found.add("type changed", name, True, lambda s: s["properties"].update({name: {"type": "array"}}))
    if "enum" in field:
        found.add("value removed", name, True, lambda s: s["properties"][name]["enum"].pop())
        found.add("value added", name, False, lambda s: s["properties"][name]["enum"].append("another"))


def _of_a_part(found: _Changes, name: str, place: int, part: Schema) -> None:
    kind = part.get("type")
    if kind in ("integer", "number"):
        low, high = part.get("minimum", 0) + 1, part.get("maximum", 0) - 1
        found.add_at("minimum narrowed", name, place, True, lambda part: part.update(minimum=low))
        found.add_at("maximum narrowed", name, place, True, lambda part: part.update(maximum=high))
        found.add_at("minimum lifted", name, place, False, lambda part: part.pop("minimum", None))
        found.add_at("maximum lifted", name, place, False, lambda part: part.pop("maximum", None))
    if kind == "number":
        found.add_at("number to integer", name, place, True, lambda part: part.update(type="integer"))
    if kind == "integer":
        found.add_at("integer to number", name, place, False, lambda part: part.update(type="number"))
    if kind == "string":
        found.add_at("pattern narrowed", name, place, True, lambda part: part.update(pattern="^x$"))
        found.add_at("pattern lifted", name, place, False, lambda part: part.pop("pattern", None))


def _of_conditions(found: _Changes) -> None:
    fields, rules = found.original["properties"], found.original.get("allOf", ())
    enums = [(name, field["enum"][0]) for name, field in fields.items() if "enum" in field]
    for name in (name for name, field in fields.items() if {"type": "null"} in _parts(field)):
        for kind, value in enums:
            if not any(_condition(rule, kind) == value and name in rule["then"]["required"] for rule in rules):
                found.add("demanded by a value", name, True, partial(_demand, kind=kind, value=value, name=name))
                found.add("demanded by a new value", name, False, partial(_demand_new, kind=kind, name=name))


def _widen(schema: Schema, name: str, part: Schema) -> None:
    schema["properties"][name] = {"anyOf": [*_parts(schema["properties"][name]), part]}


def _drop(schema: Schema, name: str) -> None:
    del schema["properties"][name]
    for rule in schema.get("allOf", ()):
        rule["then"]["required"] = [each for each in rule["then"]["required"] if each != name]
        rule["then"]["properties"].pop(name, None)


def _require_new(schema: Schema, field: Schema) -> None:
    schema["properties"]["brand_new"] = field
    schema["required"].append("brand_new")


def _condition(rule: Schema, kind: str) -> Any:
    return rule["if"]["properties"].get(kind, {}).get("const")


def _demand(schema: Schema, kind: str, value: str, name: str) -> None:
    rule = {
        "if": {"properties": {kind: {"const": value}}, "required": [kind]},
        "then": {"required": [name], "properties": {name: {"not": {"type": "null"}}}},
    }
    schema.setdefault("allOf", []).append(rule)


def _demand_new(schema: Schema, kind: str, name: str) -> None:
    schema["properties"][kind]["enum"].append("another")
    _demand(schema, kind, "another", name)
