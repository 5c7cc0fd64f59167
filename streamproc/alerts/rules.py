"""What an alert rule says, and which rules watch which published value."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from schemas.results import ALL, MetricValue
from streamproc.catalogue import metric_named

OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
}
#: Stands where the operator of a rule on silent windows would.
NO_DATA: Final = "no data"
SEVERITIES: Final = ("info", "warning", "critical")
ON_OPEN: Final = "open"
ON_FINAL: Final = "final"

#: (metric, size, dimension): what one stream of values is called; rules are found by it.
WatchKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert rule, checked (streamproc/alerts/rules_file.py).

    `size` is '1m' .. '1d', 'all' for entity totals, or 'day' for a daily metric of the warehouse. With `no_data` it fires when
    nothing was in a window, after something was in the one before, and looks at no value. `dimension` is '' for the total; `only` are the dimension
    values it looks at (empty: all). `threshold` is in the metric's `unit`; None means off until the user sets it.
    `for_ms` is event time; `cooldown_ms` and `repeat_ms` (0: never) are wall time. `resolve_at` is hysteresis: a
    firing alert resolves only beyond it. `group_by` names labels, 'metric', 'rule' or 'severity'.
    """

    name: str
    metric: str
    size: str
    dimension: str
    only: frozenset[str]
    operator: str
    threshold: float | None
    severity: str
    for_ms: int
    on: str
    min_count: int
    resolve_at: float | None
    cooldown_ms: int
    repeat_ms: int
    group_by: tuple[str, ...]
    inhibits: tuple[str, ...]
    enabled: bool
    summary: str
    unit: str
    line: int = 0
    no_data: bool = False

    @property
    def active(self) -> bool:
        """Switched on, and with a threshold if it needs one."""
        return self.enabled and (self.no_data or self.threshold is not None)

    @property
    def upward(self) -> bool:
        """Fires above its threshold, not below it."""
        return self.operator.startswith(">")

    def breached(self, value: float) -> bool:
        """Whether the value is beyond the threshold.

        Money is compared as floats on purpose: sums are integers of 1/10000, a correctly rounded division gives
        the same double as the decimal in the rules file, so 2.50 is never above 2.50.
        """
        return self.threshold is not None and OPERATORS[self.operator](value, self.threshold)

    def held(self, value: float) -> bool:
        """Whether hysteresis keeps a firing alert firing at this value."""
        if self.resolve_at is None:
            return False
        return value >= self.resolve_at if self.upward else value <= self.resolve_at

    def labels(self, dimension_value: str) -> dict[str, str]:
        """The labels of an instance: the dimension and its value, or none for the total."""
        return {self.dimension: dimension_value} if self.dimension else {}


class RuleSet:
    """All rules of one file, with the look-ups that the engine and the notifier need."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(rules)
        self._by_name = {rule.name: rule for rule in self.rules}
        self._inhibitors: dict[str, tuple[str, ...]] = {
            rule.name: tuple(r.name for r in self.rules if r.active and rule.name in r.inhibits) for rule in self.rules
        }
        self._watching: dict[WatchKey, list[Rule]] = {}
        self._attending: dict[WatchKey, list[Rule]] = {}
        for rule in self._inhibitors_first():
            if rule.active:
                by_key = self._attending if rule.no_data else self._watching
                by_key.setdefault((rule.metric, rule.size, rule.dimension), []).append(rule)

    def get(self, name: str) -> Rule | None:
        """The rule with that name."""
        return self._by_name.get(name)

    def inhibitors_of(self, name: str) -> tuple[str, ...]:
        """Names of the active rules that silence this one for the same labels."""
        return self._inhibitors.get(name, ())

    def watching(self, key: WatchKey) -> list[Rule]:
        """Active rules on that stream of values, inhibitors before what they inhibit."""
        return self._watching.get(key, [])

    def attending(self, key: WatchKey) -> list[Rule]:
        """Active rules that ask whether there was anything in such windows."""
        return self._attending.get(key, [])

    def metrics(self) -> set[tuple[str, str]]:
        """(metric, size) of every active rule: other values need not be shown to the engine."""
        return {(metric, size) for metric, size, _ in self._watching}

    def _inhibitors_first(self) -> list[Rule]:
        ordered: dict[str, Rule] = {}

        def visit(rule: Rule) -> None:
            for name in self._inhibitors[rule.name]:
                if name not in ordered:
                    visit(self._by_name[name])
            ordered.setdefault(rule.name, rule)

        for rule in self.rules:
            visit(rule)
        return list(ordered.values())


def watch_key(value: MetricValue) -> WatchKey:
    """Under which key rules watch this value; entity totals go by their entity, however the dimension is filled."""
    if value.size == ALL:
        return value.metric, ALL, metric_named(value.metric).entity
    return value.metric, value.size, value.dimension
