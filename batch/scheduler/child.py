"""The process of one attempt: `python -m batch.scheduler.child ORDER`. It runs the body, and ends when its lease does.

A process of its own, because dbt needs the interpreter for minutes, and because only a process can be ended from outside. Its
first standard output is for `Said` lines alone; what bodies print goes to standard error.
"""

from __future__ import annotations

import asyncio
import importlib
import os
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import date
from typing import BinaryIO, Final

import msgspec
import redis

from batch.scheduler.orders import Order, Outcome, Said
from streamproc.clock import monotonic
from streamproc.config import Settings, load_settings
from streamproc.errors import ConfigError, StreamprocError
from streamproc.logs import get_logger, redact, setup_logs

log = get_logger("job")

#: The process ended because its lease did: nothing was reported, another does the run.
EXIT_FENCED: Final = 75
_LONGEST_ERROR: Final = 2000


class Fence:
    """Looks whether the lease is still that of the order; ends the process if it is not, or if nobody says for too long."""

    def __init__(self, settings: Settings, order: Order, born: float) -> None:
        self._redis = redis.Redis.from_url(
            settings.redis_url.get_secret_value(), socket_timeout=2.0, socket_connect_timeout=2.0
        )
        self._order = order
        self._valid_until = born + order.valid_ms / 1000
        self._pause_s = max(0.05, order.valid_ms / 8000)
        self._lock = threading.Lock()

    def check(self) -> None:
        """Return only while the lease is held."""
        while True:
            before = monotonic()
            try:
                with self._lock:
                    pipe = self._redis.pipeline(transaction=True)
                    pipe.get(self._order.lease_key)
                    pipe.pttl(self._order.lease_key)
                    value, left_ms = pipe.execute()
            except redis.RedisError as error:
                if before > self._valid_until:
                    self._end(f"Redis did not answer for as long as the lease lasts ({type(error).__name__})")
                time.sleep(self._pause_s / 4)
                continue
            if value is None or value.decode() != self._order.lease_value:
                self._end("the lease went to somebody else")
            self._valid_until = before + left_ms / 1000
            return

    def watch(self) -> None:
        """Check for as long as the process lives; beside the body, in a thread."""
        while True:
            # At the lease's end at the latest: from then on somebody else may be at work.
            time.sleep(max(0.05, min(self._pause_s, self._valid_until - monotonic())))
            self.check()

    def _end(self, why: str) -> None:
        log.error("ending a job: nothing may be written after this", job=self._order.job, reason=why)
        sys.stderr.flush()
        os._exit(EXIT_FENCED)


class Run:
    """What a body is given. Call `step` before every unit of work: it says how far the job is, and ends it if the lease is lost."""

    def __init__(self, settings: Settings, order: Order, fence: Fence, out: BinaryIO) -> None:
        self.settings = settings
        self.job = order.job
        self.day = date.fromisoformat(order.day)
        self.scheduled_ms = order.scheduled_ms
        self._fence = fence
        self._out = out

    def step(self, text: str, done: int | None = None, total: int | None = None) -> None:
        """The next unit: `done` of `total`, if it can be counted. Returns only while this process may write."""
        self._fence.check()
        self.say(Said(step=text, done=done, total=total))

    def say(self, line: Said) -> None:
        """One line to whoever started the process."""
        self._out.write(msgspec.json.encode(line) + b"\n")
        self._out.flush()


Body = Callable[[Run], Awaitable[Outcome]]


def find_body(name: str) -> Body:
    """The function that `module:function` names.

    Raises:
        ConfigError: there is none.
    """
    module, _, function = name.partition(":")
    try:
        found: Body = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the body {name} of a job cannot be loaded: {error}") from error
    return found


def main() -> None:
    """Run the order that the first argument holds."""
    born = monotonic()
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    settings = load_settings()
    setup_logs(settings.log_format, settings.log_level)
    order = msgspec.json.decode(sys.argv[1], type=Order)
    fence = Fence(settings, order, born)
    fence.check()
    threading.Thread(target=fence.watch, name="fence", daemon=True).start()
    run = Run(settings, order, fence, out)
    run.say(_ended(run, order.body))
    out.close()
    # Threads of a driver or of dbt must not keep a process that has said its last.
    sys.stderr.flush()
    os._exit(0)


def _ended(run: Run, body: str) -> Said:
    try:
        outcome = asyncio.run(_call(find_body(body), run))
    except ConfigError as error:
        return Said(ended=True, error=redact(str(error))[:_LONGEST_ERROR], is_final=True)
    except StreamprocError as error:
        resume_at_ms = int(getattr(error, "resume_at_ms", 0))
        details = {"resume_at_ms": resume_at_ms} if resume_at_ms else {}
        return Said(ended=True, error=redact(str(error))[:_LONGEST_ERROR], details=details)
    except Exception as error:
        # Whatever a body raises is the failure of its run, in the books and in an alert; the log has where.
        log.exception("a job failed")
        return Said(ended=True, error=redact(f"{type(error).__name__}: {error}")[:_LONGEST_ERROR])
    return Said(
        ended=True, rows=outcome.rows, quota_units=outcome.quota_units, details=dict(outcome.details)
    )  # fmt: skip


async def _call(body: Body, run: Run) -> Outcome:
    outcome = await body(run)
    run.step("done")
    return outcome


if __name__ == "__main__":
    main()
