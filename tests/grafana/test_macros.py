"""The expander of the tests against the examples of the plugin's documentation."""

from __future__ import annotations

import pytest

from tests.grafana.macros import View, expand

VIEW = View(1415792726, 1447328726, interval=20, variables=(("window", "it's"),))


@pytest.mark.parametrize(
    ("macro", "meant"),
    [
        ("$__timeFilter(time)", "time >= toDateTime(1415792726) AND time <= toDateTime(1447328726)"),
        ("$__dateFilter(date)", "date >= toDate('2014-11-12') AND date <= toDate('2015-11-12')"),
        ("$__fromTime", "toDateTime(1415792726)"),
        ("$__toTime", "toDateTime(1447328726)"),
        ("$__fromTime_ms", "fromUnixTimestamp64Milli(1415792726000)"),
        ("$__interval_s", "20"),
        ("$__timeInterval(column)", "toStartOfInterval(toDateTime(column), INTERVAL 20 second)"),
        ("f($__fromTime, 'UTC') + 1", "f(toDateTime(1415792726), 'UTC') + 1"),
        ("$__timeInterval(f(a))", "toStartOfInterval(toDateTime(f(a)), INTERVAL 20 second)"),
        ("${window:singlequote}", r"'it\'s'"),
        ("${window}", "it's"),
    ],
)
def test_it_expands_what_is_documented(macro: str, meant: str) -> None:
    assert expand(macro, VIEW) == meant


@pytest.mark.parametrize(
    "wrong", ["$__nothing", "$__timeFilter()", "$__timeFilter(a, b)", "${other}", "$__timeFilter(a"]
)
def test_it_refuses_what_is_not(wrong: str) -> None:
    with pytest.raises(ValueError, match=r"macro|variable|left open"):
        expand(wrong, VIEW)
