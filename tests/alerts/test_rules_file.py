"""The rules file: what is shipped, and what every mistake says."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamproc.alerts.rules_file import parse_rules
from streamproc.errors import ConfigError
from streamproc.notify.load import load_rules

GOOD = """\
rules:
  - name: slow
    metric: api_response_time_p95_ms
    window: 5m
    min_count: 20
    operator: ">"
    threshold: 200
"""


def test_shipped_rules() -> None:
    rules = load_rules()
    warning, critical = rules.get("video-cost-warning"), rules.get("video-cost-critical")
    assert warning and critical
    assert (warning.operator, warning.threshold, warning.severity) == (">", 2.5, "warning")
    assert (critical.operator, critical.threshold, critical.severity) == (">", 3.0, "critical")
    assert rules.inhibitors_of("video-cost-warning") == ("video-cost-critical",)
    by_name = {rule.name: rule for rule in rules.rules}
    assert (by_name["api-slow"].threshold, by_name["api-slow"].on, by_name["api-slow"].min_count) == (200, "final", 20)
    assert (by_name["queue-slow"].threshold, by_name["queue-slow"].on) == (60, "final")
    assert {rule.name for rule in rules.rules if not rule.active} == {"daily-burn-rate", "video-success-rate"}
    assert by_name["daily-burn-rate"].metric == "total_cost_usd"
    uptime, silent, daily = (by_name[name] for name in ("uptime-low", "uptime-no-data", "cost-efficiency-low"))
    assert (uptime.operator, uptime.threshold, uptime.on, uptime.dimension) == ("<", 99.9, "final", "service")
    assert silent.no_data and silent.active and rules.attending(("system_uptime", "5m", "service")) == [silent]
    assert not rules.watching(("system_uptime", "5m", "service"))
    assert (daily.metric, daily.size, daily.operator, daily.threshold) == ("cost_efficiency", "day", "<", 3.0)
    assert by_name["daily-burn-rate"].size == "1d"
    # Inhibitors are judged first, so that a jump past both thresholds announces one.
    assert [r.name for r in rules.watching(("cost_per_video_usd", "all", "video_id"))] == [
        "video-cost-critical",
        "video-cost-warning",
    ]


def test_defaults() -> None:
    (rule,) = parse_rules(GOOD, "r.yaml").rules
    assert (rule.severity, rule.for_ms, rule.on, rule.cooldown_ms) == ("warning", 0, "final", 0)
    assert rule.repeat_ms == 4 * 3_600_000
    assert rule.group_by == ("metric",)
    assert rule.enabled and rule.active


def test_a_daily_metric_by_its_window() -> None:
    """Some names are those of live metrics too: the window says which is meant."""
    daily = GOOD.replace("api_response_time_p95_ms", "system_uptime").replace("5m\n    min_count: 20", "day")
    (rule,) = parse_rules(daily.replace("200", "50"), "r.yaml").rules
    assert (rule.size, rule.on, rule.min_count, rule.unit) == ("day", "final", 0, "%")
    (live,) = parse_rules(
        GOOD.replace("api_response_time_p95_ms", "system_uptime").replace("200", "50"), "r.yaml"
    ).rules
    assert (live.size, live.min_count) == ("5m", 20)


def test_all_fields() -> None:
    text = """\
rules:
  - name: voice-cost
    metric: total_cost_usd
    window: 1h
    labels: {component: [voice, image]}
    operator: ">="
    threshold: 12.5
    resolve_below: 10
    severity: info
    for: 90s
    on: open
    min_count: 2
    cooldown: 5m
    repeat_interval: 0
    group_by: [rule, component]
    enabled: no
    summary: "{component}: {value} {{x}}"
"""
    (rule,) = parse_rules(text, "r.yaml").rules
    assert (rule.dimension, rule.only) == ("component", frozenset({"voice", "image"}))
    assert (rule.threshold, rule.resolve_at, rule.for_ms) == (12.5, 10.0, 90_000)
    assert (rule.on, rule.min_count, rule.cooldown_ms, rule.repeat_ms) == ("open", 2, 300_000, 0)
    assert rule.group_by == ("rule", "component")
    assert not rule.active


BASE = {
    "name": "x",
    "metric": "api_response_time_p95_ms",
    "window": "5m",
    "min_count": "20",
    "operator": '">"',
    "threshold": "200",
}
COST = {"metric": "cost_per_video_usd", "window": None, "min_count": None}
SUM = {"metric": "total_cost_usd"}
NO_DATA = {"metric": "system_uptime", "no_data": "true", "operator": None, "threshold": None, "min_count": None}
DAILY = {"metric": "cost_efficiency", "window": "day", "min_count": None}

#: fields that differ from BASE (None: left out), the field at fault, and words of the message
MISTAKES: list[tuple[dict[str, str | None], str, str]] = [
    ({"metric": "nope"}, "metric", "no such metric; allowed: active_users"),
    ({"metric": None}, "name", "metric = None: required"),
    ({"operator": '"=="'}, "operator", "allowed: >, >=, <, <="),
    ({"operator": None}, "name", "operator = None: required"),
    ({"threshold": "fast"}, "threshold", "must be a finite number"),
    ({"threshold": '"200"'}, "threshold", "must be a finite number"),
    ({"threshold": "true"}, "threshold", "must be a finite number"),
    ({"threshold": ".nan"}, "threshold", "must be a finite number"),
    ({"threshold": ".inf"}, "threshold", "must be a finite number"),
    ({"threshold": "[200]"}, "threshold", "must be a finite number"),
    ({"threshold": "-1"}, "threshold", "never below 0"),
    ({"operator": '"<"', "threshold": "0"}, "threshold", "never fires"),
    ({"operator": '">="', "threshold": "0"}, "threshold", "always fires"),
    ({"metric": "video_success_rate", "threshold": "-5"}, "threshold", "never below 0"),
    ({"window": "7m"}, "window", "allowed: 1m, 5m, 1h, 1d"),
    ({"window": None}, "name", "window = None: required"),
    ({**COST, "window": "5m"}, "window", "allowed: all"),
    ({"metric": "dau", "window": "1h"}, "window", "allowed: 1d"),
    ({"dimension": "niche"}, "dimension", "has no dimensions"),
    ({**SUM, "dimension": "niche"}, "dimension", "allowed: component"),
    ({**SUM, "labels": "{niche: a}"}, "labels", "unknown field; allowed: component"),
    ({"metric": "videos_failed", "labels": "{niche: a, video_type: b}"}, "labels", "one label only"),
    ({"metric": "videos_failed", "labels": "{niche: a}", "dimension": "video_type"}, "dimension", "must be the same"),
    ({"severity": "page"}, "severity", "allowed: info, warning, critical"),
    ({"for": "5"}, "for", "must be a duration"),
    ({"for": "5 minutes"}, "for", "must be a duration"),
    ({**COST, "for": "5m"}, "for", "an entity total has no event time"),
    ({"on": "open"}, "on", "judged on final windows only"),
    ({"on": "closed"}, "on", "allowed: open, final"),
    ({**COST, "on": "final"}, "on", "an entity total has no windows"),
    ({**SUM, "on": "open", "operator": '"<"'}, "threshold", "begins at 0"),
    ({"min_count": None}, "name", "needs a minimum count"),
    ({"min_count": "0"}, "min_count", "needs a minimum count"),
    ({"min_count": "1.5"}, "min_count", "integer"),
    ({"resolve_below": "250"}, "resolve_below", "at most the threshold 200"),
    ({"resolve_above": "150"}, "resolve_above", "use resolve_below"),
    ({"operator": '"<"', "resolve_above": "150"}, "resolve_above", "at least the threshold 200"),
    ({"group_by": "[video_id]"}, "group_by", "is no label here"),
    ({"inhibits": "[other]"}, "inhibits", "no rule 'other'; allowed: x"),
    ({"inhibits": "[x]"}, "inhibits", "circle"),
    ({"enabled": "maybe"}, "enabled", "true or false"),
    ({"summary": '"{value.real}"'}, "summary", "unknown placeholder {value.real}"),
    ({"summary": '"{video_id}"'}, "summary", "unknown placeholder {video_id}"),
    ({"summary": '"{value"'}, "summary", "not a template"),
    ({**NO_DATA, "operator": '"<"'}, "operator", "looks at no value"),
    ({**NO_DATA, "min_count": "5"}, "min_count", "looks at no value"),
    ({**NO_DATA, "for": "5m"}, "for", "looks at no value"),
    ({**NO_DATA, "metric": "user_events"}, "no_data", "may be silent; allowed with: system_uptime"),
    ({**NO_DATA, "no_data": "perhaps"}, "no_data", "true or false"),
    ({**DAILY, "window": "1d"}, "window", "allowed: day"),
    ({**DAILY, "on": "final"}, "on", "one value a day"),
    ({**DAILY, "min_count": "5"}, "min_count", "one value a day"),
    ({**DAILY, "dimension": "service"}, "dimension", "has no dimensions"),
    ({**DAILY, "metric": "active_users"}, "window", "allowed: 1m, 5m, 1h, 1d"),
    ({"name": "a b"}, "name", "letters, digits"),
    ({"thresold": "3"}, "thresold", "unknown field"),
]


@pytest.mark.parametrize(("changes", "at", "words"), MISTAKES)
def test_mistakes_name_line_field_value_and_what_is_allowed(
    changes: dict[str, str | None], at: str, words: str
) -> None:
    fields = {key: value for key, value in (BASE | changes).items() if value is not None}
    lines = [f"{key}: {value}" for key, value in fields.items()]
    text = "rules:\n  - " + "\n    ".join(lines) + "\n"
    line = 2 + list(fields).index(at)
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, "r.yaml")
    problems = str(caught.value).splitlines()
    assert any(p.startswith(f"r.yaml, line {line}: ") and words in p for p in problems), problems


def test_percentages_end_at_100(monkeypatch: pytest.MonkeyPatch) -> None:
    text = GOOD.replace("api_response_time_p95_ms", "video_success_rate").replace("200", "120")
    parse_rules(text, "r.yaml")  # this one may pass 100 in a short window
    monkeypatch.setattr("streamproc.alerts.rules_file._MAY_PASS_100", ())
    with pytest.raises(ConfigError, match="line 7: threshold = '120': video_success_rate is a percentage"):
        parse_rules(text, "r.yaml")
    with pytest.raises(ConfigError, match="never passes 100"):
        parse_rules(text.replace("120", "100"), "r.yaml")


def test_duplicate_names_and_all_problems_at_once() -> None:
    text = GOOD + GOOD.removeprefix("rules:\n").replace("5m", "5x")
    with pytest.raises(ConfigError) as caught:
        parse_rules(text, "r.yaml")
    first, second = str(caught.value).splitlines()
    assert first == "r.yaml, line 8: name = 'slow': already used on line 2"
    assert second.startswith("r.yaml, line 10: window = '5x'")


def test_inhibiting_other_values_is_refused() -> None:
    text = (
        GOOD
        + "    inhibits: [cost]\n  - name: cost\n    metric: cost_per_video_usd\n    operator: '>'\n    threshold: 1\n"
    )
    with pytest.raises(ConfigError, match=r"line 8: inhibits = '\(a list\)': cost must watch the same metric"):
        parse_rules(text, "r.yaml")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: file = None: must be a mapping"),
        ("- a", "line 1: file = '\\(a list\\)'"),
        ("rules:\n  - name: [", "this is no YAML"),
        ("rules: 5", "line 1: rules = '5': must be a list"),
        ("rules:\n  - five", "line 2: rules = 'five': each rule must be a mapping"),
        ("rulez: []", "line 1: rulez = '\\(a list\\)': unknown field; allowed: rules"),
        ("rules: []\nrules: []", "line 2: rules = '\\(a list\\)': given twice"),
        ("a: \x00", "this is no YAML"),
        ("[" * 3000, "nested more than 20 levels"),
        ("- " * 3000, "nested more than 20 levels"),
        ("&a [*a]", "file = "),
        ("rules:\n  - name: a\n    min_count: " + "9" * 5000, "at most 15 digits"),
        ("rules:\n  - name: a\n    metric: dau\n    for: " + "9" * 5000 + "s", "at most 9 digits"),
    ],
)
def test_broken_files(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        parse_rules(text, "r.yaml")


def test_no_rules_is_allowed() -> None:
    assert parse_rules("rules: []", "r.yaml").rules == ()


def test_loading_a_file(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    with pytest.raises(ConfigError, match="cannot be read"):
        load_rules(path)
    path.write_text(GOOD)
    assert [rule.name for rule in load_rules(path).rules] == ["slow"]


def test_the_example_in_the_documentation_is_valid() -> None:
    document = (Path(__file__).parents[2] / "docs" / "alerts.md").read_text("utf-8")
    example = document.split("```yaml\n")[1].split("```")[0]
    (rule,) = parse_rules(example, "docs/alerts.md").rules
    assert rule.active and rule.only == frozenset({"voice"})
