"""Amounts to integers of 1/10000 USD, exactly: from the decimal text, never through a double that rounds."""

from __future__ import annotations

import decimal
import re
from collections.abc import Iterable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.events import AMOUNT_PATTERN, INT64_MAX, INT64_MIN

Int64s = npt.NDArray[np.int64]

#: Below this many amounts the fixed cost of numpy calls is higher than reading them one by one.
SCALAR_BELOW: Final = 4

_AMOUNT = re.compile(AMOUNT_PATTERN)
# Amounts as nearly all are: the fast reader takes any list of them.
_PLAIN = re.compile(rb'("?)-?(?:0|[1-9][0-9]{0,30})(?:\.[0-9]{1,30})?\1')
_ZERO: Final = msgspec.Raw(b"0")
_UNIT: Final = decimal.Decimal("0.0001")
_EXACT: Final = decimal.Context(prec=40, rounding=decimal.ROUND_HALF_EVEN, Emax=10**9, Emin=-(10**9))
# A mantissa is at most 1 MiB long, so an exponent of ten digits decides alone.
_MAX_EXPONENT_DIGITS: Final = 9
_NUMBERS: Final = msgspec.json.Decoder(list[float])
# A double is wrong by at most 2**-52 of its value. Below 2**40 that is less than this margin around one half, so
# outside the margin the nearest integer of the double is the nearest integer of the text.
_MARGIN: Final = 2.0**-11
_LARGEST: Final = 2.0**40


def amount_e4(raw: bytes) -> int | None:
    """One amount as it stands in the JSON (a number, or a string with a number's grammar) in 1/10000 USD.

    More than four decimals are rounded half to even. None if it is neither, or does not fit into 64 bits.
    """
    text = _text(raw)
    match = _AMOUNT.fullmatch(text) if text is not None else None
    if match is None:
        return None
    mantissa, exponent = match.group(1), match.group(2) or "0"
    if not mantissa.strip("-0."):
        return 0
    if len(exponent.lstrip("+-").lstrip("0")) > _MAX_EXPONENT_DIGITS:
        return 0 if exponent[0] == "-" else None
    return _round(mantissa, exponent)


def _round(mantissa: str, exponent: str) -> int | None:
    try:
        # Decimal() itself keeps every digit: only quantize() rounds, once, and refuses results above `prec` digits.
        rounded = decimal.Decimal(f"{mantissa}e{exponent}").quantize(_UNIT, context=_EXACT)
    except decimal.InvalidOperation:
        return None
    value = int(rounded.scaleb(4, context=_EXACT))
    return value if INT64_MIN <= value <= INT64_MAX else None


def _text(raw: bytes) -> str | None:
    if raw[:1] == b'"':
        return msgspec.json.decode(raw, type=str)
    return raw.decode("ascii") if raw[:1] in b"-0123456789" else None


def parse_amounts(raws: list[msgspec.Raw]) -> tuple[Int64s, list[int]]:
    """1/10000 USD of each raw JSON value (0 for a bad one), and the ascending positions of the bad ones."""
    odd: list[int] = []
    doubles = _in_doubles(raws) if len(raws) >= SCALAR_BELOW else None
    if doubles is None and len(raws) >= SCALAR_BELOW:
        odd = [position for position, raw in enumerate(raws) if _PLAIN.fullmatch(raw) is None]
        repaired = list(raws)
        for position in odd:
            repaired[position] = _ZERO
        doubles = _in_doubles(repaired)
    if doubles is None:
        return _settle(raws, np.zeros(len(raws), dtype=np.int64), range(len(raws)))
    scaled = doubles * 1e4
    nearest = np.rint(scaled)
    unsure = (np.abs(scaled - nearest) > 0.5 - _MARGIN) | (np.abs(scaled) >= _LARGEST)
    unsure[odd] = True
    amounts = np.where(unsure, 0.0, nearest).astype(np.int64)
    return _settle(raws, amounts, np.flatnonzero(unsure).tolist())


def _settle(raws: list[msgspec.Raw], amounts: Int64s, positions: Iterable[int]) -> tuple[Int64s, list[int]]:
    """Let the exact reader decide on some positions."""
    bad: list[int] = []
    for position in positions:
        value = amount_e4(bytes(raws[position]))
        if value is None:
            bad.append(position)
        amounts[position] = value or 0
    return amounts, bad


def _in_doubles(raws: list[msgspec.Raw]) -> npt.NDArray[np.float64] | None:
    """Each amount as a double, or None if any of them needs the slow reader.

    All texts become one JSON array, quotes taken off, so that the JSON decoder holds them to its grammar. As many
    elements as texts: none of them can hold a comma or be empty. White space is refused, for inside a string it is wrong.
    """
    blob = b",".join(raws).translate(None, b'"')
    if len(blob.split(None, 1)) != 1 or blob[-1:].isspace() or blob[:1].isspace():
        return None
    try:
        numbers = _NUMBERS.decode(b"[" + blob + b"]")
    except msgspec.DecodeError:
        return None
    return np.array(numbers, dtype=np.float64) if len(numbers) == len(raws) else None
