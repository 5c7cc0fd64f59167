"""Which notices go into one message: groups that wait a moment, and digests when too many groups are due at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from schemas.alerts import AlertTransition
from streamproc.alerts.rules import SEVERITIES, RuleSet

GROUP_WAIT_S: Final = 0.3
GROUP_INTERVAL_S: Final = 1.0
#: More groups than this due at once go into one digest: at one message a second they would come late.
DIGEST_ABOVE: Final = 3
#: Most notices of one message; their ids must fit into it.
DIGEST_SIZE: Final = 500
#: Groups whose last message is remembered (for GROUP_INTERVAL_S).
_MAX_REMEMBERED: Final = 1000

GroupKey = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to tell people: a transition, or the reminder that an alert still fires."""

    item: AlertTransition
    reminder: bool = False

    @property
    def key(self) -> tuple[str, bool]:
        """What makes two notices the same."""
        return self.item.transition_id, self.reminder


@dataclass(slots=True)
class _Group:
    due: float
    notices: dict[tuple[str, bool], Notice] = field(default_factory=dict)

    @property
    def severity(self) -> int:
        return max(SEVERITIES.index(n.item.severity) for n in self.notices.values())


class Grouper:
    """Notices not yet delivered, by group. Times are seconds of one monotonic clock, given by the caller."""

    def __init__(self, rules: RuleSet, wait_s: float = GROUP_WAIT_S, interval_s: float = GROUP_INTERVAL_S) -> None:
        self._rules = rules
        self._wait_s = wait_s
        self._interval_s = interval_s
        self._groups: dict[GroupKey, _Group] = {}
        self._where: dict[tuple[str, bool], GroupKey] = {}
        self._sent: dict[GroupKey, float] = {}

    def __len__(self) -> int:
        return len(self._where)

    def add(self, notice: Notice, now: float) -> None:
        """Put a notice into its group; the same notice again changes nothing."""
        if notice.key in self._where:
            return
        key = self._group_key(notice.item)
        group = self._groups.get(key)
        if group is None:
            due = max(now + self._wait_s, self._sent.get(key, -self._interval_s) + self._interval_s)
            group = self._groups[key] = _Group(due)
        group.notices[notice.key] = notice
        self._where[notice.key] = key

    def take(self, now: float) -> list[Notice]:
        """The notices of the next message, [] if none is due. They stay here until `remove` says they are done."""
        due = [group for group in self._groups.values() if group.due <= now]
        if not due:
            return []
        if len(due) > DIGEST_ABOVE:
            return self._oldest(notice for group in due for notice in group.notices.values())
        first = max(due, key=lambda group: (group.severity, -group.due))
        return self._oldest(first.notices.values())

    def all(self) -> list[Notice]:
        """Every notice, by group, the oldest group first."""
        return [notice for group in self._groups.values() for notice in group.notices.values()]

    def remove(self, keys: Iterable[tuple[str, bool]], sent_at: float | None = None) -> None:
        """Forget notices that are delivered (`sent_at`: their group now keeps its interval) or obsolete."""
        for key in keys:
            where = self._where.pop(key, None)
            if where is None:
                continue
            group = self._groups[where]
            del group.notices[key]
            if not group.notices:
                del self._groups[where]
            if sent_at is not None:
                self._sent.pop(where, None)
                self._sent[where] = sent_at
                if len(self._sent) > _MAX_REMEMBERED:
                    del self._sent[next(iter(self._sent))]

    def next_due(self) -> float | None:
        """When the next group is due; None if there is none."""
        return min((group.due for group in self._groups.values()), default=None)

    def _oldest(self, notices: Iterable[Notice]) -> list[Notice]:
        ordered = sorted(notices, key=lambda n: (n.item.recorded_at_ms, n.item.fingerprint, n.item.seq))
        return ordered[:DIGEST_SIZE]

    def _group_key(self, item: AlertTransition) -> GroupKey:
        rule = self._rules.get(item.rule)
        names = rule.group_by if rule else ("metric", *item.labels)
        own = {"metric": item.metric, "rule": item.rule, "severity": item.severity}
        # The names belong to the key: video 7 of one rule is not channel 7 of another.
        return tuple(f"{name}={own.get(name) or item.labels.get(name, '')}" for name in names)
