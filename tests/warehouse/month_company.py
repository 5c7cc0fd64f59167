"""Who lives in the month: users who sign up, stay away and return, their channels, and days without events."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from tests.warehouse.month_write import DAY, HOUR, MINUTE, Census

#: Share of a day's activity by hour of the user's own day.
_RHYTHM = (1, 1, 1, 1, 1, 2, 4, 7, 9, 10, 10, 9, 9, 10, 10, 9, 9, 10, 12, 14, 14, 11, 6, 3)
_NAMES = ("ada", "björn", "chloé", "dmitri", "eve", "føroyar", "grażyna", "何", "иван", "jürgen", "keiko", "😀lol")
_NICHES = ("science", "history", "cooking", "finance", "travel", "gaming", "health", "mode d'été", "料理")


@dataclass(frozen=True)
class Plan:
    """What a month is made from; the same plan gives the same bytes."""

    seed: int = 1
    users: int = 60
    videos: int = 150
    events: int = 20_000
    days: int = 35
    begin: date = field(default_factory=lambda: date(2026, 10, 1))

    def __post_init__(self) -> None:
        if self.days < 14 or min(self.users, self.videos, self.events) < 20:
            raise ValueError("a month needs 14 days, and 20 users, videos and events")

    @property
    def begin_ms(self) -> int:
        return int(datetime(self.begin.year, self.begin.month, self.begin.day, tzinfo=UTC).timestamp()) * 1000

    @property
    def end_ms(self) -> int:
        return self.begin_ms + self.days * DAY

    def rng(self, name: str) -> random.Random:
        """A source of numbers of its own for each part: changing one part does not change the others."""
        return random.Random(f"{self.seed}/{name}")

    def quiet(self, what: str) -> tuple[int, int]:
        """The day without any `user`, `cost` or `health` event, as [begin, end) in ms."""
        day = {"user": self.days // 3, "cost": self.days // 2, "health": 2 * self.days // 3}[what]
        return self.begin_ms + day * DAY, self.begin_ms + (day + 1) * DAY


@dataclass(frozen=True)
class User:
    """One user; `away` is the time in which nothing is heard of them."""

    id: int
    name: str
    signup_ms: int
    weight: float
    offset_ms: int
    away: tuple[int, int] | None


@dataclass(frozen=True)
class Channel:
    id: int
    user: int
    niche: str
    name: str


class Company:
    """All users and channels of a plan."""

    def __init__(self, plan: Plan, census: Census) -> None:
        self.plan = plan
        rng = plan.rng("company")
        self.users = [_user(plan, rng, number + 1) for number in range(plan.users)]
        self.channels: list[Channel] = []
        for user in self.users:
            for _ in range(1 + (rng.random() < 0.3)):
                number = len(self.channels) + 1
                self.channels.append(
                    Channel(number, user.id, rng.choice(_NICHES), f"{user.name} {rng.choice(('TV', 'Küche', '日本'))}")
                )
        census["users: away for weeks, then back"] += sum(
            user.away is not None and user.signup_ms < user.away[0] and user.away[1] < plan.end_ms
            for user in self.users
        )
        census["users: signed up within the month"] += sum(user.signup_ms > plan.begin_ms for user in self.users)

    def visits(self, rng: random.Random) -> Iterator[tuple[User, int]]:
        """Users and times (epoch ms) of endless visits: by weight and daily rhythm, not before sign-up or when away."""
        plan = self.plan
        totals, running = [], 0.0
        for user in self.users:
            running += user.weight
            totals.append(running)
        days = [1.0 if (plan.begin.toordinal() + day) % 7 not in (6, 0) else 0.6 for day in range(plan.days)]
        while True:
            chosen = rng.choices(self.users, cum_weights=totals, k=1000)
            hours = rng.choices(range(24), weights=_RHYTHM, k=1000)
            for user, day, hour in zip(chosen, rng.choices(range(plan.days), weights=days, k=1000), hours, strict=True):
                at = plan.begin_ms + day * DAY + (hour * HOUR - user.offset_ms) % DAY + int(rng.random() * HOUR)
                if at < user.signup_ms or (user.away is not None and user.away[0] <= at < user.away[1]):
                    continue
                yield user, at


def _user(plan: Plan, rng: random.Random, number: int) -> User:
    if rng.random() < 0.4 or number <= 5:
        signup = plan.begin_ms - int(rng.random() * 200 * DAY) - DAY
    else:
        signup = plan.begin_ms + int(rng.random() * 0.9 * plan.days * DAY)
    away = None
    if rng.random() < 0.15 or number in (2, 3):
        begin = plan.begin_ms + int((0.1 + 0.2 * rng.random()) * plan.days * DAY)
        away = begin, begin + max(8 * DAY, int((0.4 + 0.2 * rng.random()) * plan.days * DAY))
    name = f"{rng.choice(_NAMES)}{number}"
    offset = rng.choice((0, 0, 60, 120, 330, -300, -480)) * MINUTE
    return User(number, name, signup, rng.paretovariate(1.3), offset, away)
