"""Role `windows`: event topics to cells (stage 1), cells to windows, live values and alerts (stage 2)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
from aiokafka import TopicPartition

from schemas import internal, topics
from schemas.internal import LostRange
from streamproc.agents.aggregate import Aggregator
from streamproc.agents.alerting import AlertAgent, LoadStates
from streamproc.agents.bridge import SentCells
from streamproc.agents.flood import DEFAULT_LIMIT
from streamproc.agents.flush import Flusher
from streamproc.agents.follow import Follower
from streamproc.agents.log_reader import LogReader, LogReaders, record_hash
from streamproc.agents.losses import LossRecorder, LossStore
from streamproc.agents.merge import MergeAgent
from streamproc.agents.merge_partition import MergePartition
from streamproc.agents.merge_report import MergeReport
from streamproc.agents.notices import stream_paused
from streamproc.agents.poison import PoisonGuard
from streamproc.agents.progress_log import Known, read_known
from streamproc.agents.publisher import Publisher
from streamproc.agents.restore import SourceRestorer
from streamproc.agents.role import Role
from streamproc.agents.runtime import SourceRuntime
from streamproc.agents.stores import LiveStore, WindowStore
from streamproc.alerts.rules import RuleSet
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.logs import get_logger
from streamproc.sinks.lost_offsets_store import NOT_COUNTED, LostOffsets
from streamproc.telemetry import WATERMARK_AGE, show_partitions
from streamproc.windows.merge import SourceProgress
from streamproc.windows.source import NEVER

log = get_logger("windows")

_WATERMARKS_S = 2.0
#: Records to catch up on, about half a second's work: before they are done, nobody needs windows of hours ago.
_BEHIND = 10_000
#: Longer, and the group would wait for us.
_HAND_OVER_S = 2.0


class WindowsRole(Role):
    """Wires stage 1, stage 2 and alerting of one worker."""

    name = "windows"

    def __init__(
        self,
        settings: Settings,
        store: WindowStore,
        live: LiveStore,
        rules: RuleSet,
        load_alerts: LoadStates,
        losses: LossStore,
    ) -> None:
        super().__init__(settings)
        self.publisher = Publisher(settings.bootstrap_servers)
        self.aggregator = Aggregator(settings, self._paused)
        self.aggregator.poison = PoisonGuard(settings, self.name, self.publisher)
        self.restorer = SourceRestorer(settings, self.aggregator, self.aggregator.poison, SentCells(settings, store))
        self.alerting = AlertAgent(settings, rules, self.publisher, load_alerts)
        self.losses = LossRecorder(losses, self.alerting.announce)
        self.aggregator.on_lost = self._lost
        self.merge = MergeAgent(settings, store, live, self.alerting.judge)
        self.merge.attending = self.alerting
        self.merge.unread = partial(self.behind, topics.WINDOW_PARTIALS)
        self.merge.lookup.is_behind = lambda: not self.ready or sum(self.lag().values()) > _BEHIND
        self.merge_report = MergeReport(settings, self.merge, self.alerting, self.publisher)
        self.aggregator.holes = self.merge.holes = self.holes
        self.flusher = Flusher(settings, self.aggregator, self.publisher, self.merge.join_own)
        self._progress_follower = Follower(settings, topics.WINDOW_PROGRESS, self._follow_progress, back=2000)
        self._alert_follower = Follower(settings, topics.ALERTS, self.alerting.follow, back=None)
        self._newest_log: dict[tuple[str, int], tuple[int, str]] = {}
        self._shown: set[tuple[str, int]] = set()
        self._stopping = False

    def topics(self) -> list[str]:
        """The event streams and the cells."""
        return [*topics.SOURCES, topics.WINDOW_PARTIALS]

    async def open(self) -> None:
        """Connect the producer and start flush, merge, sinks, followers and alerting."""
        await self.publisher.start()
        start = self.tasks.start
        start("follow progress", self._progress_follower.run())
        start("follow alerts", self._alert_follower.run())
        start("take alerts over", self.alerting.take_over(self._alert_follower))
        start("alerts", self.alerting.run())
        start("flush", self.flusher.run())
        start("emit", self.merge.emit_loop())
        start("clock", self.merge.clock_loop())
        start("load", self.merge.lookup.run())
        start("redis", self.merge.redis.run())
        start("clickhouse", self.merge.clickhouse.run())
        start("refill", self.merge.live_view.check_loop())
        start("merge report", self.merge_report.run())
        start("watermarks", self._show_watermarks())
        start("lost offsets", self.losses.run())

    async def stop(self) -> None:
        """As every role; but what was counted until now is merged first: the embedded broker forgets unread cells."""
        self._stopping = True
        if self.ready:
            await self.tasks.within(3.0, "merging the last cells", self._settle())
        await super().stop()

    async def _settle(self) -> None:
        await self.flusher.flush()
        sent, held = self.flusher.sent, self.merge.partitions
        while True:
            if all(partition.next_offset > sent.get(number, -1) for number, partition in held.items()):
                return
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        """The last flush and snapshot; then, bounded, what stage 2 still holds for the sinks."""
        if await self.tasks.within(4.0, "the last flush", self.flusher.finish()):
            await self.merge.emit_now()
            await asyncio.gather(self.merge.redis.drained(2.0), self.merge.clickhouse.drained(4.0))
            await self.tasks.within(2.0, "recording alerts", self.alerting.record_outgoing())
            await self.tasks.within(2.0, "recording how far windows are stored", self.merge_report.finish())
        await self.tasks.within(2.0, "closing the producer", self.publisher.stop())

    async def is_same_log(self, topic: str, partition: int) -> bool:
        """By the last record applied, or merged."""
        async with LogReader(self.settings.bootstrap_servers) as reader:
            if topic == topics.WINDOW_PARTIALS:
                held = self.merge.partitions.get(partition)
                return held is None or await self._same_partials(reader, held)
            runtime = self.aggregator.runtimes.get((topic, partition))
            return runtime is None or await self.restorer.is_same(reader, runtime)

    def is_known_log(self, topic: str, partition: int) -> bool:
        """An empty log has no identity, and no cells were merged of one that is at its beginning."""
        if topic == topics.WINDOW_PARTIALS:
            held = self.merge.partitions.get(partition)
            return held is None or held.next_offset > 0
        runtime = self.aggregator.runtimes.get((topic, partition))
        return runtime is None or runtime.state is not None

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Events to stage 1, cells to stage 2."""
        if topic == topics.WINDOW_PARTIALS:
            await self.merge.handle(topic, partition, records)
        else:
            await self.aggregator.handle(topic, partition, records)

    def on_revoked(self) -> None:
        """Whoever waits in a paused topic gives its batch up."""
        self.aggregator.revoked.set()
        # At the end, the last values are still ours to judge: with one worker nobody else ever would.
        if not self._stopping:
            self.alerting.release()

    async def hand_over(self) -> None:
        """The next owner of these partitions must find what was judged of them in the log."""
        await self.alerting.handed_over(_HAND_OVER_S)

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Sources from their snapshots; windows from what ClickHouse has and what came after."""
        sources = {name for name in assigned if name[0] in topics.SOURCES}
        numbers = {number for topic, number in assigned if topic == topics.WINDOW_PARTIALS}
        found = await asyncio.gather(
            self.restorer.restore(sources), self._restore_merge(numbers), return_exceptions=True
        )
        positions: dict[tuple[str, int], int] = {}
        for part in found:
            if isinstance(part, BaseException):
                raise part
            positions.update(part)
        self.alerting.assign(numbers)
        # What came meanwhile waits in the log: no source was silent for as long as nobody listened.
        self.merge.heard_from_ms = now_ms()
        return positions

    async def _restore_merge(self, numbers: set[int]) -> dict[tuple[str, int], int]:
        held = self.merge.partitions
        for number in [number for number in held if number not in numbers]:
            del held[number]
        positions: dict[tuple[str, int], int] = {}
        async with LogReaders(self.settings.bootstrap_servers) as readers:
            reader = readers.first
            fresh = numbers - set(held)
            for number in [number for number in held if not await self._same_partials(reader, held[number])]:
                held[number].restart()
                self.flusher.sent.pop(number, None)
            known = await read_known(readers, self.settings, [("merge", number) for number in fresh])
            opened = await readers.each(partial(self._opened, known), fresh)
        # All at once: their stored cells are looked up together.
        held.update({partition.number: partition for partition in opened})
        for number in numbers:
            positions[topics.WINDOW_PARTIALS, number] = held[number].next_offset
        return positions

    async def _opened(
        self, known: dict[tuple[str, int], list[Known]], reader: LogReader, number: int
    ) -> MergePartition:
        """A partition of window-partials from where everything before is in ClickHouse."""
        partition = MergePartition(number)
        for entry in known.get(("merge", number), []):
            saved = entry.snapshot
            if saved is not None and await self._holds(reader, number, saved.offset, saved.tail_hash):
                partition.next_offset, partition.tail_hash = saved.offset, saved.tail_hash
                return partition
        partition.from_start = True
        return partition

    async def _same_partials(self, reader: LogReader, partition: MergePartition) -> bool:
        tail_hash = record_hash(partition.tail) if partition.tail is not None else partition.tail_hash
        return await self._holds(reader, partition.number, partition.next_offset, tail_hash)

    async def _holds(self, reader: LogReader, number: int, next_offset: int, tail_hash: str) -> bool:
        """Whether window-partials still has that record right before `next_offset`."""
        if next_offset < 1:
            return True
        tp = TopicPartition(self.settings.topic(topics.WINDOW_PARTIALS), number)
        begins = (await reader.beginning([tp]))[tp]
        if begins > next_offset - 1:
            return True
        found = (await reader.first_records({tp: next_offset - 1}))[tp]
        return found is not None and found.offset == next_offset - 1 and record_hash(found) == tail_hash

    def _follow_progress(self, record: Any) -> None:
        """Learn how far every source of every worker is, for final windows."""
        try:
            progress = internal.decode_progress(record.value)
        except msgspec.MsgspecError as error:
            log.error("a record of window-progress is not readable", offset=record.offset, error=str(error))
            return
        if progress.topic == "merge" or progress.topic.startswith(internal.BESIDE):
            return
        name = (progress.topic, progress.partition)
        newest = self._newest_log.get(name)
        # A worker whose clock is ahead must not hold windows open, or a new log back, until then.
        wall_ms = min(progress.wall_ms, now_ms())
        if newest is not None and newest[1] != progress.log_id:
            if newest[0] > wall_ms:
                return
            self.merge.progress.pop(internal.source_name(*name, newest[1]), None)
        self._newest_log[name] = (wall_ms, progress.log_id)
        known = self.merge.progress.get(progress.source)
        if known is None or progress.max_event_ms > known.max_event_ms:
            self.merge.progress[progress.source] = SourceProgress(progress.max_event_ms, wall_ms)

    async def _show_watermarks(self) -> None:
        while True:
            await asyncio.sleep(_WATERMARKS_S)
            wall = now_ms()
            ages = {
                name: (wall - runtime.state.max_event_ms) / 1000
                for name, runtime in self.aggregator.runtimes.items()
                if runtime.state is not None and runtime.state.max_event_ms > NEVER
            }
            show_partitions(WATERMARK_AGE, self._shown, ages)

    def lag(self) -> dict[tuple[str, int], int]:
        """Records after the last one applied, of event topics and of window-partials."""
        lags: dict[tuple[str, int], int] = {}
        for (topic, partition), runtime in self.aggregator.runtimes.items():
            lag = self.behind(topic, partition, runtime.next_offset)
            if lag is not None:
                lags[topic, partition] = lag
        for number, held in self.merge.partitions.items():
            lag = self.behind(topics.WINDOW_PARTIALS, number, held.next_offset)
            if lag is not None:
                lags[topics.WINDOW_PARTIALS, number] = lag
        return lags

    def stuck_s(self) -> float:
        """A paused topic is no stuck one: it is held back on purpose, and said so."""
        return 0.0 if self.aggregator.paused else super().stuck_s()

    def problem(self) -> str:
        """Not ready while the broker takes nothing, or a sink refuses for good."""
        if self.publisher.failing:
            return "the broker does not take messages"
        for sink in (self.merge.redis, self.merge.clickhouse):
            if sink.blocked:
                return f"{sink.name} refuses writes: {sink.blocked}"
        return ""

    def _lost(self, runtime: SourceRuntime, ranges: list[LostRange], is_new: bool) -> None:
        """Have each range recorded, and people told of new ones."""
        for each in ranges:
            place = (runtime.topic, runtime.partition, runtime.log_id)
            row = LostOffsets(*place, each.first, each.last, each.found_ms, NOT_COUNTED)
            if is_new:
                self.losses.found(row)
            else:
                self.losses.remember([row])

    def _paused(self, topic: str, partition: int, offset: int, paused: bool) -> None:
        """Tell people that a topic is paused, and that it goes on; the same pause has the same id."""
        limit = self.settings.dead_letter_limits.get(topic, DEFAULT_LIMIT)
        self.alerting.announce(stream_paused(topic, partition, offset, paused, limit))
