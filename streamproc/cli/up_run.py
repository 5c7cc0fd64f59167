"""One run of `streamproc up`: lock, ports, start, view, wait, drain, summary, stop."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from streamproc.clock import now_ms
from streamproc.embedded.datadir import locked_data_dir
from streamproc.embedded.journal import Journal
from streamproc.embedded.recycling import watch_broker_memory
from streamproc.embedded.stack import StackOptions, check_ports, lag_series, stack_parts, stack_settings
from streamproc.embedded.supervisor import Supervisor
from streamproc.errors import StreamprocError
from streamproc.view.collector import Collector
from streamproc.view.show import print_hints, show_lines, show_live
from streamproc.view.summary import summary


class Stop:
    """What the person wants: `asked` after the first Ctrl-C or SIGTERM, `hurry` after the second."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def signalled(self) -> None:
        """Note one more signal."""
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take Ctrl-C, SIGTERM and a closed terminal for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        signals = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            # Under nohup a closed terminal is to change nothing.
            signals.append(signal.SIGHUP)
        for number in signals:
            loop.add_signal_handler(number, self.signalled)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)


async def run_up(options: StackOptions, for_s: float | None, view: bool) -> int:
    """Run the stack until it is told to stop, or for `for_s` seconds from when all is ready.

    Returns the exit code: 0 stopped as asked, 1 a part could not be started.

    Raises:
        ConfigError: a port is taken, the data directory is in use, or a wheel is missing.
    """
    with locked_data_dir(options.data_dir):
        settings = stack_settings(options)
        options = replace(options, intake=bool(settings.intake_streams))
        check_ports(options)
        journal = Journal(options.data_dir / "logs")
        supervisor = Supervisor(stack_parts(options, settings, journal), journal, lag_series=lag_series(settings))
        collector = Collector(settings, supervisor, journal, for_s)
        stop = Stop()
        try:
            with stop.listening():
                return await _Run(options, journal, supervisor, collector, stop, for_s, view).run()
        finally:
            await supervisor.kill()
            await collector.close()
            journal.close()


class _Run:
    def __init__(
        self,
        options: StackOptions,
        journal: Journal,
        supervisor: Supervisor,
        collector: Collector,
        stop: Stop,
        for_s: float | None,
        view: bool,
    ) -> None:
        self._options = options
        self._journal = journal
        self._supervisor = supervisor
        self._collector = collector
        self._stop = stop
        self._for_s = for_s
        self._view = view
        self._begun_ms = now_ms()

    async def run(self) -> int:
        """Start, show, wait, end; the exit code."""
        self._journal.say(f"starting in {self._options.data_dir}; Ctrl-C stops everything")
        try:
            if not await self._unless_stopped(self._supervisor.start()):
                await self._end()
                return 0
            print_hints(self._options)
            self._collector.begin()
            await self._watch()
        except StreamprocError as error:
            self._journal.echo = True
            print(f"streamproc: {error}", file=sys.stderr, flush=True)
            await self._end()
            return 1
        self._journal.echo = True
        await self._finish()
        return 0

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Run `work` unless a stop is asked for first. False: it was, and `work` is cancelled."""
        task = asyncio.create_task(work)
        waiter = asyncio.create_task(self._stop.asked.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False

    async def _watch(self) -> None:
        """Show the stack until it is to stop. Errors of the broker's renewal end the run."""
        tasks = {
            asyncio.create_task(watch_broker_memory(self._supervisor, self._options.broker_memory_mb), name="memory"),
            asyncio.create_task(self._stop.asked.wait(), name="stop"),
        }
        shower = asyncio.create_task(self._show(), name="view")
        try:
            done, _ = await asyncio.wait(tasks, timeout=self._for_s, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (*tasks, shower):
                task.cancel()
            await asyncio.gather(*tasks, shower, return_exceptions=True)

    async def _show(self) -> None:
        """Show until cancelled; a defect of the view must never stop what it shows."""
        self._journal.echo = not self._view
        try:
            if self._view:
                await show_live(self._collector, self._options)
            else:
                await show_lines(self._collector, self._journal)
        except Exception as error:
            self._journal.echo = True
            self._journal.say(f"the view cannot go on ({type(error).__name__}: {error}); the stack does")

    async def _finish(self) -> None:
        """Let the workers catch up, say what was done, and stop; a second Ctrl-C cuts it short."""

        async def orderly() -> None:
            self._journal.say("stopping: waiting until all events are counted (Ctrl-C again stops at once)")
            if not await self._supervisor.drain():
                self._journal.say("the workers have not caught up in time; what they had not read ends with the broker")
            lines = await summary(self._collector, self._begun_ms)
            await self._supervisor.stop()
            print("\n".join(lines), flush=True)

        await self._or_hurry(orderly())

    async def _end(self) -> None:
        await self._or_hurry(self._supervisor.stop())

    async def _or_hurry(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        waiter = asyncio.create_task(self._stop.hurry.wait())
        await asyncio.wait({task, waiter}, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()
        if task.done():
            task.result()
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        self._journal.say("killing everything at once")
        await self._supervisor.kill()
