"""Billing: subscriptions that start, grow, shrink, end and return, payments and refunds, in and out of order."""

from __future__ import annotations

from tests.warehouse.month_company import Company, User
from tests.warehouse.month_stream import Stream
from tests.warehouse.month_write import DAY, HOUR, MINUTE, Census, Deck, Log, spelled

TOPIC = "billing-events"
_PRICES = {"basic": "9.99", "pro": "29", "studio": "99.5", "entreprise ✓": "499.0001"}
_STORIES = {
    "steady": 4,
    "goes up": 2,
    "goes down": 1,
    "changed to the same price": 1,
    "cancelled": 2,
    "cancelled and back": 2,
    "free first": 1,
    "changed to nothing": 1,
    "two changes in one millisecond": 1,
    "changed arrives before started": 1,
    "cancelled twice": 1,
    "started twice": 1,
}
_AMOUNTS = {"text": 6, "number": 3, "text with half a unit": 1, "number with half a unit": 1}


class _Billing:
    def __init__(self, company: Company, census: Census) -> None:
        self.plan, self.census = company.plan, census
        self.stream = Stream(self.plan, TOPIC, census, 3 * self.plan.users)
        self.rng = self.stream.rng
        self.stories = Deck(self.rng, census, TOPIC, _STORIES)
        self.amounts = Deck(self.rng, census, f"{TOPIC} amount", _AMOUNTS)
        census.declare(TOPIC, ["several subscriptions of a user", "refund", "payment", "payment without subscription"])
        self.number = 0

    def money(self, amount: str) -> str:
        """As JSON, in one of the spellings; the halves go below the fourth decimal."""
        way = self.amounts.deal()
        longer = f"{float(amount):.4f}5"
        return {"text": f'"{amount}"', "number": amount, "text with half a unit": f'"{longer}"'}.get(way, longer)

    def event(self, user: User, at: int, kind: str, subscription: str, more: str, ts: int | None = None) -> None:
        if self.plan.begin_ms <= at < self.plan.end_ms:
            started = spelled(self.rng, at - at % HOUR)
            what = f'"kind":"{kind}","subscription_id":"{subscription}","started_at":"{started}"{more}'
            self.stream.send(at, str(user.id), f',"user_id":{user.id},{what}}}', ts)

    def mrr(
        self,
        user: User,
        at: int,
        kind: str,
        subscription: str,
        plan: str,
        ts: int | None = None,
        price: str | None = None,
    ) -> None:
        mrr = self.money(_PRICES[plan] if price is None else price)
        more = f',"plan":"{plan}","mrr_usd":{mrr}' + (',"amount_usd":null' if self.rng.random() < 0.2 else "")
        self.event(user, at, f"subscription_{kind}", subscription, more, ts)

    def subscription(self, user: User, begin: int) -> None:
        rng, story = self.rng, self.stories.deal()
        self.number += 1
        name = f"sub-{self.number:05d}"
        plans = list(_PRICES)
        place = rng.randrange(1, 3)
        plan = plans[place]
        change = begin + rng.randrange(HOUR, max(2 * HOUR, (self.plan.end_ms - begin) // 2))
        later = change + rng.randrange(MINUTE, max(2 * MINUTE, self.plan.end_ms - change))
        if story == "changed arrives before started":
            self.mrr(user, begin, "started", name, plan, ts=change + HOUR)
            self.mrr(user, change, "changed", name, plans[place + 1], ts=change)
            return
        self.mrr(user, begin, "started", name, plan, price="0" if story == "free first" else None)
        if story in ("goes up", "free first"):
            self.mrr(user, change, "changed", name, plans[place + 1])
        elif story == "goes down":
            self.mrr(user, change, "changed", name, plans[place - 1])
        elif story == "changed to the same price":
            self.mrr(user, change, "changed", name, plan)
        elif story == "changed to nothing":
            self.mrr(user, change, "changed", name, plan, price="0.00")
        elif story == "two changes in one millisecond":
            self.mrr(user, change, "changed", name, plans[place + 1])
            self.mrr(user, change, "changed", name, plans[place - 1])
        elif story == "started twice":
            self.mrr(user, change, "started", name, plan)
        elif story.startswith("cancelled"):
            self.mrr(user, change, "cancelled", name, plan)
            if story == "cancelled and back":
                self.mrr(user, later, "started", name, plans[place + 1])
            elif story == "cancelled twice":
                self.mrr(user, later, "cancelled", name, plan)
        self.payments(user, begin, name, _PRICES[plan])

    def payments(self, user: User, begin: int, subscription: str, price: str) -> None:
        rng = self.rng
        for at in range(begin, self.plan.end_ms, 14 * DAY):
            self.census.note(TOPIC, "payment")
            at += rng.randrange(2 * HOUR)
            more = f',"amount_usd":{self.money(price)}' + (',"mrr_usd":null,"plan":null' if rng.random() < 0.2 else "")
            self.event(user, at, "payment", subscription, more)
            if rng.random() < 0.15:
                self.census.note(TOPIC, "refund")
                back = f',"amount_usd":{self.money(price)},"grund":"doppelt"'
                self.event(user, at + rng.randrange(HOUR, 5 * DAY), "refund", subscription, back)


def billing_events(company: Company, census: Census) -> Log:
    """One subscription for most users, two or three for some, none for others."""
    billing = _Billing(company, census)
    plan, rng = company.plan, billing.rng
    for user in company.users:
        draw = rng.random()
        count = 0 if draw < 0.2 else 1 if draw < 0.8 else rng.randrange(2, 4)
        if count > 1:
            census.note(TOPIC, "several subscriptions of a user")
        for _ in range(count):
            since = max(user.signup_ms, plan.begin_ms)
            begin = since + int(rng.random() * 0.6 * max(plan.end_ms - since, DAY))
            if user.signup_ms < plan.begin_ms and rng.random() < 0.5:
                # Customers from the first day on: without them nobody could be lost 30 days later.
                begin = since + rng.randrange(DAY)
            billing.subscription(user, begin)
        if draw > 0.97 or user.id == 1:
            census.note(TOPIC, "payment without subscription")
            at = plan.begin_ms + int(rng.random() * plan.days * DAY)
            billing.event(user, at, "payment", f"once-{user.id}", f',"amount_usd":{billing.money("5.5")}')
    return billing.stream.log
