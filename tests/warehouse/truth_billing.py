"""Subscriptions: movements of MRR, its level the customers at the end of each day, and money in and back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.warehouse.read import Billing
from tests.warehouse.truth_videos import DAY_MS

MOVEMENTS = ("new", "expansion", "contraction", "churn")


@dataclass
class Book:
    """By day number (days since 1970), in 1/10000 USD: movements, payments, refunds; and who was a customer when."""

    movements: dict[str, Counter[int]] = field(default_factory=lambda: {name: Counter() for name in MOVEMENTS})
    payments: Counter[int] = field(default_factory=Counter)
    refunds: Counter[int] = field(default_factory=Counter)
    #: Subscription -> (its user, [(day, MRR at the end of that day)] in order of days).
    levels: dict[str, tuple[int, list[tuple[int, int]]]] = field(default_factory=dict)

    def mrr(self, day: int) -> int:
        """Sum over all subscriptions at the end of the day."""
        return sum(_at(levels, day) for _, levels in self.levels.values())

    def customers(self, day: int) -> set[int]:
        """Users with an active subscription at the end of the day."""
        return {user for user, levels in self.levels.values() if _at(levels, day) > 0}

    def net(self, first: int, last: int) -> int:
        """Payments less refunds of the days from `first` to `last`, both included."""
        return sum(self.payments[day] - self.refunds[day] for day in range(first, last + 1))


def _at(levels: list[tuple[int, int]], day: int) -> int:
    """The level at the end of a day."""
    found = 0
    for since, mrr in levels:
        if since > day:
            break
        found = mrr
    return found


def keep_book(events: Iterable[Billing]) -> Book:
    """Everything of valid billing events, in any order."""
    book = Book()
    by_subscription: dict[str, list[Billing]] = defaultdict(list)
    for event in events:
        if event.kind == "payment":
            book.payments[event.at // DAY_MS] += event.amount or 0
        elif event.kind == "refund":
            book.refunds[event.at // DAY_MS] += event.amount or 0
        else:
            by_subscription[event.subscription_id].append(event)
    for subscription, told in by_subscription.items():
        told.sort(key=lambda event: (event.at, event.event_id))
        before = 0
        levels: list[tuple[int, int]] = []
        for event in told:
            day = event.at // DAY_MS
            after = 0 if event.kind == "subscription_cancelled" else event.mrr or 0
            _move(book, day, before, after)
            levels.append((day, after))
            before = after
        book.levels[subscription] = told[-1].user_id, levels
    return book


def _move(book: Book, day: int, before: int, after: int) -> None:
    if before == 0 < after:
        book.movements["new"][day] += after
    elif after == 0 < before:
        book.movements["churn"][day] += before
    elif after > before:
        book.movements["expansion"][day] += after - before
    elif after < before:
        book.movements["contraction"][day] += before - after
