"""What all worker roles share: a Faust app, background tasks, readiness, and a graceful end."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from aiokafka.errors import KafkaError

from streamproc.agents.fatal import die, leave
from streamproc.agents.faust_app import add_batch_agent, make_app
from streamproc.agents.holes import HoleGuard
from streamproc.agents.membership import Membership
from streamproc.agents.tasks import Tasks
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.memory import trim_heap
from streamproc.telemetry import LAG, show_partitions

log = get_logger("role")

_COMMIT_S = 3.0
_TRIM_S = 30.0

#: A broker that is away must not hold up the end of a process: what is left is read again.
_LEAVE_GROUP_S = 6.0
#: A broker that lost a log has lost the group too, so a rebalance restores us; if it does not come, a new process does.
_FOREIGN_LOG_S = 30.0


def _scratch() -> tempfile.TemporaryDirectory[str]:
    """A directory that Faust wants and nothing is written to.

    Raises:
        RetryableError: the disk is full, or there is no place for temporary files.
    """
    try:
        return tempfile.TemporaryDirectory(prefix="streamproc-faust-")
    except OSError as error:
        where = os.environ.get("TMPDIR", "/tmp")  # noqa: S108 (only named)
        raise RetryableError("no_temporary_files", f"no directory can be made in {where}: {error.strerror}") from error


class Role:
    """Base of the roles. Sub-classes name their topics and do the work in `handle` and `restore`."""

    name = ""
    fetch_wait_ms = 100
    #: Seconds between fetches of a worker that keeps up: part of the latency, and what makes batches worth their cost.
    linger_s = 0.02

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.tasks = Tasks()
        self.ready = False
        self.progressed_at_s = monotonic()
        self._app: Any = None
        self._giving_up = False
        #: Since when an answer of the group is waited for: which partitions are ours, perhaps none.
        self._joining_since_s: float | None = None
        #: Broker connections over which each partition's log was known to be the same, and logs that are another one.
        self._verified: dict[tuple[str, int], frozenset[Any]] = {}
        self._foreign: dict[tuple[str, int], float] = {}
        self._membership: Membership | None = None
        self._scratch = _scratch()
        self.holes = HoleGuard(settings, self.is_same_log, self._seek_back, lambda: not self._giving_up)

    def topics(self) -> list[str]:
        """Contract names of the topics that this role reads in batches."""
        raise NotImplementedError

    async def handle(self, topic: str, partition: int, records: list[Any]) -> None:
        """Take one fetched batch of a contract topic."""
        raise NotImplementedError

    async def restore(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Where to read on, by (contract topic, partition)."""
        raise NotImplementedError

    async def is_same_log(self, topic: str, partition: int) -> bool:
        """Whether the log still holds the last record taken of it (contract topic); asked after every reconnection."""
        return True

    def is_known_log(self, topic: str, partition: int) -> bool:
        """Whether anything was taken of the log by which `is_same_log` can tell it from another one."""
        return True

    async def open(self) -> None:
        """Connect and start background tasks; before the first assignment."""

    async def close(self) -> None:
        """Finish what was taken; after the last batch."""

    def lag(self) -> dict[tuple[str, int], int]:
        """Records in the log after the last one taken, by (contract topic, partition)."""
        return {}

    def problem(self) -> str:
        """Why this role is not ready, '' if it is."""
        return ""

    async def start(self) -> None:
        """Open, join the consumer group, begin."""
        self._membership = Membership(self.settings, self.name)
        await asyncio.gather(self.open(), self._membership.replace_predecessor())
        app = self._app = make_app(
            self.settings,
            self.name,
            self._restore_raw,
            self._give_up,
            self._scratch.name,
            self.fetch_wait_ms,
            self.linger_s,
        )
        app.on_partitions_revoked.connect(self._revoked)
        app.on_partitions_assigned.connect(self._assigned)
        for topic in self.topics():
            add_batch_agent(app, self.settings.topic(topic), self._handle_raw)
        app.finalize()
        self._joining_since_s = monotonic()
        await app.start()
        self.tasks.start("lag", self._lag_loop())
        self.tasks.start("trim", self._trim_loop())

    async def stop(self) -> None:
        """Leave the group after the batch in flight, then finish what was taken."""
        self.ready = False
        self._give_up()
        self._joining_since_s = None
        if self._app is not None:
            await self.tasks.within(_LEAVE_GROUP_S, "leaving the group", self._app.stop())
        await self.close()
        await self.tasks.within(3.0, "background tasks", self.tasks.stop())
        if self._membership is not None and not self.tasks.undone:
            self._membership.forget()
        self._scratch.cleanup()
        if self.tasks.undone:
            log.info("stopped", role=self.name, undone=self.tasks.undone)
            leave()

    def on_revoked(self) -> None:
        """Partitions are being taken away: whoever waits inside `handle` must give up its batch."""

    async def hand_over(self) -> None:
        """After `on_revoked`, before others are given these partitions: bounded, what they must find in the log."""

    def _give_up(self) -> None:
        self._giving_up = True
        self.on_revoked()

    async def _revoked(self, _app: Any, revoked: Any, **_kwargs: Any) -> None:
        self._give_up()
        self._joining_since_s = monotonic()
        await self.hand_over()

    async def _assigned(self, _app: Any, assigned: Any, **_kwargs: Any) -> None:
        # More workers than partitions: Faust restores nothing then, and what was held must be let go.
        if not assigned:
            await self._restore_raw(set())

    def _contract(self, topic: str) -> str:
        return topic.removeprefix(self.settings.topic_prefix)

    async def _handle_raw(self, topic: str, partition: int, records: list[Any]) -> None:
        name = (self._contract(topic), partition)
        if await self._is_trusted(name):
            await self.handle(*name, records)
            self.progressed_at_s = monotonic()

    async def _is_trusted(self, name: tuple[str, int]) -> bool:
        """Whether a batch continues the log that is known. A broker that lost its log and was filled beyond our place
        serves other records there, before any rebalance tells: so each new connection has the log checked once."""
        while not self._giving_up:
            now = self._app.consumer.connections()
            if now <= self._verified.get(name, frozenset()):
                return True
            try:
                same = await self.is_same_log(*name)
            except (KafkaError, OSError, TimeoutError, RetryableError) as error:
                log.warning(
                    "a log cannot be checked; trying again", topic=name[0], partition=name[1], error=repr(error)
                )
                await asyncio.sleep(0.5)
                continue
            if same:
                # Nothing contradicts a log of which nothing was read: its next batch has to be asked about again.
                if self.is_known_log(*name):
                    self._verified[name] = now
                return True
            if name not in self._foreign:
                log.warning("another log is served; waiting for the rebalance", topic=name[0], partition=name[1])
                self._foreign[name] = monotonic()
            return False
        return False

    async def _restore_raw(self, assigned: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        named = {(self._contract(topic), partition) for topic, partition in assigned}
        connections = self._app.consumer.connections()
        self._joining_since_s = None
        if self._membership is not None:
            self._membership.note(self._app.consumer.member_id())
        self._giving_up = False
        positions = await self._restored(named)
        self._verified = dict.fromkeys(named, connections)
        self._foreign.clear()
        self.progressed_at_s = monotonic()
        self.ready = True
        return {(self.settings.topic(topic), partition): offset for (topic, partition), offset in positions.items()}

    async def _restored(self, named: set[tuple[str, int]]) -> Mapping[tuple[str, int], int]:
        """Restore until it works: Faust would go on from the committed offsets, or sit there crashed, after an error."""
        pause = 0.2
        while True:
            try:
                return await self.restore(named)
            except (KafkaError, OSError, TimeoutError, RetryableError) as error:
                log.warning("restoring was interrupted; trying again", role=self.name, error=repr(error))
                await asyncio.sleep(pause)
                pause = min(5.0, 2 * pause)
            except asyncio.CancelledError:
                raise
            except BaseException:
                die(f"restoring {self.name} failed")

    async def _seek_back(self, topic: str, partition: int, offset: int) -> None:
        """Read one partition of a contract topic on from there."""
        from faust.types import TP

        await self._app.consumer.seek_back(TP(self.settings.topic(topic), partition), offset)

    def behind(self, topic: str, partition: int, next_offset: int) -> int | None:
        """Records of a contract topic's log from `next_offset` on as the last fetch saw it, None before the first."""
        from faust.types import TP

        consumer = self._app.consumer if self._app is not None else None
        found = consumer.behind(TP(self.settings.topic(topic), partition), next_offset) if consumer else None
        return int(found) if found is not None else None

    async def _trim_loop(self) -> None:
        """Ids leave memory by the minute, in blocks between others that stay: glibc alone would keep their pages."""
        while True:
            await asyncio.sleep(_TRIM_S)
            await asyncio.to_thread(trim_heap)

    async def _lag_loop(self) -> None:
        committed_at_s = monotonic()
        shown: set[tuple[str, int]] = set()
        while True:
            await asyncio.sleep(1.0)
            if self._app.crashed:
                die("Faust has crashed: the process would live on without reading anything")
            if any(monotonic() - since > _FOREIGN_LOG_S for since in self._foreign.values()):
                die(f"another log is served, and no rebalance came: {sorted(self._foreign)}")
            lags = self.lag()
            show_partitions(LAG, shown, lags)
            # Once the app stops, its consumer's thread may be gone: no hint is worth a process that ends in an error.
            if monotonic() - committed_at_s >= _COMMIT_S and not self._giving_up:
                committed_at_s = monotonic()
                await self._commit(lags)

    async def _commit(self, lags: Mapping[tuple[str, int], int]) -> None:
        """Tell the broker how far this group is: a hint for tools, since Faust sees one partition of each batch."""
        from faust.types import TP

        offsets = {}
        for (topic, partition), lag in lags.items():
            end = self._app.consumer.end(TP(self.settings.topic(topic), partition))
            if end:
                offsets[TP(self.settings.topic(topic), partition)] = end - lag
        if offsets:
            passing("before_commit")
            await self._app.consumer._commit(offsets)
            passing("after_commit")

    def joining_s(self) -> float:
        """Seconds for which the group has not said which partitions are ours; 0 once it has (perhaps none)."""
        return 0.0 if self._joining_since_s is None else monotonic() - self._joining_since_s

    async def group_state(self) -> str:
        """The state of the consumer group as the broker names it, '' if it does not answer."""
        return "" if self._membership is None else await self._membership.group_state()

    def stuck_s(self) -> float:
        """Seconds without progress while there is lag; 0 without lag."""
        if not any(self.lag().values()):
            self.progressed_at_s = max(self.progressed_at_s, monotonic() - 1.0)
            return 0.0
        return monotonic() - self.progressed_at_s
