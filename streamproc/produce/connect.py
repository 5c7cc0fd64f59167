"""A Kafka producer that waits for all replicas, and is idempotent where the broker can do that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.transaction import InitProducerIdRequest

from schemas.topics import MIB
from streamproc.config import Settings
from streamproc.errors import RetryableError

_NO_ERROR: Final = 0
_ASKED_AGAIN: Final = 20


@dataclass(frozen=True, slots=True)
class Producer:
    """A started aiokafka producer; `idempotent` says whether the broker takes out its retries' duplicates."""

    kafka: Any
    idempotent: bool


def _away(settings: Settings, error: BaseException) -> RetryableError:
    where = ", ".join(settings.bootstrap_servers)
    return RetryableError(
        "broker_unavailable",
        f"no Kafka broker answers at {where} ({type(error).__name__}); is it running, "
        "and is STREAMPROC_BROKER_URL right?",
    )


async def supports_idempotence(settings: Settings) -> bool:
    """Whether the broker hands out producer ids (the embedded one does not).

    Raises:
        RetryableError: no broker answers.
    """
    client = AIOKafkaClient(bootstrap_servers=settings.bootstrap_servers, client_id="streamproc-produce")
    try:
        await client.bootstrap()
        request = InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=60_000)
        for _ in range(_ASKED_AGAIN):
            answer = await client.send(client.get_random_node(), request)
            if answer.error_code == _NO_ERROR or not for_code(answer.error_code).retriable:
                break
            # A broker that has just begun has no ids yet: it will.
            await asyncio.sleep(0.25)
    except (KafkaError, OSError) as error:
        raise _away(settings, error) from None
    finally:
        await client.close()
    return bool(answer.error_code == _NO_ERROR)


@asynccontextmanager
async def open_producer(settings: Settings, *, timeout_s: float = 10.0, linger_ms: int = 5) -> AsyncIterator[Producer]:
    """A producer with acks=all whose messages stay in order: aiokafka has one request in flight per broker.

    Messages not acknowledged within about `timeout_s` fail (for good where the broker is not idempotent). Keys go to
    partitions as in Kafka's own clients (murmur2). Closing waits until everything is acknowledged or failed.

    Raises:
        RetryableError: no broker answers.
    """
    idempotent = await supports_idempotence(settings)
    kafka = AIOKafkaProducer(
        bootstrap_servers=settings.bootstrap_servers,
        client_id="streamproc-produce",
        acks="all",
        enable_idempotence=idempotent,
        request_timeout_ms=int(timeout_s * 1000),
        linger_ms=linger_ms,
        max_batch_size=256 * 1024,
        # Above the largest event that is taken, so that a file's oversized line can be sent and shown to be refused.
        max_request_size=32 * MIB,
    )
    try:
        await kafka.start()
    except (KafkaError, OSError) as error:
        await kafka.stop()
        raise _away(settings, error) from None
    try:
        yield Producer(kafka, idempotent)
    finally:
        await kafka.stop()
