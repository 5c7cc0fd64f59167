"""The run itself: load, rounds of faults, recoveries, quiet, the oracle's judgement."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import statistics
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from tests.chaos.build import built, heal
from tests.chaos.catalogue import possible_faults
from tests.chaos.fault import Fault, NotInjectedError
from tests.chaos.hail import hail
from tests.chaos.judge import judge, ledgers
from tests.chaos.load import Load, ledger_lines
from tests.chaos.options import Options
from tests.chaos.plan import Round, rounds
from tests.chaos.recovery import NotRecovered, at_rest, recovered
from tests.chaos.result import Result, Struck, check_memory
from tests.chaos.supervise import CAUSED, Sampler, supervise
from tests.chaos.watch import Watch
from tests.chaos.world import World

_ROLES = ("archive", "notify")
_FIRST_READY_S = 180.0
#: A supervisor pauses before it starts a worker again, and what was told as idle must be seen as such.
_STEADY_S = 3.0
#: A round that begins later than this before the end would end long after it.
_ROUND_S = 15.0

Say = Callable[[str], None]


class Run:
    """One fault run; `result` is filled on the way, so that an interrupted run can still be reported."""

    def __init__(self, options: Options, say: Say) -> None:
        self.options = options
        self.say = say
        self.result = Result(
            options.replay, options.seed, options.minutes, _broker(options), options.workers, options.rate
        )
        self._began = time.monotonic()
        #: Faults that did not come to strike: they run beside the next rounds, once more.
        self._again: list[Fault] = []

    async def go(self) -> Result:
        """Run everything; violations are in the result."""
        self.say("starting servers")
        async with built(self.options) as world:
            sampler = Sampler(world, world.directory / "samples.jsonl")
            watch = Watch(world)
            load = Load(world, self.options.rate, self.options.seed)
            world.watch, world.load = watch, load
            try:
                async with _beside(supervise(world), sampler.run()):
                    watch.start()
                    await self._start_workers(world)
                    load.start()
                    await self._faults(world, watch, load)
                    await self._end(world, watch, load)
            except (AssertionError, RuntimeError) as error:
                self.result.violations.append(
                    f"{'I8' if isinstance(error, NotRecovered) else 'the run ended'}: {error}"
                )
            finally:
                load.kill()
                await watch.stop()
                self._collect(world, sampler, watch)
        return self.result

    async def _start_workers(self, world: World) -> None:
        for role in ("windows",) * self.options.workers + _ROLES:
            world.add_worker(role)
        for worker in world.workers:
            await world.until(f"{worker.name} is ready", worker.ready, _FIRST_READY_S)

    async def _faults(self, world: World, watch: Watch, load: Load) -> None:
        faults, self.result.left_out = possible_faults(world, self.options.only)
        self.result.faults = {fault.name: Struck(fault.ids) for fault in faults}
        await recovered(world, watch, self.options.rate)
        until = time.monotonic() + 60 * self.options.minutes
        since_heal: list[str] = []
        for drawn in rounds(faults, self.options.seed):
            each = drawn.with_another(self._again)
            await asyncio.sleep(each.delay_s)
            if time.monotonic() >= until - (_ROUND_S if each.number > 1 else 0.0):
                break
            load.check()
            left = until - time.monotonic()
            self.say(f"{left / 60:4.1f} min left · round {each.number}: {each.name}")
            await self._strike(world, each)
            since_heal += [fault.name for fault, _ in each.strikes]
            if each.overlaps:
                continue
            seconds = await recovered(world, watch, self.options.rate)
            world.log({"event": "recovered", "round": each.number, "seconds": round(seconds, 1)})
            self.result.recovered(since_heal, seconds)
            since_heal.clear()

    async def _strike(self, world: World, each: Round) -> None:
        """All faults of a round, side by side; a broken promise is noted and the run goes on."""
        self.result.combined += len(each.strikes) > 1
        struck = [fault for fault, _ in each.strikes]
        self._again = [fault for fault in self._again if fault not in struck]
        hailing = asyncio.create_task(
            hail(world.seen_by(random.Random(f"{self.options.seed} {each.number}")), struck, each.hail)
        )
        try:
            results = await asyncio.gather(
                *(self._inject(world, fault, seed) for fault, seed in each.strikes), return_exceptions=True
            )
            await hailing
        finally:
            hailing.cancel()
        for (fault, seed), outcome in zip(each.strikes, results, strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                raise outcome
            if isinstance(outcome, NotInjectedError):
                world.log({"event": "not injected", "round": each.number, "fault": fault.name, "why": str(outcome)})
                self.result.faults[fault.name].missed += 1
                self._again.append(fault)
                continue
            self.result.faults[fault.name].injected += 1
            if isinstance(outcome, BaseException):
                world.log({"event": "broken", "round": each.number, "fault": fault.name, "error": repr(outcome)})
                self.result.violations.append(f"{fault.name} (round {each.number}, seed {seed}): {outcome!r}")
                self.say(f"VIOLATION: {fault.name}: {outcome!r}")

    @staticmethod
    async def _inject(world: World, fault: Fault, seed: int) -> None:
        world.log({"event": "inject", "fault": fault.name, "seed": seed})
        async with asyncio.timeout(fault.longest_s + 30):
            await fault.inject(world.seen_by(random.Random(seed)))
        world.log({"event": "injected", "fault": fault.name})

    async def _end(self, world: World, watch: Watch, load: Load) -> None:
        """Everything heals, producers stop, all comes to rest, the oracle judges."""
        self.say("healing, and waiting for rest")
        await heal(world)
        self.result.recovered([], await recovered(world, watch, self.options.rate))
        await asyncio.to_thread(load.stop)
        self.result.produced = sum(ledger_lines(path) for path in ledgers(world))
        idle_s = float(world.env["STREAMPROC_IDLE_TIMEOUT_S"])
        # Windows become final when their sources have been idle, and only then is every value the last one.
        await at_rest(world, watch, idle_s + _STEADY_S)
        self.say(f"the oracle judges {self.result.produced:,} records")
        self.result.oracle, violations = await judge(world)
        self.result.violations += violations

    def _collect(self, world: World, sampler: Sampler, watch: Watch) -> None:
        self.result.kills, self.result.pauses = world.counts["kills"], world.counts["pauses"]
        self.result.memory = dict(sampler.samples)
        check_memory(self.result)
        self.result.alerts = len(watch.alerts)
        if sampler.loads:
            self.result.load = statistics.median(sampler.loads), max(sampler.loads), os.cpu_count() or 1
        self.result.seconds = time.monotonic() - self._began
        for event in world.journal.events:
            if event["event"] == "ended" and event["code"] not in CAUSED:
                self.result.own_ends[f"{event['worker']}, exit {event['code']}: {event.get('said', '')}"] += 1


@contextlib.asynccontextmanager
async def _beside(*works: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Background tasks for as long as the body runs; one that fails ends the body."""
    body = asyncio.current_task()
    failed: list[BaseException] = []

    def done(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and body is not None:
            failed.append(error)
            body.cancel()

    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(done)
    try:
        yield
    except asyncio.CancelledError:
        if failed:
            raise failed[0] from None
        raise
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _broker(options: Options) -> str:
    return f"Apache Kafka ({options.nodes} brokers)" if options.broker == "kafka" else "the embedded broker"
