"""Which alerts are firing as far as people were told, and when to remind them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from schemas.alerts import AlertState, AlertTransition
from streamproc.alerts.lifecycle import fingerprint
from streamproc.alerts.rules import RuleSet

#: Instances whose last seq is remembered, so that an old record does not bring an alert back to life.
_MAX_REMEMBERED: Final = 50_000

Value = TypeVar("Value")


@dataclass(slots=True)
class _Firing:
    item: AlertTransition
    told_ms: int = 0


class Reminders:
    """Firing alerts by fingerprint, and the wall time at which each was last told."""

    def __init__(self, rules: RuleSet) -> None:
        self._rules = rules
        self._firing: dict[str, _Firing] = {}
        self._last: OrderedDict[str, int] = OrderedDict()
        self._told: OrderedDict[str, int] = OrderedDict()

    def transition(self, item: AlertTransition) -> AlertTransition | None:
        """Note a transition; returns the firing transition that it ends, if any."""
        if item.seq < self._last.get(item.fingerprint, 0):
            return None
        _remember(self._last, item.fingerprint, item.seq)
        ended = self._firing.pop(item.fingerprint, None)
        if item.state is AlertState.FIRING:
            told = self._told.get(item.transition_id, 0)
            self._firing[item.fingerprint] = _Firing(item, told)
            return None
        return ended.item if ended else None

    def told(self, item: AlertTransition, at_ms: int) -> None:
        """Note that people were told of this transition."""
        _remember(self._told, item.transition_id, max(at_ms, self._told.get(item.transition_id, 0)))
        firing = self._firing.get(item.fingerprint)
        if firing and firing.item.transition_id == item.transition_id:
            firing.told_ms = max(firing.told_ms, at_ms)

    def forget(self, belongs: Callable[[AlertTransition], bool]) -> None:
        """Leave these alerts to another worker."""
        for key in [key for key, firing in self._firing.items() if belongs(firing.item)]:
            del self._firing[key]
            self._last.pop(key, None)

    def due(self, now_ms: int) -> list[AlertTransition]:
        """Alerts to remind people of: told, still firing, not silenced, and their repeat_interval is over.

        What was told by a clock that is ahead counts as told now, or reminders would stop until then.
        """
        for firing in self._firing.values():
            firing.told_ms = min(firing.told_ms, now_ms)
        return [
            firing.item
            for firing in self._firing.values()
            if (at := self._due_ms(firing)) is not None and at <= now_ms and not self._silenced(firing.item)
        ]

    def _due_ms(self, firing: _Firing) -> int | None:
        rule = self._rules.get(firing.item.rule)
        if rule is None or not rule.active or not rule.repeat_ms or not firing.told_ms or firing.item.inhibited_by:
            return None
        return firing.told_ms + rule.repeat_ms

    def _silenced(self, item: AlertTransition) -> bool:
        return any(fingerprint(name, item.labels) in self._firing for name in self._rules.inhibitors_of(item.rule))


def _remember(memory: OrderedDict[str, Value], key: str, value: Value) -> None:
    memory[key] = value
    memory.move_to_end(key)
    if len(memory) > _MAX_REMEMBERED:
        memory.popitem(last=False)
