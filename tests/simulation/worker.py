"""One simulated worker process: the real windows role, with modelled clients, on an event loop of ours."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from schemas.results import MetricValue
from streamproc.agents.windows_role import WindowsRole
from streamproc.config import Settings
from tests.simulation import virtual
from tests.simulation.broker import Record, Tp
from tests.simulation.stores import SimLive, SimLosses, SimStore, WindowName, name_of
from tests.simulation.virtual import ProcessEnded

#: What one fetch brought of a topic: partitions and their records.
Batch = list[tuple[int, list[Record]]]

#: Batches that lie fetched and not yet handled, per topic, as in Faust's buffer.
_BUFFERED = 2

#: Longer than the product waits between two records of how far windows are stored.
_ALERTS_KNOWN_S = 2.05


class Request:
    """A call to a server that is on its way: `apply` is what it does there, `future` who waits for the answer."""

    __slots__ = ("apply", "future", "is_read", "target")

    def __init__(self, target: str, apply: Callable[[], Any], future: asyncio.Future[Any], is_read: bool) -> None:
        self.target = target
        self.apply = apply
        self.future = future
        self.is_read = is_read


class _Consumer:
    """What the role asks of Faust's consumer."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def connections(self) -> frozenset[Any]:
        """The broker's connection as it is now."""
        found: frozenset[Any] = self._process.world.broker.connected
        return found

    def behind(self, tp: Tp, next_offset: int) -> int:
        """Records to read from that offset on."""
        return max(0, self._process.world.broker.logs[tp[0], tp[1]].next_offset - next_offset)

    async def seek_back(self, tp: Tp, offset: int) -> None:
        """Read on from there; what was fetched of that partition is dropped."""
        self._process.seek_back((tp[0], tp[1]), offset)


class _App:
    """What the role asks of Faust's app."""

    def __init__(self, process: Process) -> None:
        self.consumer = _Consumer(process)
        self._process = process

    async def stop(self) -> None:
        """Leave the group, once the batches in hand are given up."""
        await self._process.emptied()


class SimAlerting:
    """In the place of the alert agent: notes every value that rules would judge. What follows from it is known to others
    once it is recorded; who dies before has judged nothing."""

    def __init__(self, *_: Any) -> None:
        assert virtual.running is not None
        self._process = virtual.running.process
        self._held: frozenset[int] = frozenset()
        self._owned: frozenset[int] = frozenset()
        self._waiting: dict[tuple[int, WindowName], MetricValue] = {}
        self._judged: list[MetricValue] = []

    def judge(self, value: MetricValue, partition: int) -> None:
        """A value was published."""
        if partition not in self._owned:
            self._waiting[partition, name_of(value)] = value
            return
        self._process.judged(value)
        self._judged.append(value)

    def waits(self) -> bool:
        """Whether values are still to be judged, or to be recorded."""
        return bool(self._judged) or any(partition in self._held for partition, _ in self._waiting)

    def has_judged(self, partition: int) -> bool:
        """Whether the alerts of this partition are known."""
        return partition in self._owned

    def judge_presence(self, value: MetricValue, partition: int) -> None:
        """No service speaks in these histories."""
        self._process.world.problem(f"a silence of nobody: {value}")

    def announce(self, item: Any) -> None:
        """No topic pauses in these histories (that takes 500 records)."""
        if item.rule != "lost_offsets":
            self._process.world.problem(f"a topic was paused: {item.summary}")

    def release(self) -> None:
        """Partitions were taken away."""
        self._held = self._owned = frozenset()

    def assign(self, partitions: Any) -> None:
        """Partitions were given."""
        self._held, self._owned = frozenset(partitions), frozenset()

    async def handed_over(self, patience_s: float) -> None:
        """The next owner finds what was judged."""
        await self.record_outgoing()

    def follow(self, record: Any) -> None:
        """Nothing is on the alerts topic."""

    async def take_over(self, follower: Any) -> None:
        """Some time after an assignment its alerts are known (up to half a minute while gold.alerts cannot be read)."""
        while True:
            await asyncio.sleep(_ALERTS_KNOWN_S)
            if not self._held:
                continue  # taken away for a moment: what waits may be given back
            self._owned = self._held
            waiting, self._waiting = self._waiting, {}
            for (partition, _), value in waiting.items():
                if partition in self._owned:
                    self.judge(value, partition)

    async def run(self) -> None:
        """Record, as the real one, now and then."""
        while True:
            await asyncio.sleep(1.0)
            await self.record_outgoing()

    async def record_outgoing(self) -> None:
        """What was judged is in the log."""
        judged, self._judged = self._judged, []
        for value in judged:
            self._process.world.judged(name_of(value), value)


class SimFollower:
    """In the place of agents/follow.py: gives every record of a topic to `take`, from wherever its log begins now."""

    def __init__(self, settings: Settings, topic: str, take: Callable[[Any], None], back: int | None) -> None:
        assert virtual.running is not None
        self.caught_up = asyncio.Event()
        self.records = 0
        self._world = virtual.running.process.world
        self._topic = settings.topic(topic)
        self._take = take
        self._reached: dict[int, tuple[Any, int]] = {}

    async def run(self) -> None:
        """Follow; every round is one timer."""
        logs = self._world.broker.logs
        if (self._topic, 0) not in logs:
            return
        while True:
            for number in self._world.broker.partitions(self._topic):
                log = logs[self._topic, number]
                known, start = self._reached.get(number, (log, 0))
                if known is log and start == log.next_offset:
                    continue
                for record in log.read(start if known is log else 0, len(log.everything)):
                    self._take(record)
                self._reached[number] = (log, log.next_offset)
            self.caught_up.set()
            await asyncio.sleep(1.0)


class Process:
    """A worker: its role, its assignment as it knows it, what it has fetched, and the requests that it waits for."""

    def __init__(self, world: Any, name: str, settings: Settings, skew_ms: int) -> None:
        self.world = world
        self.name = name
        self.settings = settings
        self.loop = virtual.Loop(skew_ms)
        self.loop.process = self
        self.requests: list[Request] = []
        self.paused = False
        self.stopping = False
        #: The assignment that the group has for it, and the one that it has taken over (by number of the rebalance).
        self.target: frozenset[Tp] = frozenset()
        self.target_number = -1
        self.taken_number = -1
        self.rejoining = False
        self.positions: dict[Tp, int] = {}
        self._buffers: dict[str, deque[Batch]] = {}
        self._busy: set[str] = set()
        self._idle: asyncio.Event | None = None
        self._judged: dict[tuple[Any, ...], int] = {}
        self._holds = 0
        self.role: WindowsRole = None  # type: ignore[assignment]  # made by its own loop, in `_boot`
        self.spawn("boot", self._boot())

    @property
    def alive(self) -> bool:
        """Whether the process exists (it may be paused)."""
        return not self.loop.dead

    @property
    def in_hand(self) -> bool:
        """Whether batches are fetched and not handled yet."""
        return bool(self._busy) or any(self._buffers.values())

    def vanish(self) -> None:
        """Nothing of it runs or is delivered any more. Freed at once, for collecting cyclic garbage takes longer."""
        self.loop.kill()
        self.requests.clear()
        self._buffers.clear()
        if self.role is not None:
            self.role.aggregator.runtimes.clear()
            self.role.merge.partitions.clear()
            self.role.merge.__dict__.clear()
            self.role.__dict__.clear()

    def spawn(self, name: str, work: Any) -> None:
        """Run a coroutine on this process' loop."""
        self.loop.create_task(work, name=name)

    async def _boot(self) -> None:
        self._idle = asyncio.Event()
        self._idle.set()
        self.role = WindowsRole(
            self.settings,
            SimStore(self),
            SimLive(self),
            None,  # type: ignore[arg-type]  # no rules here
            None,  # type: ignore[arg-type]
            SimLosses(self),
        )
        self.role._app = _App(self)
        await self.role.open()

    def widen(self, keys: int = 20_000) -> None:
        """How many keys a sink is given at once."""
        self.role.merge.redis._max_keys = self.role.merge.clickhouse._max_keys = keys

    # Requests to servers.

    def request(self, target: str, apply: Callable[[], Any], is_read: bool = False) -> asyncio.Future[Any]:
        """Send a request; the scheduler decides when and how it is answered."""
        future = self.loop.create_future()
        if not self.loop.dead:
            self.requests.append(Request(target, apply, future, is_read))
        return future

    async def reading(self) -> None:
        """A read of a log: most answer at once, some let others go first, some fail."""
        if self.world.is_read_slow():
            await self.request("reader", _nothing, is_read=True)

    # The consumer group.

    def fetch(self, topic: str, most: int) -> bool:
        """Fetch what is new of a topic's partitions, if there is room; False if there was nothing to do."""
        buffer = self._buffers.setdefault(topic, deque())
        if self.rejoining or self.stopping or len(buffer) >= _BUFFERED:
            return False
        batch: Batch = []
        for tp, position in self.positions.items():
            if tp[0] != topic:
                continue
            log = self.world.broker.logs[tp]
            if position > log.next_offset:
                if not self.world.resets_out_of_range:
                    continue
                position = self.positions[tp] = log.start
            records = log.read(position, most)
            if records:
                log.was_read = True
                self.positions[tp] = self.world.committed[tp] = records[-1].offset + 1
                batch.append((tp[1], records))
        if not batch:
            return False
        buffer.append(batch)
        if topic not in self._busy:
            self._busy.add(topic)
            assert self._idle is not None
            self._idle.clear()
            self.spawn("agent", self._agent(topic, buffer))
        return True

    async def _agent(self, topic: str, buffer: deque[Batch]) -> None:
        """As agents/faust_app.py's agent: one batch after the other, nothing may leave the body."""
        try:
            while buffer:
                for partition, records in buffer.popleft():
                    await self.role._handle_raw(topic, partition, records)
        except ProcessEnded:
            return
        except Exception as error:
            self.end(f"agent on {topic} failed: {error!r}")
        finally:
            self._busy.discard(topic)
            if not self._busy and self._idle is not None and not self.loop.dead:
                self._idle.set()

    def seek_back(self, tp: Tp, offset: int) -> None:
        """Fetch a partition from there, unless a rebalance goes on."""
        if tp in self.positions and not self.rejoining:
            self.positions[tp] = offset
            for batch in self._buffers.get(tp[0], ()):
                batch[:] = [part for part in batch if part[0] != tp[1]]

    async def emptied(self) -> None:
        """Drop what is fetched, and wait for the batches that are being handled."""
        for buffer in self._buffers.values():
            buffer.clear()
        assert self._idle is not None
        await self._idle.wait()

    def rejoin(self) -> None:
        """Take over the assignment that the group has for this worker."""
        if not self.rejoining and not self.stopping:
            self.rejoining = True
            self.spawn("rejoin", self._rejoin())

    async def _rejoin(self) -> None:
        try:
            await self.role._revoked(None, None)
            await self.emptied()
            number, assigned = self.target_number, self.target
            if assigned:
                self.positions = dict(await self.role._restore_raw(set(assigned)))
            else:
                await self.role._assigned(None, assigned)
                self.positions = {}
            self.taken_number = number
            self._holds += 1
            self.rejoining = False
        except ProcessEnded:
            return

    def stop(self) -> None:
        """SIGTERM: what the CLI does with the role."""
        if not self.stopping and self.role is not None:
            self.stopping = True
            self.spawn("stop", self._stop())

    async def _stop(self) -> None:
        try:
            await self.role.stop()
        except ProcessEnded:
            return
        self.end("")

    def end(self, reason: str) -> None:
        """The process ends by itself; the scheduler buries it after this step. '' is a graceful end."""
        if not self.loop.ended:
            self.loop.ended = reason or "stopped"
            self.world.ended(self, reason)

    # What is watched while it runs.

    def judged(self, value: MetricValue) -> None:
        """Within one assignment what is known of a window only grows, unless ClickHouse is as it was before."""
        name = name_of(value)
        place = (self._holds, *name)
        known = self._judged.get(place, -1)
        rank = value.version // 4
        if value.complete:
            if rank < known and "old ClickHouse restored" not in self.world.faults:
                self.world.problem(f"{self.name} judged {name} at version {rank} after {known}")
            self._judged[place] = max(known, rank)


def _nothing() -> None:
    return None
