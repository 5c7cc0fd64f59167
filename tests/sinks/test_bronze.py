"""Bronze: every byte as it came, repetitions of any kind double nothing, poison blocks nothing."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from streamproc.errors import PermanentError, RetryableError
from streamproc.personal import alike
from streamproc.sinks.bronze import BronzeBatch
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.oracle.unseal import Unsealer
from tests.sinks.support import START, batch, bronze_sink, user_event, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle
from tests.support.proxy import Mode, TcpProxy


def write(url: str, *groups: list[BronzeBatch]) -> None:
    async def act(clickhouse: ClickHouse) -> None:
        for group in groups:
            await bronze_sink(clickhouse).write(group)

    with_clickhouse(url, act)


def rows(url: str, sql: str, bytes_columns: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    return with_clickhouse(url, lambda clickhouse: clickhouse.rows(sql, bytes_columns=bytes_columns))


@pytest.mark.parametrize("topic", ["cost-events", "user-events"])
def test_every_byte_arrives_as_it_came(clickhouse_server: ClickHouseHandle, name: str, topic: str) -> None:
    """Read with the master key where the topic holds personal data, by the truth's own few lines."""
    draw = random.Random(7)
    payloads = [b"", b"\xff\xfe\x00", "ü€😀".encode(), b"x" * 200, b"y" * 20_000, bytes(range(256)) * 300]
    payloads += [draw.randbytes(draw.randrange(400)) for _ in range(500)]
    offsets = list(range(10, 10 + len(payloads)))
    errors = tuple(f"malformed: {offset}" if offset % 2 else "malformed" for offset in offsets)
    write(clickhouse_server.url, [batch(name, offsets, payloads, topic, errors)])
    table = f"bronze.{topic.replace('-', '_')}"
    sql = f"SELECT offset, payload, error, toUnixTimestamp64Milli(kafka_timestamp) FROM {table} WHERE log_id = '{name}' ORDER BY offset"
    found = rows(clickhouse_server.url, sql, ("payload",))
    if topic == "user-events":
        assert all(not payload or payload.startswith(b"sealed:1:7:") for _, payload, _, _ in found)
        unsealer = Unsealer(lambda sql: rows(clickhouse_server.url, sql))
        found = [(offset, unsealer.record(payload), *rest) for offset, payload, *rest in found]
    assert found == [
        (offset, payload, error, START + offset)
        for offset, payload, error in zip(offsets, payloads, errors, strict=True)
    ]


def _at(user: int, address: str | None) -> dict[str, Any]:
    return user_event(user, **({} if address is None else {"ip_address": address}))


def test_new_users_in_many_partitions_cost_one_round_of_keys(
    clickhouse_server: ClickHouseHandle, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A round waits for the disk: with one a partition, inserts of 500 records took 2.5 s."""
    statements: list[str] = []

    async def act(clickhouse: ClickHouse) -> None:
        sink = bronze_sink(clickhouse)
        await sink.write([batch(name + "before", [0], [user_event(1)])])
        first = 2_000_000 + 1_000 * int(name[1:])
        group = [
            replace(batch(name, [0, 1], [_at(first + n, "10.0.0.1"), _at(first + n + 100, None)]), partition=n)
            for n in range(8)
        ]
        inner = {kind: getattr(clickhouse, kind) for kind in ("insert", "rows")}
        for kind, call in inner.items():

            async def counted(*args: Any, call: Any = call, **kwargs: Any) -> Any:
                statements.append(args[0])
                return await call(*args, **kwargs)

            monkeypatch.setattr(clickhouse, kind, counted)
        await sink.write(group)
        assert await inner["rows"](f"SELECT count() FROM bronze.user_events WHERE log_id = '{name}'") == [(16,)]
        made = f"SELECT count() FROM keys.user_keys WHERE user_id >= {first} AND user_id < {first + 200}"
        assert await inner["rows"](made) == [(8,)], "none for those of whom nothing is to be sealed"

    with_clickhouse(clickhouse_server.url, act)
    made = [text for text in statements if "user_keys" in text]
    assert len(made) == 3, "looked up, made, read back"
    assert len(statements) <= 6, statements


def test_a_retry_with_the_same_cut_doubles_nothing_anywhere(clickhouse_server: ClickHouseHandle, name: str) -> None:
    group = [batch(name, [1, 2, 3], [user_event(100 + n) for n in range(3)]), batch(name + "b", [1], [b"poison"])]
    write(clickhouse_server.url, group, group, group)
    counts = [
        rows(clickhouse_server.url, f"SELECT count() FROM {table} WHERE log_id IN ('{name}', '{name}b')")[0][0]
        for table in ("bronze.user_events", "silver.user_activity", "silver.rejected")
    ]
    assert counts == [4, 3, 1]


def test_a_replay_with_other_cuts_doubles_nothing(clickhouse_server: ClickHouseHandle, name: str) -> None:
    events = [user_event(200 + n) for n in range(20)]
    cuts = [(0, 20), (0, 7), (5, 12), (3, 20), (0, 1)]
    write(clickhouse_server.url, *([batch(name, list(range(a, b)), events[a:b])] for a, b in cuts))
    for table in ("bronze.user_events", "silver.user_activity"):
        found = rows(clickhouse_server.url, f"SELECT count(), sum(offset) FROM {table} FINAL WHERE log_id = '{name}'")
        assert found == [(20, sum(range(20)))]


def test_the_first_offset_of_an_event_wins_in_silver(clickhouse_server: ClickHouseHandle, name: str) -> None:
    first, later = user_event(300, user_id=1), user_event(300, user_id=2, occurred_at="2026-11-23T10:00:00Z")
    # The later one arrives first, in an insert and a day of its own.
    write(clickhouse_server.url, [batch(name, [9], [later])], [batch(name, [4, 7], [first, later])])
    found = rows(
        clickhouse_server.url, f"SELECT user_id, offset FROM silver.user_activity FINAL WHERE log_id = '{name}'"
    )
    assert found == [(1, 4)]


def test_poison_without_an_error_blocks_nothing_and_is_rejected(clickhouse_server: ClickHouseHandle, name: str) -> None:
    poison: list[Any] = [
        b"",
        b"\xff\xff",
        b"null",
        b"[1]",
        b'"text"',
        b"{" * 10_000,
        user_event(400, event_id="no uuid"),
        user_event(401, user_id="abc"),
        user_event(402, user_id=2**70),
        user_event(403, occurred_at="yesterday"),
        user_event(404, response_time_ms="slow"),
        user_event(405, session_id=5),
    ]
    strange = [
        user_event(406, occurred_at="0001-01-01T00:00:00Z"),
        user_event(407, occurred_at="9999-12-31T23:59:59Z"),
        user_event(408, resource_id=None, ip_address=None, unknown={"deep": [1, {}]}),
        user_event(409, activity_type="a\u0000b'\\"),
    ]
    offsets = list(range(len(poison) + len(strange)))
    write(clickhouse_server.url, [batch(name, offsets, poison + strange)])
    rejected = rows(clickhouse_server.url, f"SELECT offset, reason FROM silver.rejected FINAL WHERE log_id = '{name}'")
    assert [offset for offset, _ in sorted(rejected)] == list(range(len(poison)))
    assert dict(rejected)[7] == "user_id is missing or no integer"
    good = rows(clickhouse_server.url, f"SELECT offset FROM silver.user_activity FINAL WHERE log_id = '{name}'")
    assert sorted(good) == [(offset,) for offset in offsets[len(poison) :]]


def test_a_dead_letter_is_in_bronze_and_not_in_silver(clickhouse_server: ClickHouseHandle, name: str) -> None:
    errors = ("", "future_event: too far ahead")
    write(clickhouse_server.url, [batch(name, [1, 2], [user_event(500), user_event(501)], errors=errors)])
    assert rows(clickhouse_server.url, f"SELECT offset FROM silver.user_activity WHERE log_id = '{name}'") == [(1,)]
    assert rows(clickhouse_server.url, f"SELECT count() FROM silver.rejected WHERE log_id = '{name}'") == [(0,)]


def test_an_insert_over_many_days_is_not_refused(clickhouse_server: ClickHouseHandle, name: str) -> None:
    days = [f"20{24 + n // 120}-{1 + n // 10 % 12:02}-{1 + n % 10:02}T00:00:00Z" for n in range(240)]
    events = [user_event(600 + n, occurred_at=day) for n, day in enumerate(days)]
    write(clickhouse_server.url, [batch(name, list(range(240)), events)])
    assert rows(clickhouse_server.url, f"SELECT count() FROM silver.user_activity WHERE log_id = '{name}'") == [(240,)]


@pytest.mark.parametrize("fault", [Mode.CUT_AFTER_REQUEST, Mode.BLACK_HOLE, Mode.REFUSE])
def test_a_lost_answer_is_retryable_and_the_retry_doubles_nothing(
    clickhouse_server: ClickHouseHandle, clickhouse_proxy: TcpProxy, name: str, fault: Mode
) -> None:
    users = [int(name[1:]) * 1000, int(name[1:]) * 1000 + 1]
    group = [batch(name, [1, 2], [user_event(number) for number in users])]
    before = [batch(name + "before", [1, 2], [user_event(number + 10**9, user_id=number) for number in users])]

    async def act(clickhouse: ClickHouse) -> str:
        sink = bronze_sink(clickhouse)
        # The users' keys are known already: the insert is what fails.
        await sink.write(before)
        clickhouse_proxy.set(fault)
        with pytest.raises(RetryableError) as caught:
            await sink.write(group)
        clickhouse_proxy.set(Mode.PASS)
        await sink.write(group)
        return caught.value.reason

    url = f"http://127.0.0.1:{clickhouse_proxy.port}"
    reason = with_clickhouse(url, act, timeout_s=5.0)
    assert reason == ("timeout" if fault is Mode.BLACK_HOLE else "connection")
    for table in ("bronze.user_events", "silver.user_activity"):
        assert rows(clickhouse_server.url, f"SELECT count() FROM {table} WHERE log_id = '{name}'") == [(2,)]


def test_restore_points_name_the_last_record_of_each_log(clickhouse_server: ClickHouseHandle, name: str) -> None:
    partition = 1000 + int(name[1:])

    def in_partition(log: str, offsets: list[int], times: list[int]) -> BronzeBatch:
        count = len(offsets)
        return BronzeBatch("user-events", partition, log, offsets, times, [b"\xff"] * count, [b"\x00\xfe"] * count)

    async def act(clickhouse: ClickHouse) -> None:
        sink = bronze_sink(clickhouse)
        assert await sink.restore_points("user-events", partition) == []
        await sink.write([in_partition("old", [5, 6, 7], [START + 9, START + 50, START])])
        await sink.write([in_partition("new", [0, 1], [START + 1, START + 2])])
        newest, before = await sink.restore_points("user-events", partition)
        assert (newest.log_id, newest.offset, newest.timestamp_ms, newest.max_timestamp_ms) == (
            "new",
            1,
            START + 2,
            START + 2,
        )
        assert (before.log_id, before.offset, before.timestamp_ms, before.max_timestamp_ms) == (
            "old",
            7,
            START,
            START + 50,
        )
        assert newest.key == b"\xff"
        assert newest.payload.startswith(b"sealed:1:0:")
        assert alike(newest.payload, b"\x00\xfe")
        assert not alike(newest.payload, b"\x00")

    with_clickhouse(clickhouse_server.url, act)


def test_wrong_use_is_refused(clickhouse_server: ClickHouseHandle, name: str) -> None:
    mixed = [batch(name, [1], [b"{}"]), batch(name, [1], [b"{}"], topic="cost-events")]
    for group in ([], mixed):
        with pytest.raises(ValueError, match="one insert takes one topic"):
            write(clickhouse_server.url, group)
    with pytest.raises(PermanentError, match="column offset"):
        write(clickhouse_server.url, [batch(name, [2**64], [b"{}"])])
