"""Sends dead letters to their topic again, each at most once unless told otherwise.

A replay is recorded as begun before it is sent and as done when it is acknowledged, by the letter's place. A letter
that was begun and not done (the process died, or the broker gave no answer) is sent again only on demand.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Final

import orjson
from aiokafka.errors import KafkaError

from schemas.keys import key_for
from schemas.topics import CHANGES, SOURCES
from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.deadletters.store import (
    BEGUN,
    UNCONFIRMED,
    WAITING,
    DeadLetterStore,
    Filters,
    Letter,
    Place,
    Replay,
    with_states,
)
from streamproc.decode import explain
from streamproc.decode.changes import decode_change
from streamproc.personal.payload import sealed_whole
from streamproc.produce.connect import open_producer
from streamproc.produce.fields import with_fields

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Options:
    """`changes`: JSON fields to set before sending. `send_invalid`: send what would be refused again too.

    `retry_begun`: also send letters whose earlier replay was never acknowledged. `dry_run`: count only.
    """

    changes: dict[str, Any] = field(default_factory=dict)
    send_invalid: bool = False
    retry_begun: bool = False
    dry_run: bool = False
    limit: int = 1_000_000


@dataclass(slots=True)
class Outcome:
    """Letters by (reason, what became of them): sent, would be sent, still invalid, not acknowledged."""

    letters: Counter[tuple[str, str]] = field(default_factory=Counter)

    def number(self, what: str) -> int:
        """Letters of all reasons with this outcome."""
        return sum(count for (_, outcome), count in self.letters.items() if outcome == what)


SENT: Final = "sent"
WOULD_SEND: Final = "would be sent"
STILL_INVALID: Final = "still invalid"
FAILED: Final = "not acknowledged"


async def replay(
    settings: Settings,
    store: DeadLetterStore,
    filters: Filters,
    options: Options,
    on_progress: Callable[[Outcome], None] = lambda _outcome: None,
) -> Outcome:
    """Go through the letters that were not replayed yet, and send them (or count, in a dry run).

    Raises:
        RetryableError, PermanentError: ClickHouse or the broker; run it again: what was sent is not sent twice.
    """
    outcome = Outcome()
    wanted = with_states(filters, WAITING, BEGUN) if options.retry_begun else with_states(filters, WAITING)
    if options.dry_run:
        await _each_page(
            store, wanted, options.limit, _Chooser(options, outcome, WOULD_SEND).choose, on_progress, outcome
        )
        return outcome
    async with open_producer(settings) as producer:
        sender = _Sender(settings, store, producer.kafka, _Chooser(options, outcome, SENT))
        await _each_page(store, wanted, options.limit, sender.send_page, on_progress, outcome)
    return outcome


async def _each_page(
    store: DeadLetterStore,
    filters: Filters,
    limit: int,
    act: Callable[[list[Letter]], Any],
    on_progress: Callable[[Outcome], None],
    outcome: Outcome,
) -> None:
    after: Place | None = None
    while limit > 0:
        page = await store.letters(replace(filters, after=after), min(_PAGE, limit), newest_first=False)
        if not page:
            return
        await act(page)
        on_progress(outcome)
        after, limit = page[-1].place, limit - len(page)


class _Chooser:
    """Decides what of a letter is sent, and counts."""

    def __init__(self, options: Options, outcome: Outcome, word: str) -> None:
        self._options = options
        self._word = word
        self.outcome = outcome

    async def choose(self, letters: list[Letter]) -> list[tuple[Letter, bytes]]:
        """The letters to send, with the bytes to send."""
        chosen = []
        for letter in letters:
            value = self._value(letter)
            if value is None:
                self.outcome.letters[letter.reason, STILL_INVALID] += 1
            else:
                self.outcome.letters[letter.reason, self._word] += 1
                chosen.append((letter, value))
        return chosen

    def failed(self, letter: Letter) -> None:
        """A chosen letter was not acknowledged after all."""
        self.outcome.letters[letter.reason, self._word] -= 1
        self.outcome.letters[letter.reason, FAILED] += 1

    def _value(self, letter: Letter) -> bytes | None:
        value = letter.payload
        if sealed_whole(value) is not None:
            # Nobody has its key any more.
            return None
        if self._options.changes:
            value = with_fields(value, self._options.changes) or value
        return value if self._options.send_invalid or _is_valid(letter, value) else None


def _is_valid(letter: Letter, value: bytes) -> bool:
    """Whether whoever reads the letter's topic would take this value now."""
    topic = letter.place.topic
    if topic in CHANGES:
        return not isinstance(decode_change(topic, letter.key, value), tuple)
    return topic in SOURCES and explain(topic, value) is None


class _Sender:
    """Sends a page of letters: begun is recorded before, done after."""

    def __init__(self, settings: Settings, store: DeadLetterStore, kafka: Any, chooser: _Chooser) -> None:
        self._settings = settings
        self._store = store
        self._kafka = kafka
        self._chooser = chooser
        self._by = f"{socket.gethostname()}:{os.getpid()}"

    async def send_page(self, letters: list[Letter]) -> None:
        chosen = await self._chooser.choose(letters)
        begun_ms = now_ms()
        begun = [Replay(letter.place, letter.place.topic, 0, UNCONFIRMED) for letter, _ in chosen]
        await self._store.record(begun, begun_ms, self._by)
        results = await asyncio.gather(*(self._send(letter, value) for letter, value in chosen))
        done = [result for result in results if result is not None]
        # Later than `begun` by at least 1 ms, or the table could keep the other row.
        await self._store.record(done, max(now_ms(), begun_ms + 1), self._by)

    async def _send(self, letter: Letter, value: bytes) -> Replay | None:
        place = letter.place
        try:
            event = orjson.loads(value)
        except orjson.JSONDecodeError:
            event = None
        key = letter.key or (key_for(place.topic, event) if place.topic in SOURCES else None)
        source = f"{place.topic}/{place.partition}/{place.log_id}/{place.offset}"
        try:
            sent = await self._kafka.send(
                self._settings.topic(place.topic), value, key, headers=[("replayed_from", source.encode())]
            )
            answer = await sent
        except KafkaError:
            self._chooser.failed(letter)
            return None
        return Replay(place, place.topic, answer.partition, answer.offset)
