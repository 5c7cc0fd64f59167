"""Steps of upcasters: exact on every JSON text, harmless on wrong ones, and true to the schema that they promise."""

from __future__ import annotations

import copy
import json
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.shapes import Shape, canonical, shape_of
from schemas.topics import COST_EVENTS, USER_EVENTS
from schemas.upcast_steps import Dropped, Filled, Mapped, Record, Renamed, Scaled, Step
from streamproc.decode import decode_batch, versions
from tests.schemas.documents import documents, encode
from tests.schemas.planted import PLANTED
from tests.schemas.test_release import planted_schemas


def record(**fields: str) -> Record:
    return {name: msgspec.Raw(text.encode()) for name, text in fields.items()}


def after(step: Step, **fields: str) -> dict[str, str]:
    """A step's record, as texts; the original must stay."""
    before = record(**fields)
    same = dict(before)
    found = {name: bytes(value).decode() for name, value in step.record(before).items()}
    assert before == same
    return found


def test_renamed() -> None:
    step = Renamed("a", "b")
    assert after(step, a="1.50", c="[]") == {"b": "1.50", "c": "[]"}
    assert after(step, b='"unknown"', c="1") == {"c": "1"}
    assert after(step, a="null", b="2") == {"b": "null"}


@pytest.mark.parametrize(
    ("text", "scaled", "whole"),
    [
        ("1", "1000", "1000"),
        ("-0", "0", "0"),
        ("1.2345", "1234.5", "1234"),
        ("-1.2345", "-1234.5", "-1234"),
        ("0.0004", "0.4", "0"),
        ("12e-4", "1.2", "1"),
        ("1.5E2", "150000", "150000"),
        ("0.00000000000000000000000000000000000012345", "0.00000000000000000000000000000000012345", "0"),
        ("9007199254740993", "9007199254740993000", "9007199254740993000"),
        ("1e999999999999999999999", "1e999999999999999999999", "1e999999999999999999999"),
        ("1e1000000", "1E+1000003", "1E+1000003"),
        ("1e-1000000", "1E-999997", "0"),
        ("null", "null", "null"),
        ('"1"', '"1"', '"1"'),
        ("[1]", "[1]", "[1]"),
        ("true", "true", "true"),
    ],
)
def test_scaled(text: str, scaled: str, whole: str) -> None:
    """Exact, whatever the digits; what is no number is left to the decoder; huge exponents take no time."""
    assert after(Scaled("a", "b", 1000), a=text) == {"b": scaled}
    assert after(Scaled("a", "b", 1000, whole=True), a=text) == {"b": whole}
    assert after(Scaled("a", "a", 1000), a=text) == {"a": scaled}
    assert after(Scaled("a", "a", 1000), c=text) == {"c": text}


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.decimals(allow_nan=False, allow_infinity=False), st.integers(1, 10**6))
def test_scaled_is_arithmetic(number: Decimal, factor: int) -> None:
    from fractions import Fraction

    if abs(number.adjusted()) > 300:
        return
    (found,) = after(Scaled("a", "a", factor), a=str(number)).values()
    assert Fraction(Decimal(found)) == Fraction(number) * factor


def test_scaled_by_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="factor is 0"):
        Scaled("a", "b", 0)


def test_mapped_filled_dropped() -> None:
    step = Mapped("a", (("x", "y"), ("ü", "z")))
    assert after(step, a='"\\u0078"') == {"a": '"y"'}
    assert after(step, a='"ü"', b="1") == {"a": '"z"', "b": "1"}
    for text in ('"y"', "1", "null", "{}"):
        assert after(step, a=text) == {"a": text}
    assert after(step, b="1") == {"b": "1"}
    assert after(Filled("a", '"new"'), a="1", b="2") == {"a": '"new"', "b": "2"}
    assert after(Dropped("a"), a="1", b="2") == {"b": "2"}
    assert after(Dropped("a"), b="2") == {"b": "2"}


def with_rules() -> Shape:
    schema: dict[str, Any] = {
        "properties": {"k": {"enum": ["x", "y"]}, "a": {"type": "string"}, "b": {}, "c": {}},
        "required": ["k"],
        "allOf": [
            {"if": {"properties": {"k": {"const": value}}, "required": ["k"]}, "then": {"required": names}}
            for value, names in (("x", ["a", "b"]), ("y", ["b", "c"]))
        ],
    }
    return shape_of(schema)


def test_conditions_go_with_the_steps() -> None:
    """Of values that become one, only what they had in common is known; a renamed field is required by its new name."""
    rules = Mapped("k", (("y", "x"),)).shape(with_rules()).rules
    assert [(rule.value, list(rule.demands)) for rule in rules] == [('"x"', ["b"])]
    renamed = Renamed("b", "d").shape(with_rules())
    assert [list(rule.demands) for rule in renamed.rules] == [["a", "d"], ["d", "c"]]
    assert [rule.field for rule in Renamed("k", "kind").shape(with_rules()).rules] == ["kind", "kind"]
    assert Dropped("k").shape(with_rules()).rules == ()
    assert [list(rule.demands) for rule in Dropped("b").shape(with_rules()).rules] == [["a"], ["c"]]
    filled = Filled("e", "1").shape(with_rules())
    assert (filled.fields["e"], "e" in filled.required) == (({"const": 1},), True)
    assert canonical(1) != canonical(True)


@pytest.mark.parametrize("topic", [USER_EVENTS, COST_EVENTS])
@pytest.mark.parametrize("minor", [0, 1])
def test_drawn_events_of_former_schemas_are_read(monkeypatch: pytest.MonkeyPatch, topic: str, minor: int) -> None:
    """Whatever is valid under a planted former schema, the real decoder reads after the upcasters; some only after them."""
    monkeypatch.setattr(versions, "CONTRACT", PLANTED)
    schema = planted_schemas(minor)[topic]
    if topic == USER_EVENTS:
        # Times of a thousand years fit into 64 bits of ms: beyond is said to be no promise.
        schema["properties"]["response_time_s"]["anyOf"][0]["maximum"] = 3 * 10**10
    needed = 0

    @settings(max_examples=40, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    @given(documents(schema))
    def run(event: dict[str, Any]) -> None:
        nonlocal needed
        former = encode({**copy.deepcopy(event), "schema_version": f"1.{minor}.0"})
        assert decode_batch(topic, [former]).dead == [], json.loads(former)
        needed += bool(decode_batch(topic, [former.replace(f'"1.{minor}.0"'.encode(), b'"1.2.0"')]).dead)

    run()
    assert needed or (topic, minor) == (USER_EVENTS, 1)
