"""Faults of Slack: limited, failing, silent, cut, revoked for a while, away for long; and more alerts than it takes."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from tests.chaos.fault import SLACK, WORKERS, Fault
from tests.chaos.faults.events import begun, sent
from tests.chaos.world import World
from tests.oracle.traffic import COST, Event
from tests.support import webhook
from tests.support.webhook import Answer


class Limited(Fault):
    """429 with Retry-After, several times; nothing may come before that time is over, nor faster than one a second."""

    name, ids, touches = "Slack: 429 with Retry-After", ("S1",), frozenset({SLACK})

    async def inject(self, world: World) -> None:
        before, starts = len(world.slack.requests), _starts(world)
        waits = [world.rng.choice((1, 2, 5)) for _ in range(world.rng.randrange(1, 4))]
        world.slack.script([webhook.rate_limited(seconds) for seconds in waits])
        await asyncio.sleep(world.rng.uniform(5.0, 15.0))
        if _starts(world) != starts:
            return  # a new process does not know what the one before was told
        for one, following in pairwise(world.slack.requests[before:]):
            waited = float(one.answer.headers.get("Retry-After", 0)) if one.answer.status == 429 else 0.0
            assert following.at - one.at >= waited - 0.05, f"Slack asked for {waited} s and got {following.at - one.at}"


# A revoked webhook (404) is no fault of a random run: what comes meanwhile is written down and never sent, as promised;
# tests/faults/test_slack.py has it.
class Failing(Fault):
    """Every request fails in one way for a while, and then again in another: an outage of ten minutes, scaled down."""

    touches, ids = frozenset({SLACK}), ("S1",)

    def __init__(self, name: str, *answers: Answer) -> None:
        self.name = f"Slack: {name}"
        self._answers = answers

    async def inject(self, world: World) -> None:
        try:
            for _ in range(world.rng.randrange(1, 4)):
                world.slack.always(world.rng.choice(self._answers))
                await asyncio.sleep(world.rng.uniform(2.0, 8.0))
        finally:
            world.slack.always(None)


class Storm(Fault):
    """Thousands of alerts at once: digests, and one message a second."""

    name, ids, touches = "Slack: a storm of alerts", ("S2",), frozenset({SLACK, WORKERS})
    weight, alone = 0.3, True

    async def inject(self, world: World) -> None:
        began, starts = len(world.slack.requests), _starts(world)
        count = world.rng.choice((200, 1000, 3000))
        await dear_videos(world, count)
        await asyncio.sleep(world.rng.uniform(10.0, 20.0))
        times = [request.at for request in world.slack.requests[began:]]
        if _starts(world) == starts:
            close = [later - earlier for earlier, later in pairwise(times) if later - earlier < 0.9]
            assert not close, f"messages {close[:3]} s apart"


def _starts(world: World) -> int:
    return sum(worker.starts for worker in world.of_role("notify"))


async def dear_videos(world: World, count: int) -> None:
    """Costs of so many new videos, each of which is an alert."""
    first = 700_000_000 + world.rng.randrange(1 << 28)
    await sent(world, [_dear(world, first + number) for number in range(count)])


def _dear(world: World, video: int) -> Event:
    """A cost beyond the thresholds of the shipped rules, which fire once a video."""
    event_id, head = begun(world.rng)
    body = f'{head},"video_id":{video},"component":"voice","amount_usd":"2.9000"}}'
    return Event(COST, str(video).encode(), body.encode(), event_id)


def faults() -> list[Fault]:
    """All of this module."""
    return [
        Limited(),
        Failing("errors of the server", webhook.SERVER_ERROR, Answer(503, "unavailable"), Answer(502, "")),
        Failing("no answer in time", webhook.HANG),
        Failing("connections dropped", webhook.DROP),
        Failing("an outage of all kinds", webhook.SERVER_ERROR, webhook.HANG, webhook.DROP, webhook.rate_limited(2)),
        Storm(),
    ]
