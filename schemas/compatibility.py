"""Whether records of one schema are read by another: each difference that breaks them, in words. Pure.

Two directions. *Backward*, which every release must hold: a record that was valid under an older schema is valid under the
newer one, after the upcasters. *Forward*, which is told and not demanded: an older release, which ignores fields that it does
not know, reads the newer records; it holds as long as a release adds optional fields only.

The comparison may refuse a change that is harmless (a pattern written in another way); it never passes one that is not.
Two things are outside of it: a record that happens to carry an unknown field by the name of a new one (see `new_fields`),
and 64 bits (a value that an upcaster multiplies beyond them is a dead letter).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple

from schemas.shapes import ANY, NULL, Alternative, Field, Rule, Shape, canonical, type_of

#: Keyword -> whether a higher value narrows.
_BOUNDS: Final = {
    "minimum": True,
    "exclusiveMinimum": True,
    "minLength": True,
    "minItems": True,
    "maximum": False,
    "exclusiveMaximum": False,
    "maxLength": False,
    "maxItems": False,
}
_NOT_NULL: Final = canonical({"not": {"type": "null"}})


class Break(NamedTuple):
    """One change that breaks records of the older schema: the field's path, and what is wrong in words."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


def breaks(old: Shape, new: Shape, *, may_drop: bool = False) -> list[Break]:
    """What keeps records that are valid under `old` from being read under `new`, in the order of the fields.

    `may_drop`: a field that `new` does not have is ignored (the forward direction); else what it says would be lost.
    """
    found: list[Break] = []
    for name, field in old.fields.items():
        if name in new.fields:
            found += [Break(name, what) for what in _narrowed(field, new.fields[name])]
        elif not may_drop:
            found.append(Break(name, "field is gone, and what records say in it with it; no upcaster takes it"))
    for name in new.fields:
        if name in new.required - old.required:
            there = "optional" if name in old.fields else "not there"
            found.append(Break(name, f"field is required now; it was {there}"))
    for rule in new.rules:
        found += _conditional(rule, old)
    return found


def new_fields(old: Shape, new: Shape) -> list[str]:
    """Fields that only `new` has: an unknown field of that name in an older record is read as this one from now on."""
    return [name for name in new.fields if name not in old.fields]


def _narrowed(old: Field, new: Field) -> list[str]:
    """What of a field is read no more."""
    found = []
    for each in old:
        if not any(_covers(candidate, each) for candidate in new):
            found.append(_difference(each, new))
    return list(dict.fromkeys(found))


def _covers(new: Alternative, old: Alternative) -> bool:
    """True if every value of `old` is one of `new`."""
    if new == {"type": "any"}:
        return True
    if "const" in new:
        return "const" in old and canonical(old["const"]) == canonical(new["const"])
    if not _type_covers(type_of(new), type_of(old)):
        return False
    limits = {key: value for key, value in new.items() if key != "type"}
    if "const" in old:
        return all(_holds(old["const"], key, value) for key, value in limits.items())
    return all(key in old and _limit_covers(key, value, old[key]) for key, value in limits.items())


def _type_covers(new: str, old: str) -> bool:
    return new == old or (new, old) == ("number", "integer")


def _limit_covers(key: str, new: Any, old: Any) -> bool:
    if key in _BOUNDS:
        return bool(new <= old if _BOUNDS[key] else new >= old)
    return canonical(new) == canonical(old)


def _holds(value: Any, key: str, limit: Any) -> bool:
    """Whether one value keeps a limit; a limit that is not known here is not kept."""
    if key == "pattern":
        return re.search(limit, value) is not None
    if key in ("minimum", "maximum"):
        return bool(value >= limit if key == "minimum" else value <= limit)
    if key in ("minLength", "maxLength"):
        return bool(len(value) >= limit if key == "minLength" else len(value) <= limit)
    return False


def _difference(old: Alternative, new: Field) -> str:
    """Why none of `new` covers `old`, in words."""
    if "const" in old:
        return f"the value {canonical(old['const'])} is not allowed any more"
    kind = type_of(old)
    if old == NULL:
        return "may not be null any more"
    if kind == "any":
        return f"could be anything, is now {_types(new)}"
    near = [each for each in new if "const" not in each and _type_covers(type_of(each), kind)]
    if not near:
        values = [canonical(each["const"]) for each in new if "const" in each and type_of(each) == kind]
        now = f"one of {', '.join(values)}" if values else _types(new)
        return f"type narrowed: {kind} before, now {now}"
    return "; ".join(
        _limit_in_words(key, value, old.get(key))
        for key, value in near[0].items()
        if key != "type" and not (key in old and _limit_covers(key, value, old[key]))
    )


def _types(field: Field) -> str:
    return " or ".join(dict.fromkeys(type_of(each) for each in field))


def _limit_in_words(key: str, new: Any, old: Any) -> str:
    if key in _BOUNDS:
        return f"bounds narrowed: {key} is {new}, it was {'not set' if old is None else old}"
    if key in ("pattern", "format"):
        return f"format changed: {key} is {new}, it was {'not set' if old is None else old}"
    return f"{key} changed from {canonical(old)} to {canonical(new)}"


def _conditional(rule: Rule, old: Shape) -> list[Break]:
    """Fields that a value requires under the new schema, and that an older record with that value need not have."""
    value = json.loads(rule.value)
    kinds = old.fields.get(rule.field, ())
    if kinds and all("const" in each for each in kinds) and {"const": value} not in kinds:
        return []  # no older record has that value
    before = old.rule(rule.field, rule.value).demands
    found = []
    for name, demand in rule.demands.items():
        known = [each for each in old.fields.get(name, ()) if each != NULL]
        nullable = len(known) < len(old.fields.get(name, ()))
        if name in before:
            # It is there, and not null if the older demand said anything of its value.
            surely = before[name] == demand or ((before[name] != "{}" or not nullable) and _meets(known, demand))
        else:
            surely = name in old.required and not nullable and _meets(known, demand)
        if not surely:
            found.append(Break(name, f"conditional requirement added: required where {rule.field} is {value}"))
    return found


def _meets(known: list[Alternative], demand: str) -> bool:
    """Whether a field with these alternatives, not null, is what a condition demands."""
    if demand in (_NOT_NULL, "{}"):
        return ANY not in known
    wanted = json.loads(demand)
    return wanted.keys() == {"type"} and all(type_of(each) == wanted["type"] for each in known)
