"""The life of one alert instance: what a value means for a rule, and which state follows; no memory of its own."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum
from typing import Final

from schemas.alerts import AlertState, AlertTransition
from schemas.results import ALL, DAY, DAY_MS, OPEN, SIZES_MS, MetricValue
from streamproc.alerts.rules import ON_FINAL, Rule
from streamproc.alerts.texts import number_text, time_text, value_text
from streamproc.catalogue import metric_named

#: `inhibited_by` of a firing transition that came within the cooldown after the last resolve message.
COOLDOWN: Final = "cooldown"
#: A window rule gives up on an instance when this many newer windows said nothing about it.
STALE_WINDOWS: Final = 3

ACTIVE: Final = (AlertState.PENDING, AlertState.FIRING)


class Verdict(Enum):
    """What one value says: beyond the threshold, back on the good side, held by hysteresis, or nothing."""

    BREACH = "breach"
    CLEAR = "clear"
    HOLD = "hold"
    NEITHER = "neither"


@dataclass(slots=True)
class Instance:
    """What is known of one instance (rule and label value).

    `position` = (window_start, version) of the newest value judged. `muted` says why its firing was not announced
    ('' = it was). `quiet_from_ms` = wall time of the last resolve that was announced, from which cooldown runs.
    """

    state: AlertState = AlertState.INACTIVE
    seq: int = 0
    position: tuple[int, int] = (-1, -1)
    pending_since_ms: int = 0
    started_at_ms: int = 0
    muted: str = ""
    quiet_from_ms: int | None = None
    latest: MetricValue | None = None
    last: AlertTransition | None = None

    @property
    def active(self) -> bool:
        """Pending or firing."""
        return self.state in ACTIVE


def verdict(rule: Rule, value: MetricValue, firing: bool) -> Verdict:
    """What the value says under the rule, for an instance that is firing or not."""
    if rule.no_data:
        return Verdict.CLEAR if value.count else Verdict.BREACH
    if rule.on == ON_FINAL and value.status == OPEN:
        return Verdict.NEITHER
    if value.value is None or value.count < rule.min_count:
        return Verdict.NEITHER
    breached = rule.breached(value.value)
    if not value.complete:
        # Part of a growing sum beyond the threshold is enough to fire; part of a mean or a `below` says nothing.
        additive = metric_named(rule.metric).judged == "every_update"
        return Verdict.BREACH if breached and additive and rule.upward else Verdict.NEITHER
    if breached:
        return Verdict.BREACH
    return Verdict.HOLD if firing and rule.held(value.value) else Verdict.CLEAR


def next_state(rule: Rule, instance: Instance, what: Verdict, value: MetricValue) -> AlertState:
    """The state that follows; the same as now if nothing changes."""
    state = instance.state
    if what is Verdict.BREACH:
        if state is AlertState.PENDING:
            waited = for_clock_ms(rule, value.window_start_ms, value.window_end_ms) - instance.pending_since_ms
            return AlertState.FIRING if waited >= rule.for_ms else state
        if state is not AlertState.FIRING:
            return AlertState.PENDING if rule.for_ms else AlertState.FIRING
    elif what is Verdict.CLEAR:
        if state is AlertState.PENDING:
            return AlertState.INACTIVE
        if state is AlertState.FIRING:
            return AlertState.RESOLVED
    return state


def for_clock_ms(rule: Rule, window_start_ms: int, window_end_ms: int) -> int:
    """Event time that `for` counts by: what the window proves (its end once final, its start while open)."""
    return window_end_ms if rule.on == ON_FINAL else window_start_ms


def event_time_ms(rule: Rule, value: MetricValue) -> int:
    """When it happened, by the data: the end of a final window, or the time of the update that crossed the line."""
    if rule.size == ALL:
        return value.updated_at_ms
    if value.status != OPEN:
        return value.window_end_ms
    return min(max(value.updated_at_ms, value.window_start_ms), value.window_end_ms)


def is_stale(rule: Rule, position: tuple[int, int], window_start_ms: int) -> bool:
    """Whether windows have moved on so far from the last one judged that its verdict means nothing any more."""
    if rule.size == ALL:
        return False
    size_ms = DAY_MS if rule.size == DAY else SIZES_MS[rule.size]
    return window_start_ms >= position[0] + STALE_WINDOWS * size_ms


def fingerprint(rule: str, labels: dict[str, str]) -> str:
    """Identity of an instance: rule and labels, never the value."""
    return _hash(rule, *(part for item in sorted(labels.items()) for part in item))


def transition_id(instance: str, seq: int, state: AlertState, window_start_ms: int) -> str:
    """The same for every worker that judges the same thing: no wall time, no value, no version."""
    return _hash(instance, str(seq), state.value, str(window_start_ms))


def _hash(*parts: str) -> str:
    # The length before each part: ("a", "bc") and ("ab", "c") must differ.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def transition(
    rule: Rule, labels: dict[str, str], instance: Instance, state: AlertState, value: MetricValue, now_ms: int
) -> AlertTransition:
    """The record of an instance's step into `state` because of `value`; seq is one more than the instance's."""
    identity = fingerprint(rule.name, labels)
    seq = instance.seq + 1
    happened = event_time_ms(rule, value)
    return AlertTransition(
        transition_id=transition_id(identity, seq, state, value.window_start_ms),
        fingerprint=identity,
        seq=seq,
        rule=rule.name,
        severity=rule.severity,
        state=state,
        labels=labels,
        metric=rule.metric,
        window=rule.size,
        window_start_ms=value.window_start_ms,
        window_end_ms=value.window_end_ms,
        value=value.value,
        threshold=rule.threshold or 0.0,
        operator=rule.operator,
        unit=rule.unit,
        summary=summary(rule, labels, state, value),
        event_time_ms=happened,
        recorded_at_ms=now_ms,
        version=value.version,
        started_at_ms=instance.started_at_ms if instance.active else happened,
        inhibited_by=instance.muted,
    )


def summary(rule: Rule, labels: dict[str, str], state: AlertState, value: MetricValue) -> str:
    """The line that people read."""
    if state in (AlertState.RESOLVED, AlertState.INACTIVE):
        where = " ".join(f"{name} {text}" for name, text in labels.items())
        if rule.no_data:
            return f"{rule.name} resolved{' for ' + where if where else ''}: heard of again"
        now = value_text(value.value, rule.unit)
        limit = value_text(rule.threshold, rule.unit)
        return f"{rule.name} resolved{' for ' + where if where else ''}: {now} (rule: {rule.operator} {limit})"
    return rule.summary.format(
        value=number_text(value.value, rule.unit),
        threshold=number_text(rule.threshold, rule.unit),
        unit=rule.unit,
        operator=rule.operator,
        metric=rule.metric,
        rule=rule.name,
        severity=rule.severity,
        window=rule.size,
        window_start=time_text(value.window_start_ms),
        window_end=time_text(value.window_end_ms),
        count=value.count,
        **labels,
    )
