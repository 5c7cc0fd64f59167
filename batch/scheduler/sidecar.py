"""The scheduler's loop: looks into the books, starts what is due, says what is late. Any number may run side by side.

APScheduler gives the due times (its triggers), and not its scheduler: that one sleeps by the wall clock, so that a clock set back stops it;
its job stores must not be shared by two; and a test cannot give it the time. What survives a restart is the books: what is
due follows from the last run in them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from batch.scheduler.announcer import Announcer
from batch.scheduler.due import Attempt, Plan, next_fire, plan, waits_for
from batch.scheduler.notices import overdue_ms, transitions
from batch.scheduler.runner import Desk, Runner
from batch.scheduler.table import Job
from streamproc.clock import monotonic
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.telemetry import JOB_OVERDUE

log = get_logger("scheduler")

TICK_S: Final = 0.2


class Sidecar:
    """One scheduler. `tick` is all it does; `problem` says what keeps it from it ('' if nothing).

    The books are looked into at every due time, when a run ends, and every `look_s` for what others do.
    """

    def __init__(self, desk: Desk, jobs: Sequence[Job], announcer: Announcer, look_s: float = 5.0) -> None:
        self.jobs = [job for job in jobs if job.is_available]
        self.problem = ""
        self.ticked_s = monotonic()
        self._desk = desk
        self._runner = Runner(desk)
        self._announcer = announcer
        self._running: dict[str, asyncio.Task[None]] = {}
        self._look_at_ms = 0
        self._look_s = look_s
        self._looked_s = -look_s

    @property
    def at_work(self) -> list[str]:
        """Jobs that this scheduler runs, or tries to."""
        return sorted(self._running)

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self.tick()
            await asyncio.sleep(TICK_S)

    async def tick(self) -> None:
        """Look if there may be something to do; what servers say against it is `problem`, and looked at again."""
        self.ticked_s = monotonic()
        now = self._desk.now_ms()
        if now < self._look_at_ms and monotonic() < self._looked_s + self._look_s:
            return
        try:
            await self._look(now)
            self.problem = ""
        except (RetryableError, PermanentError) as error:
            self._complain(str(error))
            self._looked_s, self._look_at_ms = monotonic(), now + int(self._look_s * 1000)
            return
        self._looked_s = monotonic()
        self._look_at_ms = min((next_fire(job, now) for job in self.jobs), default=now + 60_000)

    async def stop(self) -> None:
        """End what is at work, give its leases back, and note it as lost, so that another takes over at once."""
        self._runner.stopping.set()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def quiet(self) -> None:
        """Wait until nothing is at work (for tests and for a look at one point in time)."""
        while self._running:
            await asyncio.gather(*self._running.values(), return_exceptions=True)

    async def _look(self, now: int) -> None:
        books = await self._desk.books.recent([job.id for job in self.jobs])
        paused = await self._desk.books.paused()
        for job in self.jobs:
            if job.id in paused:
                JOB_OVERDUE.labels(job.id).set(0)
                continue
            due = plan(job, books[job.id], now)
            if due is not None and job.id not in self._running and self._may_begin(job, due, books, paused, now):
                self._running[job.id] = asyncio.create_task(self._run(job), name=f"job {job.id}")
            self._announcer.offer(transitions(job, books[job.id], now), now)
            JOB_OVERDUE.labels(job.id).set(overdue_ms(job, books[job.id], now)[1] / 1000)

    def _may_begin(
        self, job: Job, due: Plan, books: Mapping[str, Sequence[Attempt]], paused: Mapping[str, object], now: int
    ) -> bool:
        if due.not_before_ms > now or self._runner.stopping.is_set():
            return False
        others = [(other, books[other.id]) for other in self.jobs if other.id not in paused]
        return not due.scheduled_ms or not waits_for(job, due, others, now)

    async def _run(self, job: Job) -> None:
        try:
            if await self._runner.run_due(job) is not None:
                self._looked_s = -self._look_s
        except (RetryableError, PermanentError) as error:
            self._complain(f"{job.id}: {error}")
        except Exception:
            # Its row stays "running" and is found lost: what matters is that somebody sees why.
            log.exception("a run ended unexpectedly", job=job.id)
        finally:
            del self._running[job.id]

    def _complain(self, problem: str) -> None:
        if problem != self.problem:
            log.warning("cannot look or run now; tried again", error=problem)
        self.problem = problem
