"""Sending to internal topics until it is acknowledged: every message is idempotent, so a repeat is harmless."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from schemas.results import Cell
from streamproc.errors import PermanentError, RetryableError
from streamproc.logs import get_logger
from streamproc.telemetry import SEND_RETRIES

log = get_logger("publisher")


@dataclass(slots=True, frozen=True)
class Message:
    """One message for one partition of an internal topic (broker's name); `cells` are what a partials message holds."""

    topic: str
    partition: int | None
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes], ...] = ()
    cells: tuple[Cell, ...] = ()


def make_producer(bootstrap: list[str], max_bytes: int = 32 * 1024 * 1024) -> AIOKafkaProducer:
    """A producer with acks=all, not started; what is not acknowledged within 10 s fails."""
    return AIOKafkaProducer(
        bootstrap_servers=bootstrap,
        acks="all",
        linger_ms=2,
        max_request_size=max_bytes,
        max_batch_size=512 * 1024,
        request_timeout_ms=10_000,
        retry_backoff_ms=100,
        metadata_max_age_ms=15_000,
    )


class Publisher:
    """A producer with acks=all that does not give up while the process lives."""

    def __init__(self, bootstrap: list[str], max_bytes: int = 32 * 1024 * 1024) -> None:
        self._producer = make_producer(bootstrap, max_bytes)
        self.failing = False

    async def start(self) -> None:
        """Connect.

        Raises:
            RetryableError: 'broker_unavailable': no broker answers.
        """
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            # Or aiokafka logs an error of its own about a producer that nobody closed.
            await self._producer.stop()
            raise RetryableError("broker_unavailable", f"no Kafka broker answers ({type(error).__name__})") from error

    async def stop(self) -> None:
        """Send what is buffered and disconnect."""
        await self._producer.stop()

    async def send_all(self, messages: Sequence[Message]) -> list[int]:
        """Send all and wait for every acknowledgement; returns the offsets, in order.

        Retries for ever with backoff, since nothing later may be sent before these are safe.

        Raises:
            PermanentError: a message is larger than the broker takes; a human must raise `max.message.bytes`.
        """
        offsets = [-1] * len(messages)
        todo = list(range(len(messages)))
        attempt = 0
        while todo:
            failed = await self._try(messages, todo, offsets)
            self.failing = bool(failed)
            if failed:
                attempt += 1
                SEND_RETRIES.labels(messages[failed[0]].topic).inc(len(failed))
                log.warning("broker did not take messages; trying again", messages=len(failed), attempt=attempt)
                await asyncio.sleep(min(5.0, 0.1 * 2**attempt) * (0.5 + random.random() / 2))
            todo = failed
        return offsets

    async def _try(self, messages: Sequence[Message], todo: list[int], offsets: list[int]) -> list[int]:
        failed: list[int] = []
        futures = []
        for i in todo:
            message = messages[i]
            try:
                future = await self._producer.send(
                    message.topic,
                    value=message.value,
                    key=message.key,
                    partition=message.partition,
                    headers=list(message.headers),
                )
            except MessageSizeTooLargeError as error:
                raise PermanentError("message_too_large", f"{len(message.value)} bytes for {message.topic}") from error
            except (KafkaError, OSError) as error:
                log.debug("send failed", error=repr(error))
                failed.append(i)
            else:
                futures.append((i, future))
        for i, future in futures:
            try:
                metadata = await future
            except MessageSizeTooLargeError as error:
                raise PermanentError("message_too_large", f"{messages[i].topic}") from error
            except (KafkaError, OSError) as error:
                log.debug("send failed", error=repr(error))
                failed.append(i)
            else:
                offsets[i] = metadata.offset
        return failed
