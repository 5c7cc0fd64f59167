"""Sends what the intake has read to Kafka, and says of each message whether it is safe, refused, or to be tried again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaError, MessageSizeTooLargeError, RecordListTooLargeError

from schemas import topics
from schemas.outcomes import DeadReason
from streamproc.agents.publisher import Message, make_producer
from streamproc.config import Settings
from streamproc.errors import RetryableError

_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordListTooLargeError)
#: A dead letter holds so much of what was too large, and so much of its key; the entry itself stays in the stream.
_SAMPLE_BYTES: Final = 16 * 1024
_KEY_BYTES: Final = 1024


class Round(NamedTuple):
    """What a round of sending left: positions to try again (with the class of an error), and those too large for the broker."""

    left: list[int]
    refused: list[int]
    error: str


class IntakeSender:
    """One producer for all streams: acks=all, and messages of a partition in the order in which they were given."""

    def __init__(self, settings: Settings) -> None:
        self._bootstrap = settings.bootstrap_servers
        self._producer: Any = None

    async def start(self) -> None:
        """Connect.

        Raises:
            RetryableError: 'broker_unavailable': no broker answers.
        """
        self._producer = make_producer(self._bootstrap)
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            # Or aiokafka logs an error of its own about a producer that nobody closed.
            await self._producer.stop()
            raise RetryableError("broker_unavailable", f"no Kafka broker answers ({type(error).__name__})") from error

    async def stop(self) -> None:
        """Disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def round(self, messages: Sequence[Message], todo: Sequence[int], done: set[int]) -> Round:
        """Send these once; `done` gets the positions that Kafka acknowledged, also if this is cancelled meanwhile."""
        refused: list[int] = []
        suspects: list[int] = []
        errors: dict[int, str] = {}
        await self._together(messages, todo, done, refused, suspects, errors)
        if len(todo) == 1:
            refused += suspects
            suspects = []
        for i in suspects:
            # The broker refuses a batch as a whole: alone, each shows whether it was the one.
            alone = await self.round(messages, [i], done)
            refused += alone.refused
            if alone.left:
                errors[i] = alone.error
        settled = done.union(refused)
        return Round([i for i in todo if i not in settled], refused, next(iter(errors.values()), ""))

    async def _together(
        self,
        messages: Sequence[Message],
        todo: Sequence[int],
        done: set[int],
        refused: list[int],
        suspects: list[int],
        errors: dict[int, str],
    ) -> None:
        futures: dict[int, Any] = {}
        try:
            for i in todo:
                message = messages[i]
                headers = list(message.headers)
                try:
                    futures[i] = await self._producer.send(
                        message.topic, value=message.value, key=message.key, headers=headers
                    )
                except _TOO_LARGE:
                    refused.append(i)
                except (KafkaError, OSError) as error:
                    # Each more would wait as long for a broker that is away, and overtake this one if it came back.
                    errors[i] = type(error).__name__
                    break
            for i, future in futures.items():
                try:
                    await future
                except _TOO_LARGE:
                    suspects.append(i)
                except (KafkaError, OSError) as error:
                    errors[i] = type(error).__name__
        finally:
            done.update(i for i, f in futures.items() if f.done() and not f.cancelled() and f.exception() is None)


def too_large(settings: Settings, stream: str, entry_id: bytes, message: Message) -> Message:
    """The dead letter of an entry that the broker refuses for its size: the beginning of it, and where the whole lies."""
    topic = message.topic.removeprefix(settings.topic_prefix)
    place = entry_id.decode("ascii", "replace")
    error = (
        f"{len(message.value)} bytes are more than the broker takes for {topic}; these are the first of entry {place} "
        f"of the Redis Stream {stream}"
    )
    headers = (
        ("error", error.encode()),
        ("reason", DeadReason.TOO_LARGE.value.encode()),
        ("topic", topic.encode()),
        ("stream", stream.encode()),
        ("entry_id", entry_id),
        ("key", (message.key or b"")[:_KEY_BYTES]),
    )
    return Message(settings.topic(topics.DEAD_LETTERS), None, topic.encode(), message.value[:_SAMPLE_BYTES], headers)
