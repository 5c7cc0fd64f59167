"""Sends the lines of a file to a topic and counts what became of them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Final

from aiokafka.errors import KafkaError

from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from streamproc.produce.connect import Producer, open_producer
from streamproc.produce.lines import Line, check_topic, line_batches, read_line

#: Messages sent and not yet acknowledged: bounds memory.
_IN_FLIGHT: Final = 2_000
#: Event ids are kept for a file of at most so many events.
REMEMBERED_IDS: Final = 5
_SHOWN_PROBLEMS: Final = 20


@dataclass(slots=True)
class Report:
    """What became of a file's lines. `problems` holds the first 20 as (line number, reason)."""

    lines: int = 0
    sent: int = 0
    acknowledged: int = 0
    failed: int = 0
    invalid: int = 0
    skipped: int = 0
    idempotent: bool = True
    problems: list[tuple[int, str]] = field(default_factory=list)
    event_ids: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Every line was valid, sent and acknowledged."""
        return not self.invalid and not self.failed and self.acknowledged == self.lines


@dataclass(frozen=True, slots=True)
class Options:
    """How a file is sent: broken lines too, and each event with a fresh id and time."""

    topic: str
    send_invalid: bool = False
    fresh: bool = False


async def send_file(
    settings: Settings,
    source: IO[bytes],
    options: Options,
    on_progress: Callable[[Report, int], None] = lambda _report, _bytes: None,
) -> Report:
    """Send every line of an NDJSON source in order; `on_progress` gets the report so far and the bytes read.

    Raises:
        ConfigError: the topic is no event stream, or is missing and may not be created.
        RetryableError: no broker answers. PermanentError: a line too long to read.
    """
    check_topic(options.topic)
    report = Report()
    await ensure_topics(settings)
    async with open_producer(settings) as producer:
        report.idempotent = producer.idempotent
        sender = _Sender(settings.topic(options.topic), producer, options, report)
        batches = line_batches(source)
        # Reading a pipe blocks until something comes: never on the event loop.
        while batch := await asyncio.to_thread(next, batches, None):
            for line in batch:
                await sender.take(read_line(options.topic, line, now_ms() if options.fresh else None))
            on_progress(report, batch[-1].end)
        await sender.finish()
    return report


class _Sender:
    """Sends lines in order and counts their acknowledgements."""

    def __init__(self, topic: str, producer: Producer, options: Options, report: Report) -> None:
        self._topic = topic
        self._kafka = producer.kafka
        self._options = options
        self._report = report
        self._waiting: deque[tuple[int, asyncio.Future[object]]] = deque()

    async def take(self, line: Line) -> None:
        """Send a line, or note why it is not sent."""
        report = self._report
        report.lines += 1
        if line.problem:
            report.invalid += 1
            self._note(line.number, line.problem)
            if not self._options.send_invalid:
                report.skipped += 1
                return
        elif len(report.event_ids) <= REMEMBERED_IDS:
            report.event_ids.append(line.event_id)
        if len(self._waiting) >= _IN_FLIGHT:
            await self._settle()
        try:
            future = await self._kafka.send(self._topic, line.value, line.key)
        except KafkaError as error:
            report.failed += 1
            self._note(line.number, f"not sent: {type(error).__name__}")
            return
        report.sent += 1
        self._waiting.append((line.number, future))

    async def finish(self) -> None:
        """Wait for every acknowledgement."""
        while self._waiting:
            await self._settle()

    async def _settle(self) -> None:
        number, future = self._waiting.popleft()
        try:
            await future
        except KafkaError as error:
            self._report.failed += 1
            self._note(number, f"not acknowledged: {type(error).__name__}")
        else:
            self._report.acknowledged += 1

    def _note(self, number: int, reason: str) -> None:
        if len(self._report.problems) < _SHOWN_PROBLEMS:
            self._report.problems.append((number, reason))
