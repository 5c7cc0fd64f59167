"""Periods of TTLs are read right; that tables keep what is promised is held in tests/batch, where all of them are built."""

from __future__ import annotations

import pytest

from streamproc.cli.retention import in_words, ttl_days


@pytest.mark.parametrize(
    ("ttl", "days", "words"),
    [
        ("", set(), "for ever"),
        ("toDateTime(ingested_at) + toIntervalDay(90)", {90}, "90 days"),
        ("day + toIntervalYear(2)", {730}, "2 years"),
        ("window_start + toIntervalDay(if(metric LIKE '%cost%', 1095, 730))", {730, 1095}, "2 or 3 years"),
    ],
)
def test_periods_of_a_ttl(ttl: str, days: set[int], words: str) -> None:
    assert ttl_days(ttl) == days
    assert in_words(frozenset(days)) == words
