"""Stored cells looked up in ClickHouse: open windows after a restart, old windows and entities as they are touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import islice
from typing import Final

from schemas import internal
from schemas.redis_keys import ENTITY_TTL_S
from schemas.results import ALL, SIZES_MS, Cell
from streamproc.agents.merge_partition import MergePartition, Span
from streamproc.agents.stores import WindowStore
from streamproc.clock import now_ms, steady_ms
from streamproc.config import Settings
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.windows.merge import WindowKey, key_of

log = get_logger("lookup")

_LOAD_KEYS: Final = 2000
#: How far back windows are looked up after a restart, and how much of it at a time: a query of about 0.3 s at 10,000
#: events/s on one core.
_BACK_MS: Final = 3 * 3_600_000
_SPAN_MS: Final = 15 * 60_000
#: After a restart older windows wait until what came meanwhile is folded, but no longer than this: a day behind, they cost
#: a second of the first five.
_HOLD_MS: Final = 10_000


def spans(wall_ms: int) -> list[Span]:
    """What may be open at that time, the newest windows first: a window is final at the earliest allowed lateness after its
    end; twice the idle time and a day's slack beside that."""
    now = {size: wall_ms - wall_ms % size_ms - size_ms for size, size_ms in SIZES_MS.items()}
    found = [Span(now, {})]
    for back_ms in range(_SPAN_MS, _BACK_MS + _SPAN_MS, _SPAN_MS):
        # The last one has a window more of each size.
        since = {size: start - min(back_ms, _BACK_MS) for size, start in now.items()}
        if back_ms >= _BACK_MS:
            since = {size: start - SIZES_MS[size] for size, start in since.items()}
        found.append(Span(since, found[-1].since))
    return found


class Lookup:
    """Completes windows of `partitions` from the store; `wake()` is called when something became complete, `finish(partition)` marks
    what is over.

    `load_history` brings to Redis what it lost. `failed` says that the store did not answer: whoever waits for stored cells shows what is known instead.
    """

    def __init__(
        self,
        settings: Settings,
        store: WindowStore,
        partitions: dict[int, MergePartition],
        load_history: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
        finish: Callable[[MergePartition], object],
    ) -> None:
        self.failed = False
        #: Whether events wait that are newer than old windows; set by the role.
        self.is_behind: Callable[[], bool] = lambda: False
        self._begun_ms = 0
        self._settings = settings
        self._store = store
        self._partitions = partitions
        self._load_history = load_history
        self._wake = wake
        self._finish = finish

    async def run(self) -> None:
        """Look up stored cells: open windows after a restart, and old windows and entities as they are touched."""
        pause = 0.02
        while True:
            await asyncio.sleep(pause)
            try:
                await self.load_open()
                await self._load_history()
                await self._load_touched()
            except (RetryableError, PermanentError) as error:
                if not self.failed:
                    log.warning(
                        "stored windows cannot be looked up; values are shown as far as known", error=str(error)
                    )
                self.failed = True
                self._wake()
                pause = min(2.0, pause * 2)
            else:
                self.failed = False
                pause = 0.02

    async def load_open(self) -> None:
        """One span of what partitions lack: the windows of now at once for all, then further and further back. All at once
        took 10 s after a day's worth of windows, and nobody saw a value of today before."""
        missing = [held for held in self._partitions.values() if not held.loaded]
        if not missing:
            return
        wall = now_ms()
        for held in missing:
            if held.to_look_up is None:
                held.to_look_up = spans(wall)
        span = max((held.to_look_up for held in missing if held.to_look_up), key=len)[0]
        if not span.before:
            self._begun_ms = steady_ms()
        elif self.is_behind() and steady_ms() < self._begun_ms + _HOLD_MS:
            return
        cells = await self._store.load_since(span.since, span.before)
        by_number: dict[int, list[Cell]] = {}
        for cell in cells:
            number = internal.partition_of_window(cell.measure, cell.dimension, "", self._settings.partitions)
            by_number.setdefault(number, []).append(cell)
        asked = [held for held in missing if held.to_look_up and held.to_look_up[0] == span]
        last = [held for held in asked if held.to_look_up == [span]]
        await self._ask_for_entities({held.number: held for held in last if held.from_start}, wall)
        for held in asked:
            # Unless it began anew while we waited.
            if held.to_look_up and held.to_look_up[0] == span:
                held.state.restore(by_number.get(held.number, []), span.since, steady_ms())
                held.to_look_up = held.to_look_up[1:]
                held.loaded = not held.to_look_up
        self._wake()

    async def _ask_for_entities(self, begun: dict[int, MergePartition], wall: int) -> None:
        """Have entities looked up that nobody may touch again: nothing else would bring the totals of cells that were
        stored while the log was lost, and whose values were not."""
        stored = await self._store.recent_entities(wall - ENTITY_TTL_S * 1000) if begun else []
        for measure, dimension, value, _, _ in stored:
            held = begun.get(internal.partition_of_window(measure, dimension, value, self._settings.partitions))
            if held is not None:
                held.state.ask_for(WindowKey(measure, dimension, value, ALL, 0), steady_ms())

    async def _load_touched(self) -> None:
        """What was touched and may be stored, of all partitions together: a query costs 20 ms, a key 20 us."""
        while True:
            waiting = [held for held in self._partitions.values() if held.to_look_up is not None and held.state.to_load]
            if not waiting:
                return
            asked = [(held, list(islice(held.state.to_load, max(1, _LOAD_KEYS // len(waiting))))) for held in waiting]
            cells = await self._store.load_cells([key for _, keys in asked for key in keys])
            by_key: dict[WindowKey, list[Cell]] = {}
            for cell in cells:
                by_key.setdefault(key_of(cell), []).append(cell)
            for held, keys in asked:
                held.state.loaded(keys, [cell for key in keys for cell in by_key.get(key, ())], steady_ms())
                # At once: what was final is not to be shown as open in between.
                self._finish(held)
            self._wake()
