"""Starts the parts of a stack in order, keeps them alive, renews the broker, and stops everything in reverse order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streamproc.clock import monotonic
from streamproc.embedded.journal import Journal
from streamproc.embedded.keeper import Backoff, Keeper
from streamproc.embedded.metrics import wait_caught_up
from streamproc.embedded.process import Part

CATCH_UP_S = 20.0


class Supervisor:
    """Parts in stages: the parts of a stage start side by side, a stage starts when the one before is ready.

    `broker` names the part that keeps its log in memory: after it was started anew, by us or because it had died, the
    parts that read it are started anew as well, and find their place by the log's identity. `lag_series` is the number
    of event partitions, over all workers, that must be known to be read before the workers count as caught up.
    """

    def __init__(
        self, stages: Sequence[Sequence[Part]], journal: Journal, broker: str = "broker", lag_series: int = 1
    ) -> None:
        self._journal = journal
        self._lag_series = lag_series
        self._stages = [[Keeper(part, journal, Backoff()) for part in stage] for stage in stages]
        self._broker = next((keeper for keeper in self.keepers if keeper.part.name == broker), None)
        # One change of the broker at a time: a recycle and a crash must not start its readers twice.
        self._changing = asyncio.Lock()
        self.recycles = 0
        # True from when all is read until readers run again: a stop in between has nothing to wait for.
        self._all_read = False
        if self._broker is not None:
            self._broker.on_return = self._broker_came_back

    @property
    def keepers(self) -> list[Keeper]:
        """Every part's keeper, in the order of starting."""
        return [keeper for stage in self._stages for keeper in stage]

    @property
    def worker_ports(self) -> list[int]:
        """Metrics ports of the workers."""
        return [keeper.part.metrics_port for keeper in self.keepers if keeper.part.metrics_port]

    async def start(self) -> None:
        """Start all stages.

        Raises:
            PartFailedError: a part could not be started; what had been started goes on until `stop`.
        """
        for stage in self._stages:
            begun = monotonic()
            try:
                async with asyncio.TaskGroup() as group:
                    for keeper in stage:
                        group.create_task(self._start_one(keeper, begun))
            except ExceptionGroup as errors:
                # The first to fail; the others of its stage were cancelled.
                raise errors.exceptions[0] from None

    async def _start_one(self, keeper: Keeper, begun: float) -> None:
        await keeper.start()
        self._journal.say(f"{keeper.part.name} is ready (pid {keeper.pid}, {monotonic() - begun:.1f} s)")

    async def stop(self) -> None:
        """Stop everything, last started first."""
        await self._leave_broker()
        async with self._changing:
            for stage in reversed(self._stages):
                await asyncio.gather(*(keeper.stop() for keeper in stage))

    async def kill(self) -> None:
        """End everything at once, without waiting."""
        await asyncio.gather(*(keeper.stop(0) for keeper in self.keepers))

    async def drain(self) -> bool:
        """Stop the demo traffic and wait, for a bounded time, until the workers have read everything."""
        await self._leave_broker()
        async with self._changing:
            await self._stop_producing()
            return self._all_read or await self._catch_up()

    async def recycle_broker(self, reason: str) -> None:
        """Renew the broker, whose log only grows: readers catch up and stop, an empty broker starts, readers start."""
        if self._broker is None:
            raise RuntimeError("this stack has no broker to recycle")
        async with self._changing:
            self._journal.say(f"renewing the broker ({reason}): workers catch up, stop, and go on with an empty log")
            begun = monotonic()
            await self._stop_producing()
            caught_up = self._all_read = await self._catch_up()
            await self._stop_readers()
            await self._broker.stop()
            await self._broker.start()
            self._all_read = False
            await self._start_readers()
            self.recycles += 1
            note = "" if caught_up else "; the workers had not caught up in time"
            self._journal.say(f"the broker is renewed after {monotonic() - begun:.1f} s{note}")

    async def _leave_broker(self) -> None:
        """No longer revive the broker: a revival in progress would otherwise hold up the stop."""
        if self._broker is not None:
            await self._broker.let_be()

    async def _broker_came_back(self) -> None:
        async with self._changing:
            self._journal.say("the broker lost its log with its process; starting its readers anew")
            await self._stop_readers()
            await self._start_readers()

    def _readers(self) -> list[list[Keeper]]:
        return [[keeper for keeper in stage if keeper.part.reads_broker] for stage in self._stages]

    async def _stop_readers(self) -> None:
        for stage in reversed(self._readers()):
            await asyncio.gather(*(keeper.stop() for keeper in stage))

    async def _start_readers(self) -> None:
        for stage in self._readers():
            await asyncio.gather(*(keeper.start_again(keeper.part.ready_timeout_s) for keeper in stage))

    async def _stop_producing(self) -> None:
        producers = [keeper for keeper in self.keepers if keeper.part.produces]
        await asyncio.gather(*(keeper.stop() for keeper in producers))

    async def _catch_up(self) -> bool:
        running = [keeper.part.metrics_port for keeper in self.keepers if keeper.part.metrics_port and keeper.pid]
        return bool(running) and await wait_caught_up(running, CATCH_UP_S, self._lag_series)
