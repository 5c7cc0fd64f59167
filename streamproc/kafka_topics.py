"""Creates the topics that are missing, with our partitions and settings, and says which lack what."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    InvalidConfigurationError,
    InvalidPartitionsError,
    InvalidReplicationAssignmentError,
    InvalidReplicationFactorError,
    InvalidTopicError,
    KafkaConnectionError,
    KafkaError,
    PolicyViolationError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    for_code,
)

from schemas.topics import ALL, Topic
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import ConfigError, RetryableError
from streamproc.logs import get_logger

#: Settings that a broker may refuse, given up in this order; `cleanup.policy` never is, for compaction loses records.
_GIVEN_UP = (("message.timestamp.type",), ("max.message.bytes",), ("retention.ms",))
_REFUSED = (InvalidConfigurationError, PolicyViolationError)
_NOT_ALLOWED = (ClusterAuthorizationFailedError, TopicAuthorizationFailedError)
_WRONG = (
    InvalidPartitionsError,
    InvalidReplicationFactorError,
    InvalidReplicationAssignmentError,
    InvalidTopicError,
)
_POLL_S = 0.1
#: After the time is over there is one more try, whose refusal is told as it is.
_LAST_TRY_S = 5.0

log = get_logger("topics")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as the broker describes it: number of partitions, and whether each has a leader."""

    partitions: int
    ready: bool


@asynccontextmanager
async def admin_client(settings: Settings, timeout_s: float = 15.0) -> AsyncIterator[AIOKafkaAdminClient]:
    """A started admin client, closed at the end.

    Raises:
        RetryableError: 'broker_unavailable': no broker answers at STREAMPROC_BROKER_URL.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.bootstrap_servers, request_timeout_ms=int(timeout_s * 1000), client_id="streamproc"
    )
    where = ", ".join(settings.bootstrap_servers)
    try:
        try:
            await asyncio.wait_for(admin.start(), timeout_s)
        except (KafkaError, OSError, TimeoutError) as error:
            raise RetryableError(
                "broker_unavailable",
                f"no Kafka broker answers at {where} ({type(error).__name__}); is it running, "
                "and is STREAMPROC_BROKER_URL right?",
            ) from None
        yield admin
    except KafkaConnectionError as error:
        raise RetryableError("broker_unavailable", f"the broker at {where} closed the connection: {error}") from None
    finally:
        await admin.close()


async def topic_states(admin: AIOKafkaAdminClient) -> dict[str, TopicState]:
    """Every topic of the broker, by name.

    All are asked for, because asking for a single topic that is missing makes some brokers create it.

    Raises:
        RetryableError: the broker did not answer.
    """
    try:
        described: list[dict[str, Any]] = await admin.describe_topics()
    except (KafkaError, TimeoutError) as error:
        raise RetryableError("broker_metadata", f"{type(error).__name__}: {error}") from None
    return {
        topic["topic"]: TopicState(
            len(topic["partitions"]),
            all(part["leader"] >= 0 for part in topic["partitions"]) and not topic["error_code"],
        )
        for topic in described
    }


async def ensure_topics(settings: Settings, *, timeout_s: float = 30.0, replace_empty: bool = False) -> list[str]:
    """Create every missing topic of the contracts and wait until all have leaders; safe when several run at once.

    A topic that exists is left as it is, whatever its partitions (`doctor` reports it) - except with `replace_empty`,
    for a broker that was just started empty: there a client may have made a topic by merely asking for it, and such a
    topic is made again with our partitions if it holds no record.

    Returns the names that this call created.

    Raises:
        ConfigError: the broker refuses them for good, or they are missing and STREAMPROC_CREATE_TOPICS is false.
        RetryableError: the broker is away or not ready in time.
    """
    wanted = {settings.topic(name): topic for name, topic in ALL.items()}
    deadline = monotonic() + timeout_s
    async with admin_client(settings) as admin:
        states = await _answered(deadline, topic_states, admin)
        if replace_empty:
            await _drop_empty(settings, admin, wanted, states)
            states = await _answered(deadline, topic_states, admin)
        missing = {name: topic for name, topic in wanted.items() if name not in states}
        if missing and not settings.create_topics:
            raise ConfigError(
                f"missing topics: {', '.join(missing)}; create them, or set STREAMPROC_CREATE_TOPICS=true"
            )
        created: list[str] = []
        while missing:
            created += await _answered(deadline, _create, settings, admin, missing, monotonic() > deadline)
            states = await _answered(deadline, topic_states, admin)
            missing = {n: t for n, t in missing.items() if n not in created and n not in states}
            if missing:
                await _pause(deadline + _LAST_TRY_S, missing)
        while not_ready := await _answered(deadline, _without_leader, admin, wanted):
            await _pause(deadline, not_ready)
    if created:
        log.info("topics created", topics=len(created), partitions=settings.partitions)
    return created


async def _answered(deadline: float, ask: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Ask until a broker answers: the client picks any of a cluster, and that one may be away while the others work.

    Raises:
        RetryableError: nobody answered in time.
    """
    while True:
        try:
            return await ask(*args)
        except RetryableError:
            if monotonic() > deadline:
                raise
            await asyncio.sleep(_POLL_S)


async def _without_leader(admin: AIOKafkaAdminClient, wanted: Iterable[str]) -> list[str]:
    states = await topic_states(admin)
    return [name for name in wanted if name not in states or not states[name].ready]


async def _pause(deadline: float, waiting_for: Iterable[str]) -> None:
    if monotonic() > deadline:
        raise RetryableError("topics_not_ready", f"no leader in time for {', '.join(waiting_for)}")
    await asyncio.sleep(_POLL_S)


async def _create(
    settings: Settings, admin: AIOKafkaAdminClient, topics: dict[str, Topic], last_try: bool
) -> list[str]:
    """Create the topics, giving up settings that the broker refuses. Returns the names that were created here."""
    created: list[str] = []
    configs = {name: topic.config() for name, topic in topics.items()}
    for given_up in ((), *_GIVEN_UP):
        for config in configs.values():
            for option in given_up:
                config.pop(option, None)
        results = await _request(settings, admin, configs, last_try)
        created += [name for name, error in results.items() if error is None]
        refused = {name: error for name, error in results.items() if isinstance(error, _REFUSED)}
        if not refused:
            return created
        configs = {name: configs[name] for name in refused}
        log.warning(
            "the broker refuses topic settings", topics=sorted(refused), error=str(next(iter(refused.values())))
        )
    raise ConfigError(f"the broker refuses these topics whatever their settings: {', '.join(configs)}")


async def _request(
    settings: Settings, admin: AIOKafkaAdminClient, configs: dict[str, dict[str, str]], last_try: bool
) -> dict[str, KafkaError | None]:
    """One CreateTopics request: by name None (created), or the error (exists, refused, or worth another try)."""
    topics = [
        NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=config)
        for name, config in configs.items()
    ]
    try:
        response = await admin.create_topics(topics, timeout_ms=10_000)
    except (KafkaError, TimeoutError) as error:
        raise RetryableError("topic_creation", f"{type(error).__name__}: {error}") from None
    results: dict[str, KafkaError | None] = {}
    for name, code, message in response.topic_errors:
        results[name] = for_code(code)(message) if code else None
        _raise_if_hopeless(settings, name, results[name], last_try)
    return results


def _raise_if_hopeless(settings: Settings, name: str, error: KafkaError | None, last_try: bool) -> None:
    if isinstance(error, InvalidReplicationFactorError) and not last_try:
        # Said too while some brokers of a cluster are still starting.
        return
    if isinstance(error, _NOT_ALLOWED):
        raise ConfigError(
            f"the broker does not let us create {name} ({error}); create the topics yourself and set "
            "STREAMPROC_CREATE_TOPICS=false"
        )
    if isinstance(error, _WRONG):
        raise ConfigError(
            f"the broker refuses {name}: {error} (STREAMPROC_PARTITIONS={settings.partitions}, "
            f"STREAMPROC_REPLICATION_FACTOR={settings.replication_factor})"
        )
    if error is not None and not isinstance(error, (TopicAlreadyExistsError, *_REFUSED)) and not error.retriable:
        raise ConfigError(f"the broker refuses {name}: {error}")


async def _drop_empty(
    settings: Settings, admin: AIOKafkaAdminClient, wanted: dict[str, Topic], states: dict[str, TopicState]
) -> None:
    """Delete topics that have another number of partitions than ours and hold no record."""
    for name in wanted:
        state = states.get(name)
        if state is None or state.partitions == settings.partitions:
            continue
        if await _holds_records(settings, name, state.partitions):
            log.warning(
                "a client made this topic before us, and it holds records", topic=name, partitions=state.partitions
            )
            continue
        try:
            await admin.delete_topics([name])
        except (KafkaError, TimeoutError) as error:
            raise RetryableError("topic_deletion", f"{name}: {type(error).__name__}: {error}") from None


async def _holds_records(settings: Settings, name: str, partitions: int) -> bool:
    consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
    try:
        await consumer.start()
        parts = [TopicPartition(name, number) for number in range(partitions)]
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        # Read, not the end offset: the embedded broker's end offset is 0 for a log of one record as for an empty one.
        return any((await consumer.getmany(timeout_ms=500)).values())
    except (KafkaError, TimeoutError) as error:
        raise RetryableError("broker_read", f"{name}: {type(error).__name__}: {error}") from None
    finally:
        await consumer.stop()
