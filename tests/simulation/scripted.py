"""Histories written by hand, for what the simulator has found: no faults but those that the test injects."""

from __future__ import annotations

from schemas.results import MetricValue
from tests.simulation import checks, rest, virtual
from tests.simulation.events import rfc3339
from tests.simulation.worker import Process
from tests.simulation.world import World

TOPIC = "user-events"


class Script:
    """A world with one partition of an event topic, of user events mostly (enter `simulated()` first)."""

    def __init__(self, topic: str = TOPIC) -> None:
        self.world = world = World(seed=0)
        world.error_rate = world.slow_reads = 0.0
        world.log_append_time, world.holes = True, False
        world.sources, world.fetched = [topic], (topic, "window-partials")
        for name in [name for name in world.broker.logs if not name[0].startswith(("window-", "dead-"))]:
            world.broker.history.remove(world.broker.logs.pop(name))
        world.broker.create(topic, 0)
        self._topic = topic
        self._events = 0

    def append(self, count: int) -> None:
        """Events of now, each of another user, or a cent for a video; one by one, a second apart."""
        log = self.world.broker.logs[self._topic, 0]
        for _ in range(count):
            self._events += 1
            virtual.clock.ms += 1000
            event_id = f"{self._events:08x}-0000-4000-8000-000000000000"
            value = (
                f'{{"event_id":"{event_id}","schema_version":"1.0.0","occurred_at":"{rfc3339(virtual.clock.ms)}",'
                f'"user_id":{self._events},"activity_type":"a","video_id":1,"component":"voice","amount_usd":"0.01"}}'
            )
            log.append(virtual.clock.ms, b"k", value.encode())

    def start(self) -> Process:
        """A worker that has taken over all partitions, and done nothing with them yet."""
        process = self.world.start_process()
        process.widen()
        process.rejoin()
        rest.drain(self.world, process)
        assert process.taken_number == process.target_number
        return process

    def fetch(self, process: Process) -> None:
        """It fetches and folds what is new."""
        process.fetch(self._topic, 1000)
        rest.drain(self.world, process)

    def fire(self, process: Process, owner: str) -> None:
        """Timers of one task fire; its requests stay unanswered."""
        for timer in list(process.loop.timers):
            if timer.owner == owner:
                timer.fire()
        process.loop.run_ready(1000)

    def fail_requests(self, process: Process) -> int:
        """Everything that it has asked for is lost; returns how much that was."""
        requests, process.requests = process.requests, []
        for request in requests:
            self.world.fail(request)
        process.loop.run_ready(1000)
        return len(requests)

    def answer(self, process: Process) -> bool:
        """The oldest of its requests is answered, and it goes on; False if it has none."""
        if not process.requests:
            return False
        request = process.requests.pop(0)
        self.world.resolve(request, self.world.apply(request))
        process.loop.run_ready(1000)
        return True

    def settle(self) -> None:
        """All is read, flushed, merged and written."""
        assert rest.settle(self.world) == []

    def counted(self) -> int:
        """Events of the day, as ClickHouse has it."""
        found = self.world.clickhouse.values.values()
        return sum(v.count for v in found if _is_day_total(v))

    def sources(self) -> set[str]:
        """The sources of all cells that ClickHouse has."""
        return {source for parts in self.world.clickhouse.cells.values() for _, source in parts}

    def totals(self) -> dict[str, float | None]:
        """The cost of each video (by id), as ClickHouse has it."""
        found = self.world.clickhouse.values.values()
        return {v.dimension_value: v.value for v in found if v.metric == "cost_per_video_usd"}

    def check(self) -> list[str]:
        """What the simulator's own checks have to say."""
        checks.check(self.world)
        return self.world.problems


def _is_day_total(value: MetricValue) -> bool:
    return (value.metric, value.size, value.dimension) == ("user_events", "1d", "")
