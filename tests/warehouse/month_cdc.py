"""Change data capture of the company's tables: histories of rows, and how a connector delivers them."""

from __future__ import annotations

from collections.abc import Callable

from tests.warehouse.month_company import Channel, Company, User
from tests.warehouse.month_envelope import STYLES, TABLES, Change, Row, encode
from tests.warehouse.month_histories import CHANNEL_EDITS, USER_EDITS, channel_row, edited, subscription_row, user_row
from tests.warehouse.month_write import DAY, HOUR, SECOND, Census, Deck, Log

_NAME = "cdc"
_DELIVERIES = {
    "once": 30,
    "again, identical": 2,
    "again, told in another style": 1,
    "again, days later": 1,
    "out of order": 2,
}
_NO_CHANGES = (
    '{"ts_ms":1790000000000}',
    '{"schema":{"type":"struct","fields":[]},"payload":{"serverName":"cdc","ts_ms":1790000000000}}',
    '{"status":"BEGIN","id":"571:53195829","ts_ms":1790000000000,"event_count":null,"data_collections":null}',
    '{"status":"END","id":"571:53195829","ts_ms":1790000000000,"event_count":2,'
    '"data_collections":[{"data_collection":"app.users","event_count":2}]}',
)
_NOTHING = ("heartbeat", "heartbeat with schema", "transaction begins", "transaction ends")
_BROKEN: dict[str, Callable[[str], str]] = {
    "cut off": lambda value: value[: len(value) // 2],
    "an array": lambda value: f"[{value}]",
    "a word": lambda _: "hello",
    "trailing comma": lambda value: value[:-1] + ",}",
    "nothing": lambda _: "",
}


class _Source:
    """The database: rows as they are now, and every change that was ever made, in order of position."""

    def __init__(self, company: Company, census: Census) -> None:
        self.plan = company.plan
        self.rng = self.plan.rng(_NAME)
        self.census = census
        self.rows: dict[str, dict[int, Row]] = {table: {} for table in TABLES}
        self.changes: list[Change] = []
        self._lsn = 6_090_000_000
        self._tx = 571

    def place(self) -> int:
        self._lsn += self.rng.randrange(56, 4000)
        return self._lsn

    def change(self, at: int, table: str, op: str, row: Row, place: int | None = None, snapshot: str = "false") -> None:
        """`row` is the new row, or for a delete anything with its id."""
        number = row["id"]
        before = self.rows[table].get(number)
        if op == "d":
            if before is None:
                return
            del self.rows[table][number]
        else:
            self.rows[table][number] = row
        ts = at
        if op == "u" and self.rng.random() < 0.03:
            # Transactions commit in another order than they wrote, and clocks are set back.
            ts -= self.rng.randrange(1, 3 * DAY)
            self.census.note(_NAME, "source time goes back")
        self._tx += self.rng.random() < 0.8
        # A table tells old rows only as its REPLICA IDENTITY says; deletes here always do.
        told = before if op == "d" or (op == "u" and self.rng.random() < 0.5) else None
        after = None if op == "d" else row
        self.changes.append(Change(table, op, told, after, ts, place or self.place(), self._tx, snapshot))

    def snapshot(self, at: int) -> None:
        """All rows that there are, at one position."""
        place = self.place()
        every = [(table, row) for table, rows in self.rows.items() for row in rows.values()]
        for turn, (table, row) in enumerate(every):
            flag = "first" if turn == 0 else "last" if turn == len(every) - 1 else "true"
            self.change(at + turn, table, "r", row, place, flag)


def _history(company: Company, census: Census) -> list[Change]:
    source = _Source(company, census)
    rng, plan = source.rng, company.plan
    agenda: list[tuple[int, int, Callable[[], None]]] = []

    def at(when: int, what: Callable[[], None]) -> None:
        if plan.begin_ms <= when < plan.end_ms:
            agenda.append((when, len(agenda), what))

    user_edits = Deck(rng, census, f"{_NAME} user", dict.fromkeys(USER_EDITS, 2) | {"active alone": 8})
    channel_edits = Deck(rng, census, f"{_NAME} channel", dict.fromkeys(CHANNEL_EDITS, 1))
    for user in company.users:
        _plan_user(source, user, at, user_edits, max(2, min(20, plan.events // (20 * plan.users))))
    for channel in company.channels:
        signup = company.users[channel.user - 1].signup_ms
        _plan_channel(source, channel, max(signup, plan.begin_ms - 90 * DAY), at, channel_edits)
    # Rows from before the month come by the connector's first snapshot.
    source.snapshot(plan.begin_ms)
    half = plan.begin_ms + plan.days * DAY // 2
    at(half, lambda: source.snapshot(half))
    census.note(_NAME, "snapshot again")
    for _, _, what in sorted(agenda, key=lambda entry: entry[:2]):
        what()
    return source.changes


At = Callable[[int, Callable[[], None]], None]


def _plan_user(source: _Source, user: User, at: At, edits: Deck, count: int) -> None:
    rng, plan = source.rng, source.plan
    first = user_row(rng, user)
    subscription = subscription_row(rng, user)
    if user.signup_ms < plan.begin_ms:
        source.rows["users"][user.id] = first
        source.rows["subscriptions"][user.id] = subscription
    else:
        at(user.signup_ms, lambda: source.change(user.signup_ms, "users", "c", first))
        at(user.signup_ms + HOUR, lambda: source.change(user.signup_ms + HOUR, "subscriptions", "c", subscription))
    begin = max(user.signup_ms, plan.begin_ms)
    for _ in range(count):
        when = begin + int(rng.random() * (plan.end_ms - begin))
        way = edits.deal()
        at(when, lambda when=when, way=way: _edit(source, "users", user.id, when, way))  # type: ignore[misc]
    if user.id % 9 == 4:
        gone = begin + int((0.3 + 0.4 * rng.random()) * (plan.end_ms - begin))
        at(gone, lambda: source.change(gone, "users", "d", {"id": user.id}))
        source.census.note(_NAME, "deleted")
        if user.id % 2:
            back = gone + (rng.randrange(HOUR, 3 * DAY) if user.id % 4 == 1 else 1)
            again = user_row(rng, user) | {"created_at": back * 1000 + 7}
            at(back, lambda: source.change(back, "users", "c", again))
            source.census.note(_NAME, "inserted again")


def _plan_channel(source: _Source, channel: Channel, since: int, at: At, edits: Deck) -> None:
    rng, plan = source.rng, source.plan
    row = channel_row(rng, channel, since)
    if since < plan.begin_ms:
        source.rows["channels"][channel.id] = row
    else:
        at(since, lambda: source.change(since, "channels", "c", row))
    begin = max(since, plan.begin_ms)
    for _ in range(3):
        when = begin + int(rng.random() * (plan.end_ms - begin))
        way = edits.deal()
        at(when, lambda when=when, way=way: _edit(source, "channels", channel.id, when, way))  # type: ignore[misc]
    if channel.id % 11 == 5:
        gone = begin + int(rng.random() * (plan.end_ms - begin))
        at(gone, lambda: source.change(gone, "channels", "d", {"id": channel.id}))


def _edit(source: _Source, table: str, number: int, when: int, way: str) -> None:
    row = source.rows[table].get(number)
    if row is None:
        return
    for step, after in enumerate(edited(source.rng, table, row, when, way)):
        # Steps of one edit happen in one millisecond, or a while after each other.
        later = 0 if way == "two in one millisecond" else step * 40 * SECOND
        source.change(when + later, table, "u", after)


class _Delivery:
    """Puts changes into the logs of their topics."""

    def __init__(self, company: Company, census: Census) -> None:
        rng = self.rng = company.plan.rng("deliveries")
        self.logs = {table: Log(f"cdc.app.{table}") for table in TABLES}
        self.ways = Deck(rng, census, _NAME, _DELIVERIES)
        self.styles = Deck(rng, census, f"{_NAME} style", dict.fromkeys(STYLES, 1))
        self.nothing = Deck(rng, census, f"{_NAME} beside", dict.fromkeys(_NOTHING, 1))
        self.broken = Deck(rng, census, f"{_NAME} invalid", dict.fromkeys(_BROKEN, 1))
        self.census = census

    def deliver(self, change: Change, happened: int) -> None:
        """`happened` is the true time of the change; `ts_ms` of its source may be another."""
        rng, log, way = self.rng, self.logs[change.table], self.ways.deal()
        ts = happened + rng.randrange(50, 3 * SECOND)
        if way == "out of order":
            ts += rng.randrange(HOUR, 2 * DAY)
        value = encode(change, self.styles.deal(), ts)
        log.add(ts, change.key, value)
        if way == "again, identical":
            log.add(ts + rng.randrange(HOUR), change.key, value)
        elif way == "again, told in another style":
            log.add(ts + SECOND, change.key, encode(change, self.styles.deal(), ts + SECOND))
        elif way == "again, days later":
            log.add(ts + rng.randrange(DAY, 6 * DAY), change.key, value)
        if change.op == "d":
            log.add(ts, change.key, None)
            self.census.note(_NAME, "tombstone")
        if rng.random() < 0.03:
            place = _NOTHING.index(self.nothing.deal())
            log.add(ts, '{"serverName":"cdc"}' if place < 2 else None, _NO_CHANGES[place])
        if rng.random() < 0.01:
            log.add(ts, change.key, _BROKEN[self.broken.deal()](value))


def cdc_logs(company: Company, census: Census) -> list[Log]:
    """The logs of the three tables' topics."""
    changes = _history(company, census)
    delivery = _Delivery(company, census)
    happened = company.plan.begin_ms
    for change in changes:
        happened = max(happened, change.ts_ms)
        delivery.deliver(change, happened)
    return list(delivery.logs.values())
