"""The alert engine: published values in, transitions out. Pure: time is an argument, nothing is sent or stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

import msgspec

from schemas.alerts import AlertState, AlertTransition
from schemas.results import ALL, OPEN, MetricValue
from streamproc.alerts.instances import Instances, Key
from streamproc.alerts.lifecycle import (
    COOLDOWN,
    Instance,
    Verdict,
    for_clock_ms,
    is_stale,
    next_state,
    transition,
    transition_id,
    verdict,
)
from streamproc.alerts.rules import ON_FINAL, Rule, RuleSet, WatchKey, watch_key

#: Silenced alerts that one tick looks at.
_MUTED_PER_TICK: Final = 1000
#: How long after a transition another one that it refers to may still be unread.
_ON_ITS_WAY_MS: Final = 60_000
_STATES: Final = tuple(AlertState)
#: (metric, size, dimension, dimension value) -> whether it is ours to judge.
Owns = Callable[[str, str, str, str], bool]
#: How far the clocks of two workers may be apart.
_CLOCKS_APART_MS: Final = 60_000


class AlertEngine:
    """Judges every value of the metrics it is shown.

    One engine must see all values of a window or entity: window-partials are partitioned so, and `owns(metric, size,
    dimension, value)` says whose they are now. The caller records every transition before it goes on (a lost one is judged
    again after a restart, from the restored state).
    """

    def __init__(self, rules: RuleSet, owns: Owns = lambda *_: True) -> None:
        self.rules = rules
        self._owns = owns
        self._instances = Instances()
        self._muted: dict[Key, None] = {}
        #: Restored as active, but no rule judges them any more.
        self._orphans: set[Key] = set()
        #: Changed by another worker on a value older than ours.
        self._rejudge: set[Key] = set()
        #: First window start observed since start or release(), by stream of values.
        self._seen: dict[WatchKey, int] = {}
        self._owned: set[tuple[str, str]] = set()

    def watches(self, value: MetricValue) -> bool:
        """Whether some rule judges such values."""
        return bool(self.rules.watching(watch_key(value)))

    def observe(self, value: MetricValue, now_ms: int) -> list[AlertTransition]:
        """Judge one published value; `now_ms` (wall) is for cooldown and the record only."""
        key = watch_key(value)
        self._owned.add((key[0], key[2]))
        rules = self.rules.watching(key)
        if not rules:
            return []
        out: list[AlertTransition] = []
        for rule in rules:
            if not rule.only or value.dimension_value in rule.only:
                out.extend(self._judge(rule, value, now_ms))
        first = self._seen.setdefault(key, value.window_start_ms)
        for rule in rules:
            out.extend(self._give_up_stale(rule, value, first, now_ms))
        return out

    def observe_presence(self, value: MetricValue, now_ms: int) -> list[AlertTransition]:
        """Judge whether there was anything in a window that is over: rules on no data. `value.count` is 0 for the first window of
        a silence; windows of one dimension value come in the order of time (MergeState.presence)."""
        key = watch_key(value)
        self._owned.add((key[0], key[2]))
        out: list[AlertTransition] = []
        for rule in self.rules.attending(key):
            if not rule.only or value.dimension_value in rule.only:
                out.extend(self._judge(rule, value, now_ms))
        return out

    def tick(self, now_ms: int) -> list[AlertTransition]:
        """What the clock brings: firing alerts whose cooldown or inhibition is over are announced; alerts of rules
        that are gone or switched off are resolved; what another worker decided on older values is put right.
        Only for what is owned, and for metrics observed since start or `release`.
        """
        out = []
        rejudge, self._rejudge = self._rejudge, set()
        for key in rejudge:
            instance, rule = self._instances.find(key), self.rules.get(key[0])
            if instance and instance.latest and rule and rule.active and self._is_mine(rule.metric, rule.size, key):
                out.extend(self._judge(rule, instance.latest, now_ms))
        for key in list(islice(self._muted, _MUTED_PER_TICK)):
            # To the end of the line: in a storm the others have their turn at the next ticks.
            del self._muted[key]
            self._muted[key] = None
            instance, rule = self._instances.find(key), self.rules.get(key[0])
            if instance and rule and rule.active and self._is_mine(rule.metric, rule.size, key):
                out.extend(self._announce(rule, key, instance, now_ms))
        for key in list(self._orphans):
            instance = self._instances.find(key)
            if instance is None or not instance.active or instance.last is None:
                self._orphans.discard(key)
            elif self._is_mine(instance.last.metric, instance.last.window, key):
                text = f"{instance.last.rule} resolved: the rule is off or was changed"
                out.append(self._end_without_value(key, instance, text, now_ms))
        return out

    def restore(self, transitions: Iterable[AlertTransition]) -> None:
        """Continue from recorded transitions, in any order and with repeats: per instance the highest seq wins.

        Also for transitions of other workers while running.
        """
        for item in transitions:
            if item.kind != "transition":
                continue
            key = _key_of(item)
            instance = self._instances.take(key)
            if item.state is AlertState.RESOLVED and not item.inhibited_by:
                instance.quiet_from_ms = max(instance.quiet_from_ms or 0, item.recorded_at_ms)
            if instance.last is None or _order(item) > _order(instance.last):
                self._adopt(key, instance, item)
                if instance.latest is not None and (item.window_start_ms, item.version) < instance.position:
                    # Another worker judged an older value (a paused one that woke up): ours has the last word.
                    self._rejudge.add(key)
            self._instances.put(key, instance)
            if instance.active and item.metric and _orphaned(self.rules.get(item.rule), key, item):
                self._orphans.add(key)

    def release(self) -> None:
        """Forget what is ours (partitions were taken away): `tick` is silent until values come again.

        Values that we were the last to see may be old by the time that they are ours once more: only their places stay.
        """
        self._owned.clear()
        self._seen.clear()
        self._rejudge.clear()
        self._instances.forget_values()

    def states(self) -> list[AlertTransition]:
        """The last transition of every known instance."""
        return [instance.last for instance in self._instances if instance.last]

    def counts(self) -> dict[AlertState, int]:
        """How many instances are in each state."""
        found = Counter(instance.state for instance in self._instances)
        return {state: found[state] for state in _STATES}

    def _is_mine(self, metric: str, size: str, key: Key) -> bool:
        return (metric, key[1]) in self._owned and self._owns(metric, size, key[1], key[2])

    def _judge(self, rule: Rule, value: MetricValue, now_ms: int) -> list[AlertTransition]:
        key = (rule.name, rule.dimension, value.dimension_value if rule.dimension else "")
        known = self._instances.find(key)
        newest = known.position if known else self._instances.silent_position(key)
        position = (value.window_start_ms, value.version)
        if position < newest:
            return []
        what = verdict(rule, value, known is not None and known.state is AlertState.FIRING)
        if what is Verdict.NEITHER:
            return []
        if known is None and what is not Verdict.BREACH:
            self._instances.note_silent(key, value)
            return []
        instance = known or self._instances.take(key)
        instance.position = position
        instance.latest = value
        state = next_state(rule, instance, what, value)
        if state is not instance.state:
            return [self._step(rule, key, instance, state, value, now_ms)]
        return self._announce(rule, key, instance, now_ms) if instance.muted else []

    def _step(
        self, rule: Rule, key: Key, instance: Instance, state: AlertState, value: MetricValue, now_ms: int
    ) -> AlertTransition:
        if state is AlertState.FIRING:
            instance.muted = self._mute_reason(rule, key, instance, now_ms)
        # A resolve of what nobody was told about is recorded with the same reason, and not sent either.
        labels = rule.labels(key[2])
        item = transition(rule, labels, instance, state, value, now_ms)
        instance.latest = value
        self._apply(key, instance, item)
        return item

    def _announce(self, rule: Rule, key: Key, instance: Instance, now_ms: int) -> list[AlertTransition]:
        """A firing alert that was kept quiet speaks as soon as nothing keeps it quiet any more."""
        last = instance.last
        if instance.state is not AlertState.FIRING or last is None or self._mute_reason(rule, key, instance, now_ms):
            return []
        instance.muted = ""
        if instance.latest is not None:
            return [self._step(rule, key, instance, AlertState.FIRING, instance.latest, now_ms)]
        item = _follow(last, AlertState.FIRING, last.value, last.summary, "", now_ms)
        self._apply(key, instance, item)
        return [item]

    def _mute_reason(self, rule: Rule, key: Key, instance: Instance, now_ms: int) -> str:
        for name in self.rules.inhibitors_of(rule.name):
            inhibitor = self._instances.find((name, key[1], key[2]))
            # One that is itself silent in its cooldown silences nothing: somebody must be told.
            if inhibitor and inhibitor.state is AlertState.FIRING and inhibitor.muted != COOLDOWN:
                return name
            if _awaited(name, inhibitor, instance, now_ms):
                return name
        quiet = instance.quiet_from_ms
        # A resolve from the future was recorded by a clock that is ahead: it must not silence the alert until then.
        return COOLDOWN if quiet is not None and -_CLOCKS_APART_MS <= now_ms - quiet < rule.cooldown_ms else ""

    def _give_up_stale(self, rule: Rule, value: MetricValue, first: int, now_ms: int) -> list[AlertTransition]:
        if rule.size == ALL or (rule.on == ON_FINAL and value.status == OPEN):
            return []
        out = []
        for key, instance in self._instances.active(rule.name):
            # After a restart the newest window judged is unknown: count from the first one seen in this life.
            since = (max(instance.position[0], first), 0)
            if is_stale(rule, since, value.window_start_ms):
                text = f"{rule.name} resolved: no newer window had enough data to judge"
                out.append(self._end_without_value(key, instance, text, now_ms))
        return out

    def _end_without_value(self, key: Key, instance: Instance, text: str, now_ms: int) -> AlertTransition:
        last = instance.last
        if last is None:
            raise AssertionError("an active instance has a transition")
        state = AlertState.RESOLVED if instance.state is AlertState.FIRING else AlertState.INACTIVE
        item = _follow(last, state, None, text, instance.muted, now_ms)
        self._apply(key, instance, item)
        return item

    def _apply(self, key: Key, instance: Instance, item: AlertTransition) -> None:
        if item.state is AlertState.RESOLVED and not item.inhibited_by:
            instance.quiet_from_ms = item.recorded_at_ms
        self._adopt(key, instance, item)
        self._instances.put(key, instance)

    def _adopt(self, key: Key, instance: Instance, item: AlertTransition) -> None:
        """Make the instance what the transition says."""
        rule = self.rules.get(item.rule)
        instance.state = item.state
        instance.seq = item.seq
        instance.position = max(instance.position, (item.window_start_ms, item.version))
        instance.started_at_ms = item.started_at_ms
        instance.muted = item.inhibited_by if item.state is AlertState.FIRING else ""
        instance.last = item
        if item.state is AlertState.PENDING and rule:
            instance.pending_since_ms = for_clock_ms(rule, item.window_start_ms, item.window_end_ms)
        if instance.muted:
            self._muted[key] = None
        else:
            self._muted.pop(key, None)


def _awaited(name: str, inhibitor: Instance | None, instance: Instance, now_ms: int) -> bool:
    """Whether another worker recorded that `name` keeps this alert quiet, and what it recorded of `name` is on its way.

    The two lie in different partitions: with one broker away, one was read 2 s before the other and people were told
    of a warning that a critical alert had replaced.
    """
    last = instance.last
    if last is None or last.state is not AlertState.FIRING or last.inhibited_by != name:
        return False
    if not 0 <= now_ms - last.recorded_at_ms < _ON_ITS_WAY_MS:
        return False
    known = inhibitor.last if inhibitor else None
    return known is None or known.recorded_at_ms < last.recorded_at_ms


def _orphaned(rule: Rule | None, key: Key, last: AlertTransition) -> bool:
    """Whether no rule would ever judge this instance again."""
    if (
        rule is None
        or not rule.active
        or (rule.metric, rule.size, rule.dimension) != (last.metric, last.window, key[1])
    ):
        return True
    return bool(rule.only) and key[2] not in rule.only


def _key_of(item: AlertTransition) -> Key:
    # Rules of ours have at most one label; alerts that no rule made (a paused topic) may have more.
    return item.rule, ",".join(item.labels), ",".join(item.labels.values())


def _order(item: AlertTransition) -> tuple[int, int, int, str]:
    """Which of two transitions of one instance is the later; the same on every worker."""
    return item.seq, item.window_start_ms, item.version, item.state.value


def _follow(
    last: AlertTransition, state: AlertState, value: float | None, text: str, muted: str, now_ms: int
) -> AlertTransition:
    """A next transition that no new value caused: its window is the last transition's, so its id is the same anywhere."""
    return msgspec.structs.replace(
        last,
        transition_id=transition_id(last.fingerprint, last.seq + 1, state, last.window_start_ms),
        seq=last.seq + 1,
        state=state,
        value=value,
        summary=text,
        recorded_at_ms=now_ms,
        inhibited_by=muted,
    )
