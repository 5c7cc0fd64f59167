"""Topics: created once, with our partitions, also when several processes try at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from schemas.topics import ALL, USER_EVENTS
from streamproc.config import Settings
from streamproc.errors import ConfigError, RetryableError
from streamproc.kafka_topics import TopicState, admin_client, ensure_topics, topic_states
from tests.support.broker import Broker, chosen_broker, start_broker
from tests.support.ports import free_port
from tests.support.stack import wait_for


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


def settings_for(broker: Broker, **values: object) -> Settings:
    return Settings.model_validate({"broker_url": broker.url, "partitions": 3, **values})


async def states(settings: Settings) -> dict[str, TopicState]:
    async with admin_client(settings) as admin:
        return await topic_states(admin)


def test_all_topics_are_made_once(broker: Broker) -> None:
    settings = settings_for(broker, topic_prefix="once.")
    assert sorted(asyncio.run(ensure_topics(settings))) == sorted("once." + name for name in ALL)
    assert asyncio.run(ensure_topics(settings)) == []
    found = asyncio.run(states(settings))
    assert {found["once." + name] for name in ALL} == {TopicState(partitions=3, ready=True)}


def test_several_at_once_make_each_topic_once(broker: Broker) -> None:
    settings = settings_for(broker, topic_prefix="race.")

    async def race() -> list[list[str]]:
        return await asyncio.gather(*(ensure_topics(settings) for _ in range(4)))

    created = [name for names in asyncio.run(race()) for name in names]
    assert sorted(created) == sorted("race." + name for name in ALL)


def test_missing_topics_are_named_when_we_may_not_create_them(broker: Broker) -> None:
    with pytest.raises(ConfigError, match=r"no\.user-events.*STREAMPROC_CREATE_TOPICS"):
        asyncio.run(ensure_topics(settings_for(broker, topic_prefix="no.", create_topics=False)))


def test_broker_away_is_retryable_and_names_the_address() -> None:
    port = free_port()
    settings = Settings.model_validate({"broker_url": f"kafka://127.0.0.1:{port}"})
    with pytest.raises(RetryableError, match=str(port)):
        asyncio.run(ensure_topics(settings))


async def _make_before_us(settings: Settings, name: str, value: bytes | None) -> None:
    """What a client does that comes before us: on some brokers, asking for a missing topic makes it."""
    async with admin_client(settings) as admin:
        if chosen_broker() == "kafka":
            await admin.create_topics([NewTopic(name, 4, 1)])
        else:
            await admin.describe_topics([name])
    if value is not None:
        producer = AIOKafkaProducer(bootstrap_servers=settings.bootstrap_servers)
        await producer.start()
        await producer.send_and_wait(name, value, partition=0)
        await producer.stop()


def test_an_empty_topic_made_by_a_client_is_made_again_on_a_new_broker(broker: Broker) -> None:
    settings = settings_for(broker, topic_prefix="asked.")
    name = settings.topic(USER_EVENTS)
    asyncio.run(_make_before_us(settings, name, None))
    # A broker answers before its own metadata know of the topic.
    found = wait_for("the topic", lambda: asyncio.run(states(settings)).get(name))
    assert found.partitions != 3
    asyncio.run(ensure_topics(settings))
    assert asyncio.run(states(settings))[name].partitions != 3, "an existing topic is left alone"
    asyncio.run(ensure_topics(settings, replace_empty=True))
    again = TopicState(partitions=3, ready=True)
    wait_for("a broker that knows of it", lambda: asyncio.run(states(settings)).get(name) == again)


def test_a_topic_that_holds_a_record_is_never_made_again(broker: Broker) -> None:
    settings = settings_for(broker, topic_prefix="held.")
    name = settings.topic(USER_EVENTS)
    asyncio.run(_make_before_us(settings, name, b"{}"))
    before = wait_for("the topic", lambda: asyncio.run(states(settings)).get(name))
    asyncio.run(ensure_topics(settings, replace_empty=True))
    assert asyncio.run(states(settings))[name] == before
