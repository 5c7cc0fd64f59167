"""One history: a seeded scheduler decides, step by step, who runs, what is answered, and what breaks."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from streamproc.agents import progress_log
from tests.simulation import checks, faults, rest, virtual
from tests.simulation.patches import choose_measures, turn_knobs
from tests.simulation.worker import Process
from tests.simulation.world import World

#: An interleaving is a history of at least this many decisions with at least one fault.
LEAST_DECISIONS: Final = 30
_ENOUGH_RECORDS: Final = 100
#: How often the last decision of a history without a fault is drawn, before it is a rebalance.
_TRIES: Final = 20
#: In so many histories the workers have taken over their partitions when it begins.
_BEGUN: Final = 0.85
#: In so many steps a worker goes on, with answers as they come, until only time brings it further (less a fifth).
_THROUGH: Final = 0.55
_STEPS: Final = 12
#: Timers that mostly find something to do when stage 2 has nothing to publish; how often others are passed over.
_BUSY: Final = ("flush", "redis", "clickhouse", "")
_PASSED_OVER: Final = 0.7
#: What closes windows: the progress of all sources is known, they become final, are published, written and let go.
_CLOSING: Final = ("load", "load", "follow progress", "clock", "emit", "redis", "clickhouse", "clock")


class History:
    """Runs one seed. `most` ends it after so many decisions (to find the shortest failing prefix)."""

    def __init__(self, seed: int, say: Callable[[str], None] | None = None, most: int | None = None) -> None:
        random.seed(seed)  # the product's own jitter
        self.seed = seed
        self.world = world = World(seed, say)
        rng = self.rng = world.rng
        turn_knobs(rng)
        world.measures = choose_measures(rng, world.sources)
        self.decisions = rng.randrange(LEAST_DECISIONS, 37)
        self.most = self.decisions if most is None else most
        self.fault_rate = rng.choice((0.03, 0.08, 0.15))
        self.workers = rng.choice((1, 1, 2, 2, 2))
        self._faults = [f for f, weight in faults.USUAL.items() if rng.random() < 0.6 for _ in range(weight)]
        if progress_log._FIRST_STEP < _ENOUGH_RECORDS:
            # Who looks back two records finds a zombie's snapshot, and not the owner's with the higher offset before it:
            # harmless, but where records before the latter were deleted. In production it is 4,000.
            self._faults = [fault for fault in self._faults if fault is not faults.retention]
        if rng.random() < 0.24:
            special = faults.SPECIAL[int(rng.random() * len(faults.SPECIAL))]
            self._faults += [special] * (1 + len(self._faults) // 2)
        self._faults = self._faults or [faults.crash]
        self._steps = [step for step, weight in self._WEIGHTS.items() for _ in range(weight)]

    def run(self) -> list[str]:
        """The whole history, its end and its checks; returns what is wrong."""
        world = self.world
        try:
            for _ in range(self.workers):
                world.start_process()
            if self.rng.random() < _BEGUN:
                for process in world.processes:
                    process.rejoin()
                    rest.drain(world, process)
            while world.decisions < self.most:
                self.decide()
            if self.most == self.decisions:
                for _ in range(_TRIES):
                    if world.faults:
                        break
                    self._fault()
                else:
                    faults.rebalance(world)
            self.come_to_rest()
            if not world.problems:
                checks.check(world)
        finally:
            for process in world.processes:
                process.vanish()
            world.processes.clear()
        return world.problems

    # Decisions.

    def decide(self) -> None:
        """One decision: what is drawn and cannot happen now does not count."""
        world = self.world
        done = self._fault() if self.rng.random() < self.fault_rate else False
        while not done:
            done = self._steps[int(self.rng.random() * len(self._steps))](self)
        world.decisions += 1
        if world.away:
            world.away = {target: left - 1 for target, left in world.away.items() if left > 1}
        if world.slow:
            world.slow = {target: left - 1 for target, left in world.slow.items() if left > 1}
        for process in list(world.processes):
            if process.loop.ended:
                world.bury(process)

    def _fault(self) -> bool:
        return self._faults[int(self.rng.random() * len(self._faults))](self.world)

    def _say(self, text: str, *args: object) -> None:
        """Tell a step (formatting it for nobody would cost as much as some steps)."""
        world = self.world
        if world.say is not None:
            seconds = (virtual.clock.ms - virtual.clock.start_ms) / 1000
            world.say(f"{world.decisions:3d} {seconds:9.3f}s {text.format(*args)}")

    def _some(self) -> Process | None:
        """A worker that runs; now and then a paused one wakes up, or a new one is started."""
        world, rng = self.world, self.rng
        processes = world.processes
        if not processes or (len(processes) < self.workers and rng.random() < 0.15):
            process = world.start_process()
            self._say("start {}", process.name)
            return process
        process = processes[int(rng.random() * len(processes))]
        if process.paused:
            if rng.random() > 0.12:
                return None
            process.paused = False
            if process.taken_number != process.target_number and process.positions:
                world.contents["zombies that wake"] += 1
            self._say("{} wakes up", process.name)
        return process

    def _go(self, process: Process) -> None:
        """Sometimes until it waits for time alone, mostly until it waits for answers; now and then others come before."""
        draw = self.rng.random()
        if draw < 0.2:
            process.loop.run_ready(int(draw * 20))
            return
        process.loop.run_ready(60)
        if draw < _THROUGH:
            for _ in range(_STEPS):
                target = next((r.target for r in process.requests if r.target not in self.world.slow), "")
                if not target or process.loop.ended:
                    return
                self._answer(process, target, 99)
                process.loop.run_ready(60)

    def _append(self) -> bool:
        world, rng = self.world, self.rng
        logs = world.source_logs()
        log = logs[int(rng.random() * len(logs))]
        count = int(rng.random() * 4) + 1
        for _ in range(count):
            if log.everything and rng.random() < 0.03:
                # The same record once more, exactly at the limit within which it is a duplicate, or right behind it.
                old = log.everything[int(rng.random() * len(log.everything))]
                virtual.clock.ms = max(virtual.clock.ms, old.timestamp + 600_000 + int(rng.random() * 2))
                key, value = old.key, old.value
            else:
                key, value = world.events.next(log, virtual.clock.ms)
            stamp = virtual.clock.ms - (0 if world.log_append_time else int(rng.random() * 3000))
            hole = int(rng.random() * 3) if world.holes and rng.random() < 0.3 else 0
            log.append(stamp, key, value, hole=hole)
        world.contents["records"] += count
        self._say("append {} to {}, now {}", count, log.name, log.next_offset)
        return True

    def _fetch(self) -> bool:
        process = self._some()
        if process is None or not process.positions:
            return False
        wanted = self.world.fetched
        topic = wanted[int(self.rng.random() * len(wanted))]
        if not process.fetch(topic, int(self.rng.random() * 6) + 1):
            return False
        self._say("{} fetches {}: {}", process.name, topic, process.positions)
        self._go(process)
        return True

    def _run(self) -> bool:
        process = self._some()
        if process is None or not process.loop.ready:
            return False
        self._say("{} runs", process.name)
        self._go(process)
        return True

    def _timer(self) -> bool:
        process = self._some()
        if process is None or not process.loop.timers:
            return False
        timers = list(process.loop.timers)
        timer = timers[int(self.rng.random() * len(timers))]
        if self.rng.random() < _PASSED_OVER and timer.owner not in (rest.to_publish(process) or _BUSY):
            return False
        virtual.clock.ms += int(self.rng.random() * 400)
        self._say("{} timer of {}", process.name, timer.owner)
        timer.fire()
        self._go(process)
        return True

    def _flush(self) -> bool:
        process = self._some()
        timer = process.loop.timer_of("flush") if process is not None else None
        if process is None or timer is None or rest.to_flush(process) is None:
            return False
        virtual.clock.ms += 200
        self._say("{} flushes", process.name)
        timer.fire()
        self._go(process)
        return True

    def _close(self) -> bool:
        """Minutes pass, and one worker gets to closing windows, writing them and letting them go."""
        process = self._some()
        if process is None or not process.positions:
            return False
        virtual.clock.ms += int(self.rng.random() * 900_000)
        self._say("{} closes windows", process.name)
        for owner in _CLOSING:
            timer = process.loop.timer_of(owner)
            if timer is not None:
                timer.fire()
                self._go(process)
        return True

    def _deliver(self) -> bool:
        world, rng = self.world, self.rng
        if world.answers and rng.random() < 0.3:
            world.deliver_answer()
            self._say("a slow answer arrives")
            return True
        if world.late and rng.random() < 0.2:
            world.deliver_late()
            self._say("a write is applied late")
            return True
        waiting = [process for process in world.processes if process.requests]
        if not waiting:
            return False
        process = waiting[int(rng.random() * len(waiting))]
        first = process.requests[int(rng.random() * len(process.requests))].target
        if first in world.slow:
            return False
        number = 99 if rng.random() < 0.6 else int(rng.random() * 3) + 1
        self._answer(process, first, number)
        if not process.paused:
            self._go(process)
        return True

    def _answer(self, process: Process, target: str, number: int) -> None:
        """Answer the oldest requests of one worker to one server, in order."""
        world = self.world
        answered = [request for request in process.requests if request.target == target][:number]
        gone = set(map(id, answered))
        process.requests = [request for request in process.requests if id(request) not in gone]
        for request in answered:
            fate = world.answer(request)
            self._say("{} to {}: {}", process.name, target, fate)

    def _rejoin(self) -> bool:
        process = self._some()
        if process is None or process.rejoining or process.taken_number == process.target_number:
            return False
        self._say("{} takes over {}", process.name, process.target)
        process.rejoin()
        self._go(process)
        return True

    def _wait(self) -> bool:
        draw = self.rng.random()
        for share, longest in ((0.5, 2_000), (0.8, 30_000), (0.92, 120_000), (0.98, 900_000), (1.0, 7_200_000)):
            if draw < share:
                virtual.clock.ms += int(self.rng.random() * longest)
                break
        self._say("time passes")
        return True

    _WEIGHTS: Final[dict[Callable[[History], bool], int]] = {
        _append: 7,
        _fetch: 40,
        _run: 8,
        _timer: 18,
        _flush: 14,
        _deliver: 40,
        _rejoin: 20,
        _wait: 4,
        _close: 3,
    }

    # The end.

    def come_to_rest(self) -> None:
        """No more faults: all is read, flushed, merged and written, whoever is left to do it; and then, what comes too
        late comes all the same: zombies wake up with what they knew, and servers apply what was given up."""
        world, rng = self.world, self.rng
        world.error_rate, world.slow_reads, world.away, world.slow = 0.0, 0.0, {}, {}
        world.resting = True
        self._say("-- no more faults")
        share = 0.15
        if (world.late or any(process.paused for process in world.processes)) and rng.random() < 0.5:
            self._settle()
            self._come_late()
            share = 0.5
        for process in world.processes:
            process.paused = False
        if rng.random() < share:
            self._say("-- all are restarted")
            for process in list(world.processes):
                world.bury(process)
            if faults.retention in self._faults:
                faults.retention(world)
        self._settle()

    def _settle(self) -> None:
        world = self.world
        for process in world.processes:
            process.widen()
        if not any(not process.stopping and not process.paused for process in world.processes):
            world.start_process()
        if not world.is_owned() or self.rng.random() < 0.4:
            world.rebalance()
        left = rest.settle(world)
        if left:
            world.problem(f"does not come to rest: {left}")

    def _come_late(self) -> None:
        """Zombies go on as if nothing had happened, as far as they can; late writes arrive."""
        world = self.world
        for process in [process for process in world.processes if process.paused]:
            self._say("-- {} wakes up", process.name)
            process.paused = False
            rest.drain(world, process)
            for topic in world.fetched:
                process.fetch(topic, int(self.rng.random() * 4))
            for _ in range(3):
                rest.fire(world, process, lambda _: True)
        while world.late:
            world.deliver_late()
