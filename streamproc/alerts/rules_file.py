"""From the text of a rules file to checked rules: every mistake is named with its line, value and what is allowed."""

from __future__ import annotations

import re
from typing import Final

from yaml.nodes import MappingNode

from schemas.results import ALL, DAY
from streamproc.alerts.rules import NO_DATA, ON_FINAL, ON_OPEN, OPERATORS, SEVERITIES, Rule, RuleSet
from streamproc.alerts.texts import PLACEHOLDERS, template_problem
from streamproc.alerts.yaml_nodes import Fields, Problems, compose, line_of, shown
from streamproc.catalogue import METRICS, Metric, measure_of, metric_named
from streamproc.catalogue.daily import DAILY_METRICS, DailyMetric
from streamproc.catalogue.metrics import WINDOWS

FIELDS: Final = (
    "name",
    "metric",
    "window",
    "dimension",
    "labels",
    "operator",
    "threshold",
    "no_data",
    "severity",
    "for",
    "on",
    "min_count",
    "resolve_below",
    "resolve_above",
    "cooldown",
    "repeat_interval",
    "group_by",
    "inhibits",
    "enabled",
    "summary",
)
DEFAULT_REPEAT_MS: Final = 4 * 3_600_000
DEFAULT_SUMMARY: Final = "{metric} is {value} {unit}, {operator} {threshold} {unit}"
NO_DATA_SUMMARY: Final = "{metric} has no data since {window_start}"
#: What a rule that looks at no value cannot say.
_OF_VALUES: Final = ("operator", "threshold", "on", "min_count", "for", "resolve_below", "resolve_above")
#: What is said of every daily metric of the warehouse: a day that is over, whatever it is made of.
_NOT_OF_DAYS: Final = ("on", "min_count", "no_data")
#: What a rule may name.
Judgeable = Metric | DailyMetric
_NAME: Final = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
_GROUP_NAMES: Final = ("metric", "rule", "severity")
#: The one rate whose numerator is no subset of its denominator (see its meaning in the catalogue).
_MAY_PASS_100: Final = ("video_success_rate",)


def parse_rules(text: str, file: str) -> RuleSet:
    """Check the text of a rules file; `file` is its name in messages.

    Raises:
        ConfigError: one line a problem: file, line, field, value, what is allowed.
    """
    problems = Problems(file)
    root = compose(text, problems)
    problems.raise_if_any()
    declared: list[tuple[Fields, Rule | None]] = []
    if not isinstance(root, MappingNode):
        problems.add(1, "file", shown(root) if root else None, "must be a mapping with the list `rules`")
    else:
        top = Fields(root, problems, ("rules",))
        if not top.has("rules"):
            top.bad("rules", "must be a list of rules (an empty list: no alerts)")
        for node in top.sequence("rules"):
            if isinstance(node, MappingNode):
                fields = Fields(node, problems, FIELDS)
                declared.append((fields, _rule(fields)))
            else:
                problems.add(line_of(node), "rules", shown(node), "each rule must be a mapping")
    _check_together(declared)
    problems.raise_if_any()
    return RuleSet(rule for _, rule in declared if rule)


def _rule(fields: Fields) -> Rule | None:
    """One rule; None if it is too broken to build (its problems are noted)."""
    no_data = fields.boolean("no_data", False)
    for name in ("name", "metric", *(() if no_data else ("operator",))):
        if not fields.has(name):
            fields.bad(name, "required")
    metric = _metric(fields)
    if metric is None:
        return None
    size = _size(fields, metric)
    dimension, only = _dimension(fields, metric)
    symbol = NO_DATA if no_data else fields.text("operator", ">", tuple(OPERATORS))
    threshold = fields.number("threshold")
    on, min_count = (ON_FINAL, 0) if no_data or size == DAY else _when(fields, metric, size)
    rule = Rule(
        name=fields.text("name"),
        metric=metric.name,
        size=size,
        dimension=dimension,
        only=only,
        operator=symbol,
        threshold=threshold,
        severity=fields.text("severity", "warning", SEVERITIES),
        for_ms=fields.duration_ms("for", 0),
        on=on,
        min_count=min_count,
        resolve_at=_resolve_at(fields, symbol, threshold),
        cooldown_ms=fields.duration_ms("cooldown", 0),
        repeat_ms=fields.duration_ms("repeat_interval", DEFAULT_REPEAT_MS),
        group_by=_group_by(fields, dimension),
        inhibits=fields.texts("inhibits") or (),
        enabled=fields.boolean("enabled", True),
        summary=fields.text("summary", NO_DATA_SUMMARY if no_data else DEFAULT_SUMMARY),
        unit=metric.unit,
        line=fields.line_for("name"),
        no_data=no_data,
    )
    _check_rule(fields, rule, metric)
    return rule


def _metric(fields: Fields) -> Judgeable | None:
    name = fields.text("metric")
    daily = next((metric for metric in DAILY_METRICS if metric.name == name), None)
    try:
        live = metric_named(name)
    except KeyError:
        if daily is not None:
            return daily
        if fields.has("metric"):
            names = sorted(
                {m.name for m in METRICS} | {m.alias for m in METRICS if m.alias} | {m.name for m in DAILY_METRICS}
            )
            fields.bad("metric", f"no such metric; allowed: {', '.join(names)}")
        return None
    return daily if daily is not None and fields.text("window") == DAY else live


def _size(fields: Fields, metric: Judgeable) -> str:
    if isinstance(metric, DailyMetric):
        return fields.text("window", DAY, (DAY,))
    if metric.entity:
        return fields.text("window", ALL, (ALL,))
    if fields.text("metric") == metric.alias:
        # An alias is the second name of the day's window.
        return fields.text("window", "1d", ("1d",))
    if not fields.has("window"):
        fields.bad("window", f"required; allowed: {', '.join(WINDOWS)}")
    return fields.text("window", WINDOWS[0], WINDOWS)


def _dimension(fields: Fields, metric: Judgeable) -> tuple[str, frozenset[str]]:
    names = (metric.entity,) if metric.entity else metric.dimensions
    default = metric.entity
    node = fields.mapping("labels")
    only: frozenset[str] = frozenset()
    if node is not None:
        labels = Fields(node, fields.problems, names)
        given = [name for name in names if labels.has(name)]
        if len(given) > 1:
            fields.bad("labels", "a value has one dimension: give one label only")
        elif given:
            default, only = given[0], frozenset(labels.texts(given[0]) or ())
    if fields.has("dimension") and not names:
        fields.bad("dimension", f"{metric.name} has no dimensions; leave it out")
        return "", only
    dimension = fields.text("dimension", default, names)
    if only and dimension != default:
        fields.bad("dimension", f"labels name {default}: both must be the same")
    return dimension, only


def _when(fields: Fields, metric: Judgeable, size: str) -> tuple[str, int]:
    """Which windows the rule looks at, and how many events one needs."""
    final_only = metric.judged == "final_only"
    if size == ALL:
        if fields.has("on"):
            fields.bad("on", "an entity total has no windows; leave it out")
        return ON_OPEN, fields.integer("min_count", 1)
    on = fields.text("on", ON_FINAL if final_only else ON_OPEN, (ON_OPEN, ON_FINAL))
    if final_only and on == ON_OPEN:
        fields.bad("on", f"{metric.name} is judged on final windows only; allowed: {ON_FINAL}")
    min_count = fields.integer("min_count", 1)
    if final_only and (min_count < 1 or not fields.has("min_count")):
        fields.bad("min_count", f"{metric.name} needs a minimum count of at least 1 (events in the window)")
    return on, min_count


def _resolve_at(fields: Fields, symbol: str, threshold: float | None) -> float | None:
    mine, other = ("resolve_below", "resolve_above") if symbol.startswith(">") else ("resolve_above", "resolve_below")
    if fields.has(other):
        fields.bad(other, f"with operator {symbol} use {mine}")
    value = fields.number(mine)
    if value is not None and threshold is not None:
        wrong = value > threshold if symbol.startswith(">") else value < threshold
        if wrong:
            side = "at most" if symbol.startswith(">") else "at least"
            fields.bad(mine, f"must be {side} the threshold {threshold:g}")
    return value


def _group_by(fields: Fields, dimension: str) -> tuple[str, ...]:
    own = (dimension,) if dimension else ()
    names = fields.texts("group_by")
    if names is None:
        return ("metric", *own)
    unknown = [name for name in names if name not in (*_GROUP_NAMES, *own)]
    if unknown:
        fields.bad("group_by", f"{', '.join(unknown)} is no label here; allowed: {', '.join((*_GROUP_NAMES, *own))}")
    return names


def _check_rule(fields: Fields, rule: Rule, metric: Judgeable) -> None:
    if rule.no_data:
        _check_no_data(fields, rule)
    if rule.size == DAY:
        for name in filter(fields.has, _NOT_OF_DAYS):
            fields.bad(name, "a daily metric has one value a day, judged when the day is over; leave it out")
    if rule.for_ms and rule.size == ALL:
        fields.bad("for", "an entity total has no event time; leave it out")
    own = (rule.dimension,) if rule.dimension else ()
    problem = template_problem(rule.summary, (*PLACEHOLDERS, *own))
    if problem:
        fields.bad("summary", problem)
    if rule.threshold is None:
        return
    why = _impossible(rule, metric)
    if why:
        fields.bad("threshold", why)


def _check_no_data(fields: Fields, rule: Rule) -> None:
    """Only of what is to be heard of in every window."""
    for name in filter(fields.has, _OF_VALUES):
        fields.bad(name, "a rule on no data looks at no value; leave it out")
    regular = [metric.name for metric in METRICS if measure_of(metric.measure).is_regular]
    if rule.metric not in regular:
        fields.bad("no_data", f"{rule.metric} may be silent; allowed with: {', '.join(regular)}")


def _impossible(rule: Rule, metric: Judgeable) -> str:
    """Why no value, or every value, would fire; '' if the threshold makes sense."""
    threshold = rule.threshold or 0.0
    if metric.unit != "USD" and threshold < 0:
        return f"{metric.name} is never below 0; allowed: 0 and more"
    if metric.unit == "%" and metric.name not in _MAY_PASS_100:
        if threshold > 100:
            return f"{metric.name} is a percentage; allowed: 0 to 100"
        if rule.operator == ">" and threshold == 100:
            return f"{metric.name} never passes 100, so this never fires"
    if metric.unit != "USD" and threshold == 0 and rule.operator in ("<", ">="):
        fires = "never" if rule.operator == "<" else "always"
        return f"{metric.name} is never below 0, so this {fires} fires"
    if rule.on == ON_OPEN and rule.breached(0.0):
        return "every window and total begins at 0, so this fires at once; look at final windows (on: final)"
    return ""


def _check_together(declared: list[tuple[Fields, Rule | None]]) -> None:
    """Names are unique; what a rule inhibits exists, watches the same values, and does not inhibit it back."""
    lines: dict[str, int] = {}
    rules: dict[str, Rule] = {}
    for fields, rule in declared:
        name = fields.text("name")
        if name and not _NAME.match(name):
            fields.bad("name", "allowed: letters, digits, '.', '_' and '-', at most 64")
        if name in lines:
            fields.bad("name", f"already used on line {lines[name]}")
        lines.setdefault(name, fields.line_for("name"))
        if rule:
            rules.setdefault(name, rule)
    for fields, rule in declared:
        for target in rule.inhibits if rule else ():
            other = rules.get(target)
            if target not in lines:
                fields.bad("inhibits", f"no rule {target!r}; allowed: {', '.join(sorted(lines))}")
            elif rule and other and (other.metric, other.dimension) != (rule.metric, rule.dimension):
                # Other metrics are judged by other workers, which know nothing of this one.
                fields.bad("inhibits", f"{target} must watch the same metric and dimension")
            elif rule and rule.name in _reached(target, rules):
                fields.bad("inhibits", f"{target} inhibits this rule too: a circle")


def _reached(name: str, rules: dict[str, Rule]) -> set[str]:
    """The rule and every rule that it inhibits, directly or through others."""
    seen: set[str] = set()
    stack = [name]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack.extend(rules[current].inhibits if current in rules else ())
    return seen
