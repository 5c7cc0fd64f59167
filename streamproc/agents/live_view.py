"""What Redis shows beside the windows that change: quiet metrics roll by its own clock, and all comes back after a loss."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from schemas import internal
from schemas.redis_keys import ENTITY_TTL_S, SERIES_LENGTH
from schemas.results import ALL, SIZES_MS, MetricValue
from streamproc.agents.handover import Handover
from streamproc.agents.merge_partition import MergePartition
from streamproc.agents.stores import LiveStore, WindowStore
from streamproc.catalogue import MEASURES, metric_named, metrics_of_measure
from streamproc.clock import monotonic, steady_ms
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.windows.merge import WindowKey

log = get_logger("live")

_CHECK_S: Final = 1.0
#: Less than what counts as young of a Redis.
_FIRST_LOOK_S: Final = 60.0
#: A Redis that loses its data again and again must not be filled all the time.
_REFILL_INTERVAL_S: Final = 5.0
_ROLLS_PER_WRITE: Final = 2000
#: A series keeps its newest windows that hold something; how far back they are looked for if there are few.
_SPARSE_MS: Final = 48 * 3_600_000


class LiveView:
    """Keeps Redis complete. `check_loop` runs beside the hand-over to Redis; `roll` and `load` are called by its owner."""

    def __init__(
        self,
        partitions: Mapping[int, MergePartition],
        count: int,
        store: WindowStore,
        live: LiveStore,
        redis: Handover[tuple[int, WindowKey]],
    ) -> None:
        self._partitions = partitions
        self._count = count
        self._store = store
        self._live = live
        self._redis = redis
        self._rolls: list[MetricValue] = []
        self._is_young: bool | None = None
        #: Whether Redis did not answer when it was last asked.
        self.away = False
        #: Redis' clock (epoch ms) minus our steady one; None until Redis has answered once.
        self._offset_ms: int | None = None
        self._load_not_before = 0.0
        self._refilled_at = -_REFILL_INTERVAL_S

    def now_ms(self) -> int | None:
        """The time at Redis. What people see there must not follow the clock of a worker that is a day ahead: a window
        of tomorrow would stand above all others until tomorrow."""
        return None if self._offset_ms is None else steady_ms() + self._offset_ms

    async def check_loop(self) -> None:
        """Once a second: is Redis back, and does it still hold what was written? An emptied one is filled again."""
        known, began = "", monotonic()
        while True:
            await asyncio.sleep(_CHECK_S)
            try:
                seen = await self._live.instance()
            except (RetryableError, PermanentError):
                # The hand-over reports that Redis is away; it is asked again in a second.
                self.away = True
                continue
            self._offset_ms = seen.now_ms - steady_ms()
            if self.away:
                self.away = False
                self._redis.retry()
            # Who comes to look for the first time after minutes (it was paused) may have written to what is gone since.
            late = not known and monotonic() - began > _FIRST_LOOK_S
            if seen.name != known and (known or seen.is_young or late):
                if monotonic() - self._refilled_at < _REFILL_INTERVAL_S:
                    continue
                if known:
                    log.warning("Redis does not hold what was written to it; live values are written again")
                self.refill()
            known, self._is_young = seen.name, seen.is_young

    def refill(self) -> None:
        """Write all that is held to Redis again; the values of what was let go come from ClickHouse."""
        self._refilled_at = monotonic()
        for held in self._partitions.values():
            for key in held.state.windows:
                self._redis.add((held.number, key))
            held.state.roll_again()
            held.history_due = True

    async def roll(self) -> None:
        """Have quiet metrics show their new, empty window; if Redis is away that is tried again at the next call."""
        now = self.now_ms()
        if now is None:
            return
        for held in list(self._partitions.values()):
            self._rolls += held.state.rolled(now)
        rolls, self._rolls = self._rolls, []
        try:
            for first in range(0, len(rolls), _ROLLS_PER_WRITE):
                await self._live.roll(rolls[first : first + _ROLLS_PER_WRITE])
        except (RetryableError, PermanentError):
            # The hand-over reports the sink's state; here it is enough not to lose the newest roll of each.
            newest = {(v.metric, v.size, v.dimension, v.dimension_value): v for v in (*rolls, *self._rolls)}
            self._rolls = list(newest.values())

    async def load(self) -> None:
        """After a loss of Redis: what was there and is held by nobody any more, from ClickHouse.

        Raises:
            RetryableError, PermanentError: ClickHouse is away; call again.
        """
        now = self.now_ms()
        if self._is_young is None or now is None or self.away or monotonic() < self._load_not_before:
            return
        due = {}
        for held in self._partitions.values():
            if held.history_due is None:
                held.history_due = self._is_young
            if held.history_due and held.loaded:
                due[held.number] = held
                # Before it begins: what is let go meanwhile makes it due once more.
                held.history_due = False
        done = not due
        try:
            done = done or await self._load_all(due, now)
        finally:
            if not done:
                self._load_not_before = monotonic() + _CHECK_S
                for held in due.values():
                    held.history_due = True

    async def _load_all(self, due: Mapping[int, MergePartition], now: int) -> bool:
        """False if Redis went again."""
        return await self._load_series(due, now) and await self._load_entities(due, now)

    async def _load_entities(self, due: Mapping[int, MergePartition], now: int) -> bool:
        """Totals that would still be there; who holds one writes it himself. False if Redis does not take them."""
        async for values in self._store.entities(now - ENTITY_TTL_S * 1000):
            lost = []
            for value in values:
                key = WindowKey(metric_named(value.metric).measure, value.dimension, value.dimension_value, ALL, 0)
                held = due.get(internal.partition_of_window(*key[:3], self._count))
                if held is not None and key not in held.state.windows:
                    lost.append(value)
            if not await self._written(lost):
                return False
        return True

    async def _written(self, values: list[MetricValue]) -> bool:
        try:
            await self._live.write(values)
        except (RetryableError, PermanentError):
            # The hand-over reports it.
            return False
        return True

    async def _load_series(self, due: Mapping[int, MergePartition], now: int) -> bool:
        """Windows that a series still shows, though they are final and were let go; False if Redis does not take them."""
        ours = {
            (metric.name, dimension): due[number]
            for measure in MEASURES
            for dimension in ("", *measure.dimensions)
            if not measure.entity
            and (number := internal.partition_of_window(measure.name, dimension, "", self._count)) in due
            for metric in metrics_of_measure(measure.name)
        }
        for size, size_ms in SIZES_MS.items():
            kept = SERIES_LENGTH[size]
            async for values in self._store.series(set(ours), size, now - max(kept * size_ms, _SPARSE_MS), kept):
                if not await self._written(values):
                    return False
                for value in values:
                    name = (metric_named(value.metric).measure, value.dimension, value.dimension_value, size)
                    ours[value.metric, value.dimension].state.note_quiet(name, value.window_start_ms)
        return True
