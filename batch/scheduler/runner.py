"""One run from its lease to its record: what two schedulers, a crash or a pause at any point leave is put right by the next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

from batch.scheduler.books import Books
from batch.scheduler.due import BY_HAND, DONE, FAILED, LOST, MAX_LOST, RUNNING, SCHEDULE, SKIPPED, Attempt, Plan, plan
from batch.scheduler.launch import Child, Launcher, OnStep
from batch.scheduler.lease import Held, Keeper, LeaseLostError, Leases
from batch.scheduler.orders import Order, Said
from batch.scheduler.table import Job
from streamproc.clock import monotonic
from streamproc.errors import RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.telemetry import JOB_LAST_DONE, JOB_RUNNING, JOB_RUNS, JOB_SECONDS

log = get_logger("jobs")

#: Versions of rows: the fence of the lease, and what is said under it in order.
_SAID_FIRST: Final = 1
_SAID_LAST: Final = 2
_SAYINGS: Final = 4
_RETRY_S: Final = 0.5


def version_of(fence: int, saying: int) -> int:
    """A later lease beats an earlier one, the end of an attempt its beginning."""
    return fence * _SAYINGS + saying


@dataclass(frozen=True, slots=True)
class Desk:
    """What a runner works with: `now_ms` is the clock that decides what is due, `who` this process in the books."""

    books: Books
    leases: Leases
    launcher: Launcher
    who: str
    now_ms: Callable[[], int]


class Runner:
    """Runs what is due of a job, or a run by hand. `stopping` ends what is at work, for another to take over."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.stopping = asyncio.Event()

    async def run_due(self, job: Job) -> Attempt | None:
        """Run what the books say is due, once; None if another holds the lease, or nothing is due any more.

        Raises:
            RetryableError, PermanentError: Redis or ClickHouse; nothing was run, or the next look finds what was left.
        """
        held = await self._desk.leases.acquire(job.id)
        if held is None:
            return None
        try:
            async with Keeper(self._desk.leases, held) as keeper:
                return await self._run_due(job, keeper)
        except LeaseLostError:
            log.error("a run was left to another: its lease was lost", job=job.id)
            return None
        finally:
            JOB_RUNNING.labels(job.id).set(0)

    async def run_by_hand(self, job: Job, day: date | None, on_step: OnStep) -> Attempt:
        """Run a job now, for `day` or the one that a run of now would be for.

        Raises:
            RetryableError: 'busy': it runs elsewhere; 'lease_lost': it was ended; Redis' or ClickHouse's reason.
            PermanentError: Redis' or ClickHouse's reason.
        """
        held = await self._desk.leases.acquire(job.id)
        if held is None:
            raise RetryableError("busy", f"{job.id} runs already ({await self._desk.leases.holder(job.id)})")
        try:
            async with Keeper(self._desk.leases, held) as keeper:
                begun = self._begun(job, held, self._desk.now_ms(), 1, BY_HAND, {})
                return await self._attempt(job, replace(begun, day=day or begun.day), keeper, on_step)
        except LeaseLostError:
            raise RetryableError("lease_lost", f"the run of {job.id} was ended: Redis lost its lease") from None

    async def _run_due(self, job: Job, keeper: Keeper) -> Attempt | None:
        if keeper.held.is_first:
            await self._let_others_end(job)
        # Only now: what the last holder wrote is there, and nobody else writes.
        attempts = (await self._desk.books.recent([job.id]))[job.id]
        due = plan(job, attempts, self._desk.now_ms())
        if due is None:
            return None
        await self._note_others(job, due, keeper)
        if not due.scheduled_ms or due.not_before_ms > self._desk.now_ms():
            return None
        details: dict[str, Any] = {"first_due_ms": due.first_due_ms, "coalesced": due.coalesced}
        begun = self._begun(job, keeper.held, due.scheduled_ms, due.attempt, SCHEDULE, details)
        died = sum(
            each.scheduled_ms == due.scheduled_ms and each.status in (LOST, RUNNING) and not each.details.get("stopped")
            for each in attempts
            if each.origin == SCHEDULE
        )
        if died >= MAX_LOST:
            said = Said(ended=True, error=f"given up: its process died {died} times", is_final=True)
            return await self._record(begun, said, keeper)
        return await self._attempt(job, begun, keeper, lambda _said: None)

    async def _let_others_end(self, job: Job) -> None:
        """An emptied Redis forgot who holds what: a holder notices within its lease, and nothing begins before that."""
        attempts = (await self._desk.books.recent([job.id]))[job.id]
        if any(each.status == RUNNING for each in attempts):
            await asyncio.sleep(self._desk.leases.ttl_s)

    async def _note_others(self, job: Job, due: Plan, keeper: Keeper) -> None:
        """What was left running is lost, what is too old is skipped."""
        now, fence = self._desk.now_ms(), keeper.held.fence
        if due.left_running is not None:
            await keeper.confirm()
            error = f"its process ended without a word; noticed by {self._desk.who}"
            version = version_of(fence, _SAID_LAST)
            await self._desk.books.write(
                replace(due.left_running, status=LOST, ended_ms=now, error=error, version=version)
            )
            JOB_RUNS.labels(job.id, LOST).inc()
        if due.skipped is not None:
            newest_ms, count = due.skipped
            await keeper.confirm()
            row = self._begun(job, keeper.held, newest_ms, 1, SCHEDULE, {"missed": count})
            error = f"{count} due runs were missed and are older than {job.grace_s / 3600:g} h"
            await self._desk.books.write(replace(row, status=SKIPPED, ended_ms=now, error=error))
            JOB_RUNS.labels(job.id, SKIPPED).inc(count)
            log.warning("runs were missed", job=job.id, runs=count)

    def _begun(
        self, job: Job, held: Held, scheduled_ms: int, attempt: int, origin: str, details: Mapping[str, Any]
    ) -> Attempt:
        return Attempt(
            job.id, scheduled_ms, job.day_of(scheduled_ms), attempt, RUNNING, origin, self._desk.now_ms(), None,
            self._desk.who, version_of(held.fence, _SAID_FIRST), details=details,
        )  # fmt: skip

    async def _attempt(self, job: Job, begun: Attempt, keeper: Keeper, on_step: OnStep) -> Attempt:
        await keeper.confirm()
        await self._desk.books.write(begun)
        passing("before_job")
        JOB_RUNNING.labels(job.id).set(1)
        log.info("a job begins", job=job.id, day=str(begun.day), attempt=begun.attempt)
        from_s = monotonic()
        said = await self._supervise(job, begun, keeper, on_step)
        JOB_SECONDS.labels(job.id).set(monotonic() - from_s)
        passing("after_job")
        ended = await self._record(begun, said, keeper)
        passing("after_job_record")
        return ended

    async def _supervise(self, job: Job, begun: Attempt, keeper: Keeper, on_step: OnStep) -> Said | None:
        """The body's result, None if it was ended because this scheduler stops.

        Raises:
            LeaseLostError: it was ended because the lease is lost.
        """
        held = keeper.held
        valid_ms = max(1, int((held.valid_until - monotonic()) * 1000))
        order = Order(job.id, job.body, begun.day.isoformat(), begun.scheduled_ms, held.key, held.value, valid_ms)
        child = await self._desk.launcher.start(order, on_step)
        ending = asyncio.create_task(child.ended())
        signs = [asyncio.create_task(keeper.lost.wait()), asyncio.create_task(self.stopping.wait())]
        try:
            await asyncio.wait((ending, *signs), timeout=job.timeout_s, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                return ending.result()
            await child.kill()
            if keeper.lost.is_set():
                raise LeaseLostError(job.id)
            if self.stopping.is_set():
                return None
            return Said(ended=True, error=f"timeout: ended after {job.timeout_s:g} s")
        finally:
            await _end(child, ending, *signs)

    async def _record(self, begun: Attempt, said: Said | None, keeper: Keeper) -> Attempt:
        """The end of an attempt into the books, as long as it takes, while the lease is ours."""
        version = version_of(keeper.held.fence, _SAID_LAST)
        ended = replace(begun, ended_ms=max(begun.started_ms, self._desk.now_ms()), version=version)
        if said is None:
            details = {**begun.details, "stopped": True}
            ended = replace(ended, status=LOST, error="the scheduler was stopped", details=details)
        elif said.error:
            details = {**begun.details, **said.details, **({"final": True} if said.is_final else {})}
            ended = replace(ended, status=FAILED, error=said.error, quota_units=said.quota_units, details=details)
        else:
            details = {**begun.details, **said.details}
            ended = replace(ended, status=DONE, rows=said.rows, quota_units=said.quota_units, details=details)
        while True:
            await keeper.confirm()
            try:
                await self._desk.books.write(ended)
                break
            except RetryableError as error:
                log.warning("the end of a run is not in the books yet", job=begun.job, error=str(error))
                if self.stopping.is_set():
                    raise
                await asyncio.sleep(_RETRY_S)
        JOB_RUNS.labels(begun.job, ended.status).inc()
        if ended.status == DONE:
            JOB_LAST_DONE.labels(begun.job).set((ended.ended_ms or 0) / 1000)
        log.info("a job ended", job=begun.job, status=ended.status, rows=ended.rows, error=ended.error)
        return ended


async def _end(child: Child, *tasks: asyncio.Task[Any]) -> None:
    """Also when this task is cancelled: no body lives on without somebody who keeps its lease."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await child.kill()
