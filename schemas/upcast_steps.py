"""Steps that bring a record of one minor version to the next, and its schema with it. Pure.

A record is a dictionary of field names and the JSON text of each value: what a step does not touch stays as it was written,
to the last digit. A step never looks at more than the record, and never fails on a value of a wrong type: it is left as it
is, for the decoder to refuse it in words.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, DecimalException
from math import ceil, floor
from typing import Any, Final, Protocol

import msgspec

from schemas.events import AMOUNT_PATTERN, INT64_MAX, INT64_MIN
from schemas.shapes import Alternative, Rule, Shape, UnknownFormError, canonical

#: Field -> JSON text of its value.
Record = dict[str, msgspec.Raw]

_NUMBER = re.compile(AMOUNT_PATTERN)
_BOUNDS: Final = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_MOST_DIGITS: Final = 400


class Step(Protocol):
    """One change of a record's shape, told once for records and once for schemas."""

    def record(self, record: Record) -> Record:
        """The record after the step; the argument stays as it is."""

    def shape(self, shape: Shape) -> Shape:
        """What is known of every record after the step.

        Raises:
            UnknownFormError: the step does not fit this schema.
        """


@dataclass(frozen=True, slots=True)
class Renamed:
    """`old` is called `new`. An unknown field that had the new name already makes way."""

    old: str
    new: str

    def record(self, record: Record) -> Record:
        """See Step."""
        after = {name: value for name, value in record.items() if name not in (self.old, self.new)}
        if self.old in record:
            after[self.new] = record[self.old]
        return after

    def shape(self, shape: Shape) -> Shape:
        """See Step."""
        if self.old not in shape.fields or self.new in shape.fields:
            raise UnknownFormError(
                f"{self.old}: cannot be renamed to {self.new}: the one must be there and the other not"
            )

        def name(each: str) -> str:
            return self.new if each == self.old else each

        return Shape(
            {name(each): field for each, field in shape.fields.items()},
            frozenset(name(each) for each in shape.required),
            tuple(
                Rule(name(rule.field), rule.value, {name(each): text for each, text in rule.demands.items()})
                for rule in shape.rules
            ),
        )


@dataclass(frozen=True, slots=True)
class Scaled:
    """A JSON number in another unit: `old` times `factor` is `new` (the same name is allowed), exactly.

    `whole`: decimals of the product are cut off. A product beyond 64 bits is refused by the decoder where it wants an integer.
    """

    old: str
    new: str
    factor: int
    whole: bool = False

    def __post_init__(self) -> None:
        if self.factor < 1:
            raise ValueError(f"{self.old}: factor is {self.factor}; allowed: whole numbers from 1 on")

    def record(self, record: Record) -> Record:
        """See Step."""
        after = record if self.old == self.new else Renamed(self.old, self.new).record(record)
        if self.new not in after:
            return after
        text = bytes(after[self.new]).decode()
        return {**after, self.new: msgspec.Raw(self._scaled(text).encode())}

    def _scaled(self, text: str) -> str:
        if _NUMBER.fullmatch(text) is None or len(text) > _MOST_DIGITS:
            return text
        exact = Context(prec=2 * _MOST_DIGITS, Emax=MAX_EMAX, Emin=MIN_EMIN)
        try:
            product = exact.multiply(exact.create_decimal(text), Decimal(self.factor)).normalize(exact)
        except DecimalException:
            return text  # an exponent beyond all measure
        if product.is_zero() or (self.whole and product.adjusted() < 0):
            return "0"
        if product.adjusted() > _MOST_DIGITS or product.adjusted() < -_MOST_DIGITS:
            return str(product)
        whole = product == product.to_integral_value(context=exact)
        return str(int(product)) if whole or self.whole else format(product, "f")

    def shape(self, shape: Shape) -> Shape:
        """See Step."""
        after = shape if self.old == self.new else Renamed(self.old, self.new).shape(shape)
        if self.new not in after.fields:
            raise UnknownFormError(f"{self.old}: cannot be scaled: there is no such field")
        return replace(after, fields={**after.fields, self.new: tuple(map(self._alternative, after.fields[self.new]))})

    def _alternative(self, each: Alternative) -> Alternative:
        if each.get("type") == "null":
            return each
        if each.get("type") not in ("integer", "number") or not each.keys() <= {"type", *_BOUNDS}:
            raise UnknownFormError(f"{self.old}: only numbers can be scaled, this may be {canonical(each)}")
        # 64 bits are a limit of the technique and no promise: what is beyond is a dead letter.
        limits = {"minimum": INT64_MIN, "maximum": INT64_MAX} if self.whole else {}
        scaled: dict[str, Any] = {"type": "integer" if self.whole else each["type"], **limits}
        for key in _BOUNDS:
            if key in each:
                bound = each[key] * self.factor
                if self.whole:
                    bound = floor(bound) if key.endswith("inimum") else ceil(bound)
                scaled[key] = min(max(bound, INT64_MIN), INT64_MAX)
        return scaled


@dataclass(frozen=True, slots=True)
class Mapped:
    """Texts of an enumeration under other names: `names` are pairs of old and new."""

    field: str
    names: tuple[tuple[str, str], ...]

    def record(self, record: Record) -> Record:
        """See Step."""
        if self.field not in record:
            return record
        try:
            text = msgspec.json.decode(record[self.field], type=str)
        except msgspec.MsgspecError:
            return record
        new = dict(self.names).get(text)
        return record if new is None else {**record, self.field: msgspec.Raw(msgspec.json.encode(new))}

    def shape(self, shape: Shape) -> Shape:
        """See Step."""
        names = dict(self.names)
        values = [each.get("const") for each in shape.fields.get(self.field, ())]
        if not names.keys() <= set(values):
            raise UnknownFormError(f"{self.field}: is no enumeration with {', '.join(names)}")
        moved = {canonical(old): canonical(new) for old, new in names.items()}
        texts = list(dict.fromkeys(moved.get(canonical(value), canonical(value)) for value in values))
        rules = [rule for rule in shape.rules if rule.field != self.field]
        for text in texts:
            # What several values become, has only the demands that they had in common.
            before = [
                shape.rule(self.field, old).demands for old in map(canonical, values) if moved.get(old, old) == text
            ]
            shared = {
                name: wanted for name, wanted in before[0].items() if all(each.get(name) == wanted for each in before)
            }
            rules += [Rule(self.field, text, shared)] if shared else []
        fields = {**shape.fields, self.field: tuple({"const": json.loads(text)} for text in texts)}
        return Shape(fields, shape.required, tuple(rules))


@dataclass(frozen=True, slots=True)
class Filled:
    """A new field that older records cannot have: they get this value (as JSON text)."""

    field: str
    value: str

    def record(self, record: Record) -> Record:
        """See Step."""
        return {**record, self.field: msgspec.Raw(self.value.encode())}

    def shape(self, shape: Shape) -> Shape:
        """See Step."""
        if self.field in shape.fields:
            raise UnknownFormError(f"{self.field}: is there already, and cannot be filled")
        fields = {**shape.fields, self.field: ({"const": json.loads(self.value)},)}
        return Shape(fields, shape.required | {self.field}, shape.rules)


@dataclass(frozen=True, slots=True)
class Dropped:
    """A field that is read no more, or that was unknown and meant something else than the new field of its name.

    The original record keeps it, in bronze.
    """

    field: str

    def record(self, record: Record) -> Record:
        """See Step."""
        return {name: value for name, value in record.items() if name != self.field}

    def shape(self, shape: Shape) -> Shape:
        """See Step."""
        rules = tuple(
            replace(rule, demands={name: text for name, text in rule.demands.items() if name != self.field})
            for rule in shape.rules
            if rule.field != self.field
        )
        fields = {name: field for name, field in shape.fields.items() if name != self.field}
        return Shape(fields, shape.required - {self.field}, tuple(rule for rule in rules if rule.demands))


@dataclass(frozen=True, slots=True)
class Upcaster:
    """Steps in their order: a pure function of a record, and the same of a schema."""

    steps: tuple[Step, ...]

    def __call__(self, record: Record) -> Record:
        """The record one minor version later."""
        for step in self.steps:
            record = step.record(record)
        return record

    def shape(self, shape: Shape) -> Shape:
        """The demands one minor version later.

        Raises:
            UnknownFormError: a step does not fit.
        """
        for step in self.steps:
            shape = step.shape(shape)
        return shape
