"""RFC 3339 texts to epoch milliseconds: a slow exact reader for one text, and a vectorised one for a batch."""

from __future__ import annotations

import datetime
import re
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.events import TIME_PATTERN

Int64s = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Bytes = npt.NDArray[np.uint8]

#: Below this many texts the fixed cost of numpy calls is higher than reading them one by one.
SCALAR_BELOW: Final = 36

_TIME = re.compile(TIME_PATTERN)
_EPOCH_DAY: Final = datetime.date(1970, 1, 1).toordinal()
#: Instants must lie in the years 1970 to 2105 of UTC: ClickHouse's DateTime, which windows start at, holds no others,
#: and one value that no table takes would block a sink.
MIN_MS: Final = 0
MAX_MS: Final = (datetime.date(2106, 1, 1).toordinal() - _EPOCH_DAY) * 86_400_000 - 1

# Days since the epoch of the first of each month, months counted from 0000-01.
_MONTHS = np.arange("0000-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_FIRST_DAY: Final = _MONTHS[:-1].astype(np.int32)
_MONTH_LENGTH: Final = np.diff(_MONTHS).astype(np.int32)
_MONTH_LENGTH[:12] = 0  # the year 0 does not exist: no day of it is real

_NEWLINE, _DASH, _T, _COLON, _DOT, _PLUS, _Z = (ord(char) for char in "\n-T:.+Z")
_CLOCK_DIGITS = (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18)


def time_ms(text: str) -> int | None:
    """Epoch ms of one text (decimals beyond ms are cut off, which is the floor of the instant); None if it is no time.

    Capital `T`; offset `Z` or ±hh:mm up to 23:59; 0 to 9 decimals; real dates; no second 60, no hour 24.
    """
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, decimals, offset = match.groups()
    try:
        days = datetime.date(int(year), int(month), int(day)).toordinal() - _EPOCH_DAY
    except ValueError:
        return None
    ms = ((days * 24 + int(hour)) * 60 + int(minute)) * 60_000 + int(second) * 1000
    if decimals:
        ms += int(decimals[:3].ljust(3, "0"))
    if offset != "Z":
        shift = (int(offset[1:3]) * 60 + int(offset[4:])) * 60_000
        ms -= shift if offset[0] == "+" else -shift
    return ms if MIN_MS <= ms <= MAX_MS else None


def parse_times(texts: list[str]) -> tuple[Int64s, list[int]]:
    """Epoch ms of each text (0 for a bad one), and the ascending positions of the bad ones.

    Same verdicts and values as `time_ms`, which also decides on every text that the vectorised reader refuses.
    """
    count = len(texts)
    if count < SCALAR_BELOW:
        return _one_by_one(texts)
    try:
        blob = ("\n".join(texts) + "\n").encode("ascii")
    except UnicodeEncodeError:
        return _one_by_one(texts)
    if blob.count(b"\n") != count:  # a text has a newline: rows would not be texts
        return _one_by_one(texts)
    raw = np.frombuffer(blob, dtype=np.uint8)
    width = len(texts[0]) + 1
    if raw.size == count * width:
        rows = raw.reshape(count, width)
        if bool((rows[:, -1] == _NEWLINE).all()):
            ms, good = _read_rows(rows[:, :-1])
            return _settle(texts, ms, good)
    return _settle(texts, *_read_mixed(raw, count))


def _one_by_one(texts: list[str]) -> tuple[Int64s, list[int]]:
    values = [time_ms(text) for text in texts]
    bad = [position for position, value in enumerate(values) if value is None]
    return np.array([value or 0 for value in values], dtype=np.int64), bad


def _settle(texts: list[str], ms: Int64s, good: Bools) -> tuple[Int64s, list[int]]:
    """Let the exact reader decide on the rows that the fast one did not take."""
    bad: list[int] = []
    if not good.all():
        for position in np.flatnonzero(~good).tolist():
            value = time_ms(texts[position])
            ms[position] = value or 0
            if value is None:
                bad.append(position)
    return ms, bad


def _read_mixed(raw: Bytes, count: int) -> tuple[Int64s, Bools]:
    """Texts of several lengths: one matrix a length."""
    ends = np.flatnonzero(raw == _NEWLINE)
    starts = np.concatenate((np.zeros(1, dtype=np.int64), ends[:-1] + 1))
    lengths = ends - starts
    ms = np.zeros(count, dtype=np.int64)
    good = np.zeros(count, dtype=np.bool_)
    for length in range(20, 36):
        rows = np.flatnonzero(lengths == length)
        if rows.size >= 8:  # fewer are cheaper one by one
            ms[rows], good[rows] = _read_rows(raw[starts[rows][:, None] + np.arange(length)])
    return ms, good


def _read_rows(rows: Bytes) -> tuple[Int64s, Bools]:
    """Texts of one length, one a row. `good` is false where the text is no time, or of another form than most."""
    count, length = rows.shape
    if not 20 <= length <= 35:
        return np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.bool_)
    zulu = rows[:, -1] == _Z
    if zulu.all():
        return _read_form(rows, length - 1)
    if length < 25 or not zulu.any():
        return _read_form(rows, length - 6)
    ms = np.zeros(count, dtype=np.int64)
    good = np.zeros(count, dtype=np.bool_)
    ms[zulu], good[zulu] = _read_form(rows[zulu], length - 1)
    ms[~zulu], good[~zulu] = _read_form(rows[~zulu], length - 6)
    return ms, good


def _read_form(rows: Bytes, end: int) -> tuple[Int64s, Bools]:
    """Texts of one form: date and clock up to 19, decimals up to `end`, then Z or ±hh:mm."""
    if end != 19 and not 21 <= end <= 29:
        return np.zeros(len(rows), dtype=np.int64), np.zeros(len(rows), dtype=np.bool_)
    columns = np.ascontiguousarray(rows.T)  # contiguous columns: several times faster below
    good = (columns[4] == _DASH) & (columns[7] == _DASH) & (columns[10] == _T)
    good &= (columns[13] == _COLON) & (columns[16] == _COLON)
    digits = columns - np.uint8(48)  # wraps: what is no digit is above 9
    places = [*_CLOCK_DIGITS, *range(20, end)]
    offset = columns.shape[0] - end == 6
    if offset:
        sign = columns[end]
        good &= ((sign == _PLUS) | (sign == _DASH)) & (columns[end + 3] == _COLON)
        places += [end + 1, end + 2, end + 4, end + 5]
    if end > 19:
        good &= columns[19] == _DOT
    good &= (digits[places] <= 9).all(axis=0)
    wide = digits.astype(np.int32)
    ms, in_range = _clock_ms(wide)
    good &= in_range
    for place, weight in zip(range(20, min(end, 23)), (100, 10, 1), strict=False):
        ms += wide[place] * weight
    if offset:
        hours, minutes = _pair(wide, end + 1), _pair(wide, end + 4)
        good &= (hours <= 23) & (minutes <= 59)
        shift = (hours * 60 + minutes).astype(np.int64) * 60_000
        ms -= np.where(columns[end] == _PLUS, shift, -shift)
    good &= (ms >= MIN_MS) & (ms <= MAX_MS)
    return ms, good


def _pair(digits: npt.NDArray[np.int32], place: int) -> npt.NDArray[np.int32]:
    value: npt.NDArray[np.int32] = digits[place] * 10 + digits[place + 1]
    return value


def _clock_ms(digits: npt.NDArray[np.int32]) -> tuple[Int64s, Bools]:
    """Local date and clock of each column of digits, in ms without decimals, and whether they are real."""
    year = _pair(digits, 0) * 100 + _pair(digits, 2)
    month, day = _pair(digits, 5), _pair(digits, 8)
    hour, minute, second = _pair(digits, 11), _pair(digits, 14), _pair(digits, 17)
    good = (month >= 1) & (month <= 12) & (hour <= 23) & (minute <= 59) & (second <= 59) & (day >= 1)
    index = np.clip(year * 12 + (month - 1), 0, _FIRST_DAY.size - 1)
    good &= day <= _MONTH_LENGTH[index]
    days = (_FIRST_DAY[index] + (day - 1)).astype(np.int64)
    return days * 86_400_000 + (hour * 3600 + minute * 60 + second) * np.int64(1000), good
