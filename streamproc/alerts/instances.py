"""Memory of alert instances: bounded, and never so short that a transition id could be used twice."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from schemas.results import MetricValue
from streamproc.alerts.lifecycle import Instance

_NEVER: Final = ((-1, -1), None)
#: rule name, dimension, dimension value
Key = tuple[str, str, str]

#: Values judged that never fired: remembered so that an older version that comes late fires nothing.
MAX_SILENT: Final = 5_000
#: Instances that had transitions and are over.
MAX_ENDED: Final = 50_000


class Instances:
    """All instances by key. Active ones are never forgotten; the longest silent and the longest ended are."""

    def __init__(self, max_silent: int = MAX_SILENT, max_ended: int = MAX_ENDED) -> None:
        self._silent: OrderedDict[Key, tuple[tuple[int, int], MetricValue | None]] = OrderedDict()
        self._ended: OrderedDict[Key, Instance] = OrderedDict()
        self._active: dict[str, dict[Key, Instance]] = {}
        self._max_silent = max_silent
        self._max_ended = max_ended
        self._seq_floor = 0

    def find(self, key: Key) -> Instance | None:
        """The instance that had transitions, if it is remembered."""
        return self._active.get(key[0], {}).get(key) or self._ended.get(key)

    def take(self, key: Key) -> Instance:
        """The instance, or a new one that knows the newest value judged for it."""
        known = self.find(key)
        if known:
            return known
        # Ids are made of seq: an instance forgotten with seq n must not begin at 1 again.
        position, latest = self._silent.get(key, _NEVER)
        return Instance(seq=self._seq_floor, position=position, latest=latest)

    def silent_position(self, key: Key) -> tuple[int, int]:
        """(window_start, version) of the newest value judged for an instance without transitions."""
        return self._silent.get(key, _NEVER)[0]

    def note_silent(self, key: Key, value: MetricValue) -> None:
        """Remember the newest value judged for an instance without transitions (the common case: no alert)."""
        self._silent[key] = (value.window_start_ms, value.version), value
        self._silent.move_to_end(key)
        if len(self._silent) > self._max_silent:
            self._silent.popitem(last=False)

    def put(self, key: Key, instance: Instance) -> None:
        """Remember an instance that has transitions as it is now."""
        self._silent.pop(key, None)
        if instance.active:
            self._ended.pop(key, None)
            self._active.setdefault(key[0], {})[key] = instance
            return
        self._active.get(key[0], {}).pop(key, None)
        self._ended[key] = instance
        self._ended.move_to_end(key)
        if len(self._ended) > self._max_ended:
            _, gone = self._ended.popitem(last=False)
            self._seq_floor = max(self._seq_floor, gone.seq)

    def forget_values(self) -> None:
        """Keep the places of values judged (nothing older fires), but not the values."""
        self._silent = OrderedDict((key, (position, None)) for key, (position, _) in self._silent.items())
        for instance in self:
            instance.latest = None

    def active(self, rule: str | None = None) -> list[tuple[Key, Instance]]:
        """Pending and firing instances, of one rule or of all."""
        groups = self._active.values() if rule is None else (self._active.get(rule, {}),)
        return [item for group in groups for item in group.items()]

    def __iter__(self) -> Iterator[Instance]:
        """Every instance that had transitions."""
        for group in self._active.values():
            yield from group.values()
        yield from self._ended.values()

    def __len__(self) -> int:
        return sum(len(group) for group in self._active.values()) + len(self._ended) + len(self._silent)
