"""Times: the vectorised reader, the exact one, and the standard library's calendar say the same."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from streamproc.decode.times import MAX_MS, MIN_MS, SCALAR_BELOW, parse_times, time_ms

BAD = [
    "",
    "2026-03-01",
    "2026-03-01T10:00:00",
    "2026-03-01 10:00:00Z",
    "2026-03-01t10:00:00Z",
    "2026-03-01T10:00:00z",
    "2026-02-29T10:00:00Z",
    "1900-02-29T10:00:00Z",
    "2026-04-31T10:00:00Z",
    "2026-13-01T10:00:00Z",
    "2026-00-01T10:00:00Z",
    "2026-01-00T10:00:00Z",
    "2026-01-32T10:00:00Z",
    "2026-03-01T24:00:00Z",
    "2026-03-01T10:60:00Z",
    "2026-03-01T10:00:60Z",
    "2026-03-01T10:00:00.Z",
    "2026-03-01T10:00:00.0000000000Z",
    "2026-03-01T10:00:00,5Z",
    "2026-03-01T10:00:00+24:00",
    "2026-03-01T10:00:00+10:60",
    "2026-03-01T10:00:00+1000",
    "2026-03-01T10:00:00+10",
    "2026-03-01T10:00:00 +10:00",
    "2026-03-01T10:00:00ZZ",
    "2026-03-01T10:00:00Z\n",
    "+026-03-01T10:00:00Z",
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00Z",
    "1969-12-31T23:59:59.9999Z",
    "1970-01-01T00:00:00+00:01",
    "2106-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "0000-12-31T23:59:30-00:01",
    "0001-01-01T00:00:00+00:01",
    "9999-12-31T23:59:59-00:01",
    "２026-03-01T10:00:00Z",
]
GOOD = {
    "1970-01-01T00:00:00Z": 0,
    "1970-01-01T00:00:00.0009Z": 0,
    "2024-02-29T23:59:59.999999999Z": 1709251199999,
    "2000-02-29T00:00:00-00:00": 951782400000,
    "2026-03-01T10:00:00.5+05:30": 1772339400500,
    "2026-03-01T10:00:00.05-23:59": 1772445540050,
    "1970-01-01T01:00:00+01:00": MIN_MS,
    "2105-12-31T23:59:59.999Z": MAX_MS,
}


@pytest.mark.parametrize("text", BAD)
def test_refused(text: str) -> None:
    assert time_ms(text) is None
    batch = ["2026-03-01T10:00:00Z"] * 50 + [text] * 50
    ms, bad = parse_times(batch)
    assert bad == list(range(50, 100))
    assert ms.tolist() == [1772359200000] * 50 + [0] * 50
    assert parse_times([text] * 50)[1] == list(range(50))


@pytest.mark.parametrize(("text", "ms"), GOOD.items())
def test_values(text: str, ms: int) -> None:
    assert time_ms(text) == ms
    assert parse_times([text] * 50)[0].tolist() == [ms] * 50
    assert parse_times([*GOOD] * 9)[0].tolist() == [*GOOD.values()] * 9


def test_every_day_of_the_gregorian_cycle() -> None:
    days = [date(1996, 1, 1) + timedelta(days=at) for at in range(365 * 10)]
    days += [date(year, month, 1) - timedelta(days=1) for year in range(1971, 2106) for month in (1, 3)]
    ms, bad = parse_times([f"{day.isoformat()}T00:00:00Z" for day in days])
    assert not bad
    assert ms.tolist() == [(day - date(1970, 1, 1)).days * 86_400_000 for day in days]


def test_forms_side_by_side() -> None:
    """Python's isoformat drops decimals of zero, and one length can be of two forms (+hh:mm, or Z and decimals)."""
    base = datetime(2026, 3, 1, 10, 0, 0, tzinfo=UTC)
    texts, expected = [], []
    for micros in range(0, 400_000, 997):
        at = base + timedelta(microseconds=micros)
        for text in (at.isoformat(), at.isoformat(timespec="milliseconds"), f"{at:%Y-%m-%dT%H:%M:%S.}{micros:06d}Z"):
            texts.append(text)
            expected.append(1772359200000 + micros // 1000)
    texts += ["2026-03-01T10:00:00.1234Z"] * 20
    expected += [1772359200123] * 20
    assert parse_times(texts)[0].tolist() == expected


def test_no_text_moves_another() -> None:
    """Texts are joined before they are read: lengths that add up, or a newline inside, must not shift rows."""
    good = "2026-03-01T10:00:00Z"
    for pair in ([good + "2", good[1:]], [good + "\n" + good, ""], [good[:-1], "Z" + good], [good + "\n", good[:-1]]):
        texts = [good] * SCALAR_BELOW + pair + [good] * SCALAR_BELOW
        ms, bad = parse_times(texts)
        assert bad == [at for at, text in enumerate(texts) if text != good]
        assert ms.tolist() == [1772359200000 if text == good else 0 for text in texts]
