"""One Redis Stream brought to one topic: own entries first, then those of the dead, then new ones; at least once, each."""

from __future__ import annotations

import asyncio
import random
from typing import Final

from schemas.outcomes import DeadReason
from streamproc.agents.intake_send import IntakeSender, too_large
from streamproc.agents.publisher import Message
from streamproc.agents.redis_streams import FIRST, Entry, NoGroupError, RedisStream
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.decode.entries import read_entry
from streamproc.errors import PermanentError, RetryableError
from streamproc.failpoints import passing
from streamproc.logs import get_logger
from streamproc.telemetry import (
    INTAKE_CLAIMED,
    INTAKE_ENTRIES,
    INTAKE_ERRORS,
    INTAKE_LAG,
    INTAKE_PENDING,
    INTAKE_SENT,
    INTAKE_TRIMMED,
    INVALID,
)

log = get_logger("intake")

#: Entries that one request may bring, and about how many bytes: what a stream holds in memory.
_COUNT: Final = 256
#: Until the size of entries is known.
_FIRST_COUNT: Final = 32
_BYTES: Final = 8 * 1024 * 1024
#: How long Redis may wait for new entries: also how long a stop may take that comes meanwhile.
_BLOCK_MS: Final = 500
#: Why an entry stays where it is: the broker refuses even the dead letter.
_LETTER_REFUSED: Final = "dead_letter_too_large"
_LONGEST_PAUSE_S: Final = 5.0
#: At a stop Redis is told what Kafka has, if it answers by then.
_LAST_WORD_S: Final = 2.0


class StreamIntake:
    """The loop of one stream. `problem` says why nothing is taken, '' if all is well."""

    def __init__(
        self, settings: Settings, stream: RedisStream, topic: str, sender: IntakeSender, stopping: asyncio.Event
    ) -> None:
        self._settings = settings
        self._stream = stream
        self._topic = topic
        self._sender = sender
        self._stopping = stopping
        self.problem = f"Redis Stream {stream.name}: not read yet"
        self.progressed_at_s = monotonic()
        self._count = _FIRST_COUNT
        self._has_group = False
        #: Where to go on with what was handed to us before; None once all of it is acknowledged.
        self._own_after: bytes | None = FIRST
        self._claim_after = FIRST
        self._claim_due_s = 0.0

    async def run(self) -> None:
        """Read, send, acknowledge until the stop; nothing that Redis or Kafka may answer ends it."""
        attempt = 0
        while not self._stopping.is_set():
            try:
                await self._step()
            except NoGroupError:
                log.warning(
                    "the stream's group is gone; made again from the stream's beginning", stream=self._stream.name
                )
                INTAKE_ERRORS.labels(self._stream.name, "no_group").inc()
                self._has_group = False
                attempt += 1
                await self._pause(attempt - 1)
            except (RetryableError, PermanentError) as error:
                attempt += 1
                # What the lost answer may have handed to us is not new any more.
                self._own_after = FIRST
                side = "Kafka" if error.reason == _LETTER_REFUSED else "Redis"
                await self._failed(side, error.reason, str(error), attempt)
            else:
                attempt = 0
                self._progressed()

    async def _step(self) -> None:
        if not self._has_group:
            if await self._stream.create_group():
                log.info("consumer group made", stream=self._stream.name)
            self._has_group, self._own_after, self._claim_after, self._claim_due_s = True, FIRST, FIRST, 0.0
        if self._own_after is not None:
            entries = await self._stream.own(self._own_after, self._count)
            await self._deliver(entries)
            self._own_after = entries[-1].id if entries else None
            return
        if self._claim_after != FIRST or monotonic() >= self._claim_due_s:
            await self._claim()
        await self._deliver(await self._stream.new(self._count, _BLOCK_MS if self._claim_after == FIRST else 0))

    async def _claim(self) -> None:
        """A page of what others hold for too long: they died, or wait for something that does not come."""
        min_idle_ms = int(1000 * self._settings.intake_claim_after_s)
        page = await self._stream.claim(self._claim_after, self._count, min_idle_ms)
        if page.entries:
            INTAKE_CLAIMED.labels(self._stream.name).inc(len(page.entries))
            log.info("entries taken over", stream=self._stream.name, entries=len(page.entries))
        self._count_trimmed(page.gone)
        # An error before they are acknowledged must find this page again among our own.
        self._claim_after = page.following
        if page.unnamed:
            self._own_after = FIRST
        await self._deliver(page.entries)
        if page.following == FIRST:
            self._claim_due_s = monotonic() + self._settings.intake_claim_after_s / 2

    async def _deliver(self, entries: list[Entry]) -> None:
        """Send entries until Kafka has each, or its dead letter; then tell Redis. Cancelled, Redis is told of those."""
        here = [(entry.id, entry.fields) for entry in entries if entry.fields is not None]
        gone = [entry.id for entry in entries if entry.fields is None]
        self._count_trimmed(len(gone))
        if not entries:
            return
        target = self._settings.topic(self._topic)
        read = [read_entry(self._topic, fields) for _, fields in here]
        messages = [Message(target, None, message.key, message.value) for message in read]
        INTAKE_ENTRIES.labels(self._stream.name).inc(len(here))
        sent: set[int] = set()
        lettered: set[int] = set()
        try:
            for i in await self._send(messages, sent):
                letter = too_large(self._settings, self._stream.name, here[i][0], messages[i])
                if await self._send([letter], set()):
                    raise PermanentError(_LETTER_REFUSED, f"entry {here[i][0]!r} of {self._stream.name}")
                lettered.add(i)
                INVALID.labels(self._topic, DeadReason.TOO_LARGE.value).inc()
        finally:
            INTAKE_SENT.labels(self._stream.name, self._topic).inc(len(sent))
            safe = [here[i][0] for i in sorted(sent | lettered)]
            if safe:
                passing("after_intake")
            await self._acknowledge([*gone, *safe])
        size = sum(len(message.value) for message in messages)
        self._count = max(1, min(_COUNT, _BYTES * len(messages) // max(1, size))) if messages else _COUNT

    async def _send(self, messages: list[Message], sent: set[int]) -> list[int]:
        """Try for ever; returns the positions that are too large for the broker. Nothing is read meanwhile."""
        left, refused, attempt = list(range(len(messages))), [], 0
        while left:
            outcome = await self._sender.round(messages, left, sent)
            left = outcome.left
            refused += outcome.refused
            if left:
                attempt += 1
                why = f"{len(left)} messages not acknowledged"
                await self._failed("Kafka", outcome.error, why, attempt)
        self._progressed()
        return refused

    async def _acknowledge(self, ids: list[bytes]) -> None:
        """Tell Redis, until it has heard: an error here would send all of them again."""
        attempt = 0
        while ids:
            try:
                async with asyncio.timeout(_LAST_WORD_S if self._stopping.is_set() else None):
                    await self._stream.acknowledge(ids)
            except (RetryableError, PermanentError, TimeoutError) as error:
                if self._stopping.is_set():
                    log.warning("Redis was not told; what Kafka has is sent again", entries=len(ids), error=str(error))
                    return
                attempt += 1
                await self._failed("Redis", getattr(error, "reason", "timeout"), str(error), attempt)
            else:
                return

    async def watch(self) -> None:
        """Show how much waits in the stream."""
        found = await self._stream.backlog()
        INTAKE_PENDING.labels(self._stream.name).set(found.pending)
        INTAKE_LAG.labels(self._stream.name).set(float("nan") if found.lag is None else found.lag)

    def _count_trimmed(self, entries: int) -> None:
        if entries:
            INTAKE_TRIMMED.labels(self._stream.name).inc(entries)
            log.error("entries were trimmed before Kafka had them", stream=self._stream.name, entries=entries)

    def _progressed(self) -> None:
        # Together: a watchdog between the two would see an old time and no reason for it.
        self.problem, self.progressed_at_s = "", monotonic()

    async def _failed(self, side: str, reason: str, detail: str, attempt: int) -> None:
        INTAKE_ERRORS.labels(self._stream.name, reason).inc()
        self.problem = f"Redis Stream {self._stream.name}: {side} refuses or is away: {reason}"
        log.warning("trying again", stream=self._stream.name, side=side, error=detail, reason=reason, attempt=attempt)
        await self._pause(attempt)

    async def _pause(self, attempt: int) -> None:
        """Longer each time, never the same for all workers; over at once when the worker is to stop."""
        seconds = min(_LONGEST_PAUSE_S, 0.1 * 2 ** min(attempt, 10)) * (0.5 + random.random() / 2)
        if self._stopping.is_set():
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return
