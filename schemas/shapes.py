"""What a JSON Schema of our exported kind demands, in a form that can be compared: without descriptions and order.

A field is a tuple of *alternatives*, each of one JSON type: `{"type": "integer", "minimum": 0}`, `{"const": "started"}`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

Alternative = dict[str, Any]
Field = tuple[Alternative, ...]

#: `{}` allows everything.
ANY: Final[Alternative] = {"type": "any"}
NULL: Final[Alternative] = {"type": "null"}

#: What people read: a change of these changes no event.
ANNOTATIONS: Final = frozenset({"$schema", "$id", "$comment", "title", "description", "examples", "deprecated"})
_NAMES: Final = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}


class UnknownFormError(ValueError):
    """The schema says something that is not compared; the message names the field and the keyword."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where `field` has `value`, each field of `demands` is required; what else it must be then: JSON Schema as text."""

    field: str
    value: str
    demands: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Shape:
    """The demands of a schema: fields by name, those that are always required, and those that a value requires."""

    fields: Mapping[str, Field]
    required: frozenset[str]
    rules: tuple[Rule, ...] = field(default=())

    def rule(self, name: str, value: str) -> Rule:
        """What `value` (as JSON text) of the field `name` requires; an empty rule if nothing."""
        found = [rule for rule in self.rules if (rule.field, rule.value) == (name, value)]
        return found[0] if found else Rule(name, value, {})

    def canonical(self) -> str:
        """The same text for schemas that demand the same."""
        fields = {name: sorted(canonical(each) for each in field) for name, field in self.fields.items()}
        rules = sorted([rule.field, rule.value, sorted(rule.demands.items())] for rule in self.rules)
        return json.dumps([sorted(fields.items()), sorted(self.required), rules])


def canonical(value: Any) -> str:
    """JSON text that is equal for equal values (1 and true are not)."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def shape_of(schema: Mapping[str, Any]) -> Shape:
    """The demands of an exported schema.

    Raises:
        UnknownFormError: it has keywords that are not compared.
    """
    left = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    if left.pop("type", "object") != "object":
        raise UnknownFormError("the schema describes no object")
    if left.pop("additionalProperties", True) is not True:
        raise UnknownFormError("additionalProperties: unknown fields must be allowed, they are kept in bronze")
    fields = {name: alternatives(name, part) for name, part in left.pop("properties", {}).items()}
    required = frozenset(left.pop("required", ()))
    rules = _joined(_rule(part) for part in left.pop("allOf", ()))
    if left:
        raise UnknownFormError(f"{', '.join(sorted(left))}: not compared by the schema check")
    missing = required - fields.keys()
    if missing:
        raise UnknownFormError(f"{', '.join(sorted(missing))}: required, and not described")
    return Shape(fields, required, rules)


def alternatives(name: str, schema: Mapping[str, Any]) -> Field:
    """A field's schema as alternatives, enumerations as one alternative a value.

    Raises:
        UnknownFormError: a keyword that is not compared.
    """
    left = {key: value for key, value in schema.items() if key not in ANNOTATIONS}
    if not left:
        return (ANY,)
    for keyword in ("anyOf", "enum", "const"):
        if keyword in left:
            others = left.keys() - {keyword} - ({"type"} if keyword != "anyOf" else set())
            if others:
                raise UnknownFormError(f"{name}: {', '.join(sorted(others))} beside {keyword} is not compared")
            if keyword == "anyOf":
                return tuple(each for part in left[keyword] for each in alternatives(name, part))
            values = left[keyword] if keyword == "enum" else [left[keyword]]
            return tuple({"const": value} for value in values)
    if isinstance(left.get("type"), list):
        return tuple({**left, "type": each} for each in left["type"])
    if "type" not in left:
        raise UnknownFormError(f"{name}: {', '.join(sorted(left))} without a type is not compared")
    return (left,)


def type_of(alternative: Alternative) -> str:
    """The JSON type of an alternative."""
    return _NAMES[type(alternative["const"])] if "const" in alternative else str(alternative["type"])


def _rule(part: Mapping[str, Any]) -> Rule:
    """`if` a field has a value, `then` others are required: the only conditions that are exported."""
    condition, then = part.get("if", {}), part.get("then", {})
    names = list(condition.get("properties", {}))
    known = part.keys() == {"if", "then"} and condition.keys() == {"properties", "required"}
    if not known or len(names) != 1 or condition["required"] != names or not then.keys() <= {"required", "properties"}:
        raise UnknownFormError(
            "allOf: a condition of another form than `if` one field has a value, `then` others are required"
        )
    constant = condition["properties"][names[0]]
    if constant.keys() != {"const"}:
        raise UnknownFormError(f"allOf: the condition on {names[0]} is no constant")
    wanted = {name: then.get("properties", {}).get(name, {}) for name in then.get("required", ())}
    if then.get("properties", {}).keys() - wanted.keys():
        raise UnknownFormError(
            f"allOf: with {names[0]} {constant['const']}, fields are restricted that are not required"
        )
    return Rule(names[0], canonical(constant["const"]), {name: canonical(part) for name, part in wanted.items()})


def _joined(rules: Iterable[Rule]) -> tuple[Rule, ...]:
    """One rule a value, without those that require nothing."""
    found: dict[tuple[str, str], Rule] = {}
    for rule in rules:
        known = found.get((rule.field, rule.value))
        if known is not None and any(known.demands.get(name, text) != text for name, text in rule.demands.items()):
            raise UnknownFormError(f"allOf: two conditions on {rule.field} {rule.value} demand different things")
        demands = {**(known.demands if known else {}), **rule.demands}
        found[rule.field, rule.value] = Rule(rule.field, rule.value, demands)
    return tuple(rule for rule in found.values() if rule.demands)
