"""UUID texts to 128-bit numbers as two halves: one by one, and vectorised for a batch."""

from __future__ import annotations

import binascii
import re
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.events import UUID_PATTERN

UInt64s = npt.NDArray[np.uint64]

#: Below this many texts the fixed cost of numpy calls is higher than reading them one by one.
SCALAR_BELOW: Final = 10

_UUID = re.compile(UUID_PATTERN)
_MARKS: Final = np.frombuffer(b"----\n", dtype=np.uint8)
_MARK_PLACES: Final = [8, 13, 18, 23, 36]
_HALF: Final = 2**64 - 1
_NIL: Final = "00000000-0000-0000-0000-000000000000"


def is_uuid(text: str) -> bool:
    """True for the 8-4-4-4-12 form in hexadecimal digits of either case."""
    return _UUID.fullmatch(text) is not None


def parse_ids(texts: list[str]) -> tuple[UInt64s, UInt64s, list[int]]:
    """High and low 64 bits of each UUID (0 for a bad one), and the ascending positions of the bad ones."""
    if len(texts) < SCALAR_BELOW:
        return _one_by_one(texts)
    bad: list[int] = []
    halves = _all_good(texts)
    if halves is None:
        bad = [position for position, text in enumerate(texts) if not is_uuid(text)]
        repaired = list(texts)
        for position in bad:
            repaired[position] = _NIL
        halves = _all_good(repaired)
    if halves is None:
        return _one_by_one(texts)
    return halves[:, 0].astype(np.uint64), halves[:, 1].astype(np.uint64), bad


def _one_by_one(texts: list[str]) -> tuple[UInt64s, UInt64s, list[int]]:
    numbers = [int(text.replace("-", ""), 16) if is_uuid(text) else -1 for text in texts]
    bad = [position for position, number in enumerate(numbers) if number < 0]
    for position in bad:
        numbers[position] = 0
    high = np.array([number >> 64 for number in numbers], dtype=np.uint64)
    low = np.array([number & _HALF for number in numbers], dtype=np.uint64)
    return high, low, bad


def _all_good(texts: list[str]) -> npt.NDArray[np.uint64] | None:
    """The halves, shape (n, 2), if every text is a UUID; else None.

    Newlines join the texts. With every 37th byte a newline, four dashes in place, and 32 hexadecimal digits left a
    row, no text can hold a newline or be longer or shorter than a row.
    """
    count = len(texts)
    try:
        blob = ("\n".join(texts) + "\n").encode("ascii")
    except UnicodeEncodeError:
        return None
    if len(blob) != 37 * count:
        return None
    rows = np.frombuffer(blob, dtype=np.uint8).reshape(count, 37)
    if not (rows[:, _MARK_PLACES] == _MARKS).all():
        return None
    try:
        packed = binascii.unhexlify(blob.translate(None, b"-\n"))
    except binascii.Error:
        return None
    if len(packed) != 16 * count:
        return None
    return np.frombuffer(packed, dtype=">u8").reshape(count, 2)
