"""Everything outside the workers' code: servers, network, consumer group, time; and what becomes of each request."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import KafkaTimeoutError

from schemas import topics
from schemas.results import MetricValue
from streamproc.config import Settings
from streamproc.errors import RetryableError
from tests.simulation import virtual
from tests.simulation.broker import Broker, Log
from tests.simulation.events import Events
from tests.simulation.stores import ClickHouse, Redis, WindowName
from tests.simulation.worker import Process, Request

_SETTINGS: dict[tuple[int, int], Settings] = {}
_INTERNAL: Final = (
    topics.WINDOW_PARTIALS,
    topics.WINDOW_PROGRESS,
    topics.WINDOW_IDS,
    topics.WINDOW_STATE,
    topics.DEAD_LETTERS,
)
_SHOWN: Final = 12
#: Video events have the most measures and the fewest rules of their own: they come least often.
_SHARES: Final = (topics.USER_EVENTS, topics.COST_EVENTS, topics.VIDEO_STATUS)
#: 23:20 UTC: histories cross minutes and hours, and some of them midnight.
_START_MS: Final = 1_800_055_200_000


def _settings(partitions: int, snapshot_s: int) -> Settings:
    """Validating settings takes longer than a step: histories share them."""
    found = _SETTINGS.get((partitions, snapshot_s))
    if found is None:
        found = _SETTINGS[partitions, snapshot_s] = Settings(
            partitions=partitions, snapshot_interval_s=snapshot_s, idle_timeout_s=5
        )
    return found


class World:
    """One history's world. `say` is called with each step's text where somebody wants to read it."""

    def __init__(self, seed: int, say: Callable[[str], None] | None = None) -> None:
        self.rng = rng = random.Random(seed)
        self.say = say
        self.decisions = 0
        self.faults: Counter[str] = Counter()
        self.problems: list[str] = []
        #: What this history contains (census.py) until it comes to rest.
        self.contents: Counter[str] = Counter()
        self.resting = False
        self.broker = Broker()
        self.clickhouse = ClickHouse()
        self.redis = Redis()
        self.events = Events(rng)
        self.processes: list[Process] = []
        self.away: dict[str, int] = {}
        #: Sinks that answer nothing now, and for how many decisions.
        self.slow: dict[str, int] = {}
        #: Writes whose client has given up on them, and that servers may still apply.
        self.late: list[Request] = []
        #: Answers that are on their way back.
        self.answers: list[tuple[Request, Any]] = []
        self.rebalance_number = 0
        self.judged_values: dict[WindowName, MetricValue] = {}
        #: (log, first offset, offsets) that the product said were deleted before it came.
        self.lost: list[tuple[Log, int, int]] = []
        #: What meta.lost_offsets holds.
        self.lost_rows: set[Any] = set()
        self.backup: ClickHouse | None = None
        #: What Faust would have committed: it can pass batches in flight. The product must not trust it.
        self.committed: dict[tuple[str, int], int] = {}
        self.slow_reads = rng.random() * 0.4
        self.error_rate = rng.choice((0.0, 0.03, 0.15, 0.4))
        self.resets_out_of_range = rng.random() < 0.5
        self.log_append_time = rng.random() < 0.6
        self.holes = rng.random() < 0.2
        self.settings = _settings(rng.choice((1, 2, 3)), rng.choice((1, 3, 10, 60)))
        self._names = 0
        virtual.clock.begin(_START_MS + int(rng.random() * 2_400_000))
        self.sources = rng.sample(_SHARES, 2 if rng.random() < 0.2 else 1, counts=(9, 7, 4))
        self.sources = list(dict.fromkeys(self.sources))
        #: Which measures are computed, by name; None for all.
        self.measures: frozenset[str] | None = None
        #: What workers fetch, one batch a topic.
        self.fetched = (*self.sources, topics.WINDOW_PARTIALS)
        for topic in self.sources:
            for partition in range(rng.choice((1, 1, 2))):
                self.broker.create(topic, partition)
        for topic in _INTERNAL:
            for partition in range(self.settings.partitions):
                self.broker.create(topic, partition)

    # What happens, as the checks and the reader of a trace want it.

    def fault(self, kind: str) -> None:
        """A fault was injected."""
        self.faults[kind] += 1
        if self.say is not None:
            self.say(f"  FAULT {kind}")

    def problem(self, text: str) -> None:
        """Something that must not be."""
        self.problems.append(text)
        if self.say is not None:
            self.say(f"  PROBLEM {text}")

    def report(self, wrong: list[str]) -> None:
        """Things that must not be, the first dozen of them."""
        for text in sorted(wrong)[:_SHOWN]:
            self.problem(text)
        if len(wrong) > _SHOWN:
            self.problem(f"... and {len(wrong) - _SHOWN} more")

    def judged(self, name: WindowName, value: MetricValue) -> None:
        """Rules would have judged this value."""
        known = self.judged_values.get(name)
        if known is None or value.version >= known.version:
            self.judged_values[name] = value

    def ended(self, process: Process, reason: str) -> None:
        """A process ended itself: right after a graceful stop, and where a batch of a lost log does not fit the new one
        (the next process starts from what is there); a finding otherwise."""
        if "came where" in reason and any(log.lost_ms >= 0 for log in self.broker.history):
            self.fault("a process ended itself")
        elif reason:
            self.problem(f"{process.name} ended itself: {reason}")

    def error_logged(self, process: Process, text: str, fields: dict[str, Any]) -> None:
        """The product logged an error: some belong to faults, others must not be."""
        if text == "records were deleted before they were read":
            log = self.broker.logs[fields["topic"], fields["partition"]]
            self.lost.append((log, fields["first"], fields["lost_offsets"]))
        elif not text.startswith("sink does not take writes"):
            self.problem(f"{process.name} logged: {text} {fields}")

    # Processes and the consumer group.

    def start_process(self) -> Process:
        """Start a worker; it gets partitions at the next rebalance."""
        self._names += 1
        skew = self.rng.choice((0, 0, 0, 0, -2000, 3000, 90_000))
        process = Process(self, f"w{self._names}", self.settings, skew)
        process.loop.run_ready(200)
        if self.rng.random() < 0.3:
            process.widen(3)
        self.processes.append(process)
        self.rebalance()
        return process

    def bury(self, process: Process) -> None:
        """A process is gone. Some of what it had sent arrives all the same."""
        sent = [request for request in process.requests if not request.is_read]
        if not self.resting:
            self.contents["crashes amid writes"] += bool(sent)
            self.contents["crashes amid a restore"] += process.rejoining
        self.answers = [answer for answer in self.answers if answer[0].future.get_loop() is not process.loop]
        process.vanish()
        for request in sent[: int(self.rng.random() * (len(sent) + 1))]:
            if self.rng.random() < 0.5:
                self.apply(request)
            else:
                self._apply_late(request)
        self.processes.remove(process)
        self.rebalance()

    def rebalance(self) -> None:
        """The group gives partitions to members anew; each takes them over when it gets to it."""
        self.rebalance_number += 1
        rng = self.rng
        members = [p for p in self.processes if not p.stopping and not p.paused]
        targets: dict[Process, set[tuple[str, int]]] = {process: set() for process in self.processes}
        if members:
            for topic, partition in self.broker.logs:
                if topic in topics.SOURCES or topic == topics.WINDOW_PARTIALS:
                    targets[members[int(rng.random() * len(members))]].add((topic, partition))
        for process, target in targets.items():
            process.target, process.target_number = frozenset(target), self.rebalance_number

    def is_owned(self) -> bool:
        """Whether every partition is fetched by somebody who goes on."""
        active = [p for p in self.processes if not (p.stopping or p.paused) and p.taken_number == p.target_number]
        owned = {tp for process in active for tp in process.positions}
        return all(tp in owned for tp in self.broker.logs if tp[0] in self.fetched)

    # The network.

    def is_read_slow(self) -> bool:
        """Whether a read of a log lets others go first."""
        return self.rng.random() < self.slow_reads or "broker" in self.away

    def apply(self, request: Request) -> Any:
        """A server takes a request."""
        if not (request.is_read or self.resting):
            self.contents[f"writes to {request.target}"] += 1
        return request.apply()

    def answer(self, request: Request) -> str:
        """Decide the fate of one request that is on its way; returns what it was."""
        rng = self.rng
        target = "broker" if request.target == "reader" else request.target
        if target in self.away:
            self.fail(request)
            return "refused"
        if rng.random() >= self.error_rate:
            if rng.random() < 0.06:
                self.answers.append((request, self.apply(request)))
                return "answered slowly"
            self.resolve(request, self.apply(request))
            return "ok"
        draw = rng.random()
        self.fault(f"{request.target}: " + ("read failed" if request.is_read else _FATES[int(draw * 3)]))
        if not request.is_read:
            if draw >= 2 / 3:
                self._apply_late(request)
            elif draw >= 1 / 3:
                self.apply(request)
        self.fail(request)
        return "failed"

    def _apply_late(self, request: Request) -> None:
        """A write of which its client will hear nothing more. Cells that ClickHouse takes after their worker is gone, and
        their log too, have no value until the next cell of their window: that far no fault goes here."""
        if request.target == "clickhouse" and "broker lost its logs" in self.faults:
            self.apply(request)
        else:
            self.late.append(request)

    @staticmethod
    def resolve(request: Request, result: Any) -> None:
        """The answer reaches its client."""
        if not request.future.done():
            request.future.set_result(result)

    @staticmethod
    def fail(request: Request) -> None:
        """The client gets an error, or gives up waiting."""
        if request.future.done():
            return
        if request.target == "broker":
            request.future.set_exception(KafkaTimeoutError())
        else:
            request.future.set_exception(RetryableError("timeout", "no answer in the simulation"))

    def deliver_answer(self) -> None:
        """A slow answer arrives."""
        self.contents["answers that came slowly"] += 1
        request, result = self.answers.pop(int(self.rng.random() * len(self.answers)))
        self.resolve(request, result)

    def deliver_late(self) -> None:
        """A server applies a write that its client has given up."""
        self.contents["writes applied late"] += 1
        self.apply(self.late.pop(int(self.rng.random() * len(self.late))))

    def source_logs(self) -> list[Log]:
        """The logs of event topics that are served."""
        return [log for (topic, _), log in self.broker.logs.items() if topic in topics.SOURCES]


_FATES: Final = ("lost", "answer lost", "applied after the client gave up")
