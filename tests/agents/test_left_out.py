"""A worker whose group never answers is found out; one that is told that it has no partitions, is not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest

from streamproc.agents import health
from streamproc.agents.membership import Membership
from streamproc.config import Settings
from streamproc.kafka_topics import ensure_topics
from tests.agents.test_positions import PATIENCE_S, Reader, settings_of, started
from tests.agents.waiting import until
from tests.support.broker import Broker, start_broker
from tests.support.ports import free_port


@pytest.fixture
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


class Waiting(Reader):
    """A worker that nobody has told anything for hours."""

    def joining_s(self) -> float:
        return 10_000.0


def test_a_worker_without_partitions_is_not_left_out_one_that_was_never_answered_is(broker: Broker) -> None:
    """Two workers and one partition: both were answered, and neither waits. A third one waits although the group is
    stable, and says why it ends."""

    async def act() -> None:
        settings = settings_of(broker, 1).model_copy(update={"stuck_after_s": 0.0, "session_timeout_s": 2.0})
        await ensure_topics(settings)
        async with AsyncExitStack() as stack:
            first = await started(stack, Reader(settings, {}))
            await until(lambda: first.restores == 1, PATIENCE_S)
            second = await started(stack, Reader(settings, {}))
            await until(lambda: second.restores and first.restores > 1, PATIENCE_S)
            assert await first.group_state() == "Stable"
            assert not (first._app.consumer.assignment() and second._app.consumer.assignment())
            for reader in (first, second):
                assert reader.joining_s() == 0
                assert await health.outside(reader, settings) == ""
            third = Waiting(settings, {})
            third._membership = Membership(settings, "reader")
            said = await health.outside(third, settings)
            assert said == "no answer from the consumer group for 10000 s, which is Stable"

    asyncio.run(act())


def test_a_broker_that_does_not_answer_is_no_reason_to_end() -> None:
    """Nobody listens there: a new process would not be answered either."""
    settings = Settings(broker_url=f"kafka://127.0.0.1:{free_port()}", metrics_port=0)

    async def act() -> str:
        waiting = Waiting(settings, {})
        waiting._membership = Membership(settings, "reader")
        return await health.outside(waiting, settings)

    assert asyncio.run(act()) == ""
