"""Changes in bronze and silver: all types as decoded, repetitions of any kind double nothing, order is by position."""

from __future__ import annotations

from typing import Any, NamedTuple

from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS
from streamproc.agents.archive_changes import change_batch
from streamproc.sinks.bronze import BronzeBatch, Condemned
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.cdc.envelopes import encoded, envelope
from tests.oracle.unseal import Unsealer
from tests.sinks.support import START, bronze_sink, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle


class Record(NamedTuple):
    """A record of Kafka's."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


def user(number: int, position: int, op: str = "u", **fields: Any) -> bytes:
    """A change of a user."""
    row = {
        "id": number,
        "email": f"{number}@example.org",
        "username": "n",
        "subscription_tier": "pro",
        "channels_limit": 5,
    }
    row |= {"daily_video_limit": None, "monthly_budget": "9.99", "created_at": "2026-01-01T00:00:00.123Z"} | fields
    sides = {"before": row} if op == "d" else {"after": row}
    return encoded(envelope(op, source={"lsn": position, "ts_ms": START}, **sides))


def batch(log_id: str, first: int, values: list[bytes | None], topic: str = CDC_USERS) -> BronzeBatch:
    records = [Record(first + n, b"k", value, START + first + n) for n, value in enumerate(values)]
    return change_batch(topic, 0, log_id, records, set())


def write(url: str, *groups: list[BronzeBatch]) -> None:
    async def act(clickhouse: ClickHouse) -> None:
        for group in groups:
            await bronze_sink(clickhouse).write(group)

    with_clickhouse(url, act)


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    return with_clickhouse(url, lambda clickhouse: clickhouse.rows(sql))


def test_every_type_arrives_as_decoded(clickhouse_server: ClickHouseHandle, name: str) -> None:
    url = clickhouse_server.url
    largest = 2**63 - 1
    write(url, [batch(name, 0, [user(largest, largest, username='ü "😀"\\\0', monthly_budget="-0.00005")])])
    found = rows(
        url,
        f"""SELECT id, email, username, subscription_tier, channels_limit, daily_video_limit, monthly_budget_e4,
                   toUnixTimestamp64Milli(assumeNotNull(created_at)), last_active_at, op, deleted, position,
                   snapshot, topic, partition, offset, toUnixTimestamp64Milli(kafka_timestamp), ingested_at > '2020-01-01'
            FROM silver.cdc_users FINAL WHERE log_id = '{name}'""",
    )
    unsealer = Unsealer(lambda sql: rows(url, sql))
    assert all(str(token).startswith(f"sealed:1:{largest}:") for token in found[0][1:3])
    found = [(row[0], unsealer.text(row[1], "email"), unsealer.text(row[2], "username"), *row[3:]) for row in found]
    row = (largest, f"{largest}@example.org", 'ü "😀"\\\0', "pro", 5, None, 0, 1_767_225_600_123, None, "u", False)
    assert found == [(*row, largest, False, CDC_USERS, 0, 0, START, True)]
    channel = {"id": 1, "user_id": 2, "channel_name": "c", "is_active": True, "auto_publish": False}
    write(url, [batch(name, 0, [encoded(envelope("r", after=channel))], CDC_CHANNELS)])
    columns = "id, user_id, channel_name, niche, is_active, auto_publish, created_at, snapshot"
    assert rows(url, f"SELECT {columns} FROM silver.cdc_channels FINAL WHERE log_id = '{name}'") == [
        (1, 2, "c", None, True, False, None, True)
    ]
    subscription = {"id": 1, "user_id": 2, "plan": "p", "status": "s", "mrr_usd": 1.25, "started_at": START}
    write(url, [batch(name, 0, [encoded(envelope("c", after=subscription))], CDC_SUBSCRIPTIONS)])
    columns = "id, user_id, plan, status, mrr_e4, toUnixTimestamp64Milli(assumeNotNull(started_at)), cancelled_at"
    assert rows(url, f"SELECT {columns} FROM silver.cdc_subscriptions FINAL WHERE log_id = '{name}'") == [
        (1, 2, "p", "s", 12_500, START, None)
    ]


def test_what_carries_no_row_and_what_is_dead_stays_in_bronze(clickhouse_server: ClickHouseHandle, name: str) -> None:
    base = int(name[1:]) * 1000
    values = [None, encoded({"ts_ms": 5}), b"poison", user(base, base), encoded(envelope("t")), None, b""]
    write(clickhouse_server.url, [batch(name, 10, values)])
    found = rows(clickhouse_server.url, f"SELECT offset, error FROM bronze.cdc WHERE log_id = '{name}' ORDER BY offset")
    assert [offset for offset, error in found if error] == [12, 16]
    assert all(error.startswith("malformed: ") for _, error in found if error)
    assert len(found) == len(values)
    assert rows(clickhouse_server.url, f"SELECT offset FROM silver.cdc_users WHERE log_id = '{name}'") == [(13,)]
    write(clickhouse_server.url, [batch(name, 20, [None, b"x"])])
    assert rows(clickhouse_server.url, f"SELECT count() FROM bronze.cdc WHERE log_id = '{name}'") == [(9,)]


def test_repeats_of_inserts_and_other_cuts_double_nothing(clickhouse_server: ClickHouseHandle, name: str) -> None:
    base = int(name[1:]) * 1000
    values: list[bytes | None] = [user(base + n % 5, base + n) for n in range(20)]
    values[7] = b"poison"
    same = [batch(name, 0, values)]
    write(clickhouse_server.url, same, same, same)
    for table, count in (("bronze.cdc", 20), ("silver.cdc_users", 19)):
        assert rows(clickhouse_server.url, f"SELECT count() FROM {table} WHERE log_id = '{name}'") == [(count,)]
    cuts = [(0, 7), (5, 12), (3, 20), (0, 1)]
    write(clickhouse_server.url, *([batch(name, a, values[a:b])] for a, b in cuts))
    for table, count in (("bronze.cdc", 20), ("silver.cdc_users", 19)):
        assert rows(clickhouse_server.url, f"SELECT count() FROM {table} FINAL WHERE log_id = '{name}'") == [(count,)]


def test_topics_of_one_table_do_not_take_each_others_tokens(clickhouse_server: ClickHouseHandle, name: str) -> None:
    groups = [
        [batch(name, 0, [encoded(envelope("c", after={"id": 1}, source={"lsn": 9_000 + n}))], topic)]
        for n, topic in enumerate((CDC_USERS, CDC_CHANNELS, CDC_SUBSCRIPTIONS))
    ]
    write(clickhouse_server.url, *groups, *groups)
    found = rows(clickhouse_server.url, f"SELECT topic FROM bronze.cdc WHERE log_id = '{name}' ORDER BY topic")
    assert found == [(CDC_CHANNELS,), (CDC_SUBSCRIPTIONS,), (CDC_USERS,)]

    async def points(clickhouse: ClickHouse) -> list[int]:
        sink = bronze_sink(clickhouse)
        await sink.write([batch(name + "x", 50, [user(1, 60_000), None])])
        return [point.offset for point in await sink.restore_points(CDC_CHANNELS, 0) if point.log_id.startswith(name)]

    assert with_clickhouse(clickhouse_server.url, points) == [0]


def test_a_change_delivered_again_is_one_row_and_position_is_the_order(
    clickhouse_server: ClickHouseHandle, name: str
) -> None:
    base = int(name[1:]) * 1000
    late, early = user(base, base + 9, username="new"), user(base, base + 2, username="old")
    again = user(base, base + 2, username="old")
    snapshot = user(base, base + 20, "r", username="new")
    gone = user(base, base + 30, "d")
    write(clickhouse_server.url, [batch(name, 0, [late])], [batch(name, 1, [early, again, snapshot, gone, late])])
    found = rows(
        clickhouse_server.url,
        f"SELECT position - {base}, username, op, deleted, offset FROM silver.cdc_users FINAL WHERE id = {base} ORDER BY position",
    )
    assert [row[:1] + row[2:] for row in found] == [
        (2, "u", False, 1),
        (9, "u", False, 0),
        (20, "r", False, 3),
        (30, "d", True, 4),
    ]
    unsealer = Unsealer(lambda sql: rows(clickhouse_server.url, sql))
    assert [unsealer.text(row[1], "username") for row in found[:3]] == ["old", "new", "new"]
    # An unchanged value has an unchanged token: it makes no version of its own in gold.
    assert found[0][1] != found[1][1] == found[2][1]


def test_a_change_where_a_snapshot_began_is_newer_than_what_the_snapshot_read(
    clickhouse_server: ClickHouseHandle, name: str
) -> None:
    base = int(name[1:]) * 1000
    read, changed = user(base, base, "r", username="read"), user(base, base, username="changed")
    write(clickhouse_server.url, [batch(name, 0, [read])], [batch(name, 1, [changed])], [batch(name, 2, [read])])
    sql = f"SELECT username FROM silver.cdc_users FINAL WHERE id = {base}"
    unsealer = Unsealer(lambda sql: rows(clickhouse_server.url, sql))
    assert [unsealer.text(row[0], "username") for row in rows(clickhouse_server.url, sql)] == ["changed"]


def test_a_condemned_change_leaves_silver(clickhouse_server: ClickHouseHandle, name: str) -> None:
    base = int(name[1:]) * 1000

    async def act(clickhouse: ClickHouse) -> None:
        sink = bronze_sink(clickhouse)
        await sink.write([batch(name, 0, [user(base, base), user(base, base + 1)])])
        await sink.condemn(Condemned(CDC_USERS, 0, name, 0, "crashes_decoder: why"))

    with_clickhouse(clickhouse_server.url, act)
    assert rows(clickhouse_server.url, f"SELECT offset FROM silver.cdc_users FINAL WHERE log_id = '{name}'") == [(1,)]
    sql = f"SELECT offset, error FROM bronze.cdc FINAL WHERE log_id = '{name}' ORDER BY offset"
    assert rows(clickhouse_server.url, sql) == [(0, "crashes_decoder: why"), (1, "")]
