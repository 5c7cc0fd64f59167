"""Amounts are exact: the fast reader, the exact one and fractions agree, above all around halves of 1/10000."""

from __future__ import annotations

from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproc.decode.money import amount_e4, parse_amounts
from tests.decode.strategies import numbers

BAD = ["null", "true", "[1]", "{}", '""', '" 1"', '"1 "', '"1,2"', '"1.0.0"', '"01"', '"+1"', '".5"', '"1."', '"NaN"']
BAD += [
    '"Infinity"',
    '"-"',
    '"1_0"',
    '"0x1"',
    '"1e"',
    '"1e+"',
    '"١"',
    '"1\\n"',
    '"1]"',
    '"]["',
    '"\\"1"',
    '"1\\u002c2"',
]
BAD += ["922337203685477.5808", "-922337203685477.58086", "1e400", "1e999999999999", '"-1e99999999999999999999"']

GOOD = {
    "0": 0,
    "-0.0": 0,
    "0.1234": 1234,
    "0.00005": 0,
    "0.00015": 2,
    "-0.00015": -2,
    '"0.00025"': 2,
    "0.000250000000000000000000000000000001": 3,
    "0.00024999999999999999999999999999999": 2,
    "2.675": 26750,
    "1.00005": 10000,
    "1.00015": 10002,
    '"1e2"': 1000000,
    "15E-5": 2,
    '"\\u0031.5"': 15000,
    "109951162.77755": 1099511627776,  # a double above 2**40 is no longer trusted
    "123456789012.34565": 1234567890123456,
    "922337203685477.5807": 2**63 - 1,
    "-922337203685477.5808": -(2**63),
    "922337203685477.58074": 2**63 - 1,
    "1e-400": 0,
    "-1e-99999999999999999999": 0,
    "0e99999999999999999999": 0,
}


def raws(texts: list[str]) -> list[msgspec.Raw]:
    return [msgspec.Raw(text.encode()) for text in texts]


@pytest.mark.parametrize("text", BAD)
def test_refused(text: str) -> None:
    assert amount_e4(text.encode()) is None
    amounts, bad = parse_amounts(raws(["0.5"] * 20 + [text] + ["1"] * 20))
    assert bad == [20]
    assert amounts.tolist() == [5000] * 20 + [0] + [10000] * 20


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_values(text: str, expected: int) -> None:
    assert amount_e4(text.encode()) == expected
    assert parse_amounts(raws(["0.5"] * 20 + [text]))[0].tolist() == [5000] * 20 + [expected]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(numbers(), min_size=10, max_size=60))
def test_like_fractions(texts: list[str]) -> None:
    exact = [round(Fraction(text) * 10_000) for text in texts]
    fits = [-(2**63) <= value < 2**63 for value in exact]
    amounts, bad = parse_amounts(raws(texts))
    assert bad == [at for at, fit in enumerate(fits) if not fit]
    assert amounts.tolist() == [value if fit else 0 for value, fit in zip(exact, fits, strict=True)]


def test_every_half() -> None:
    """Each odd and even half of 1/10000 around several magnitudes, and one digit to either side of it."""
    texts = [
        f"{whole}.{tail:04d}{end}"
        for whole in (0, 1, 7, 1023, 99_999_999, 109_951_162, 109_951_163)
        for tail in range(0, 200)
        for end in ("5", "49999999999", "50000000001")
    ]
    assert parse_amounts(raws(texts))[0].tolist() == [round(Fraction(text) * 10_000) for text in texts]


def test_long_texts_are_read_in_linear_time() -> None:
    assert amount_e4(b'"0.' + b"0" * 900_000 + b'1e900001"') == 10_000
    assert amount_e4(b"9" * 1_000_000) is None
    assert amount_e4(b"0." + b"9" * 1_000_000) == 10_000
