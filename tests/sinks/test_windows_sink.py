"""Windows in ClickHouse: absolute and versioned, so that order and repetition do not matter; cells come back as stored."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from schemas.results import Cell, MetricValue
from streamproc.errors import PermanentError, RetryableError
from streamproc.sinks import windows_sink
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.windows_sink import WindowsSink
from tests.sinks.support import MINUTE, START, cell, value, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.proxy import Mode, TcpProxy


def shown(url: str, metric: str, columns: str = "value, count, sum_e4, status, late, version") -> list[tuple[Any, ...]]:
    sql = f"SELECT {columns} FROM gold.windows_latest WHERE metric = '{metric}' ORDER BY window_start, dimension_value"
    return with_clickhouse(url, lambda clickhouse: clickhouse.rows(sql))


def test_the_highest_version_wins_in_any_order(clickhouse_server: ClickHouseHandle, name: str) -> None:
    writes = [([cell(name, n, b"%d" % n)], [value(name, 2**63 + n, n / 3, count=n)]) for n in range(12)] * 2
    random.Random(3).shuffle(writes)

    async def act(clickhouse: ClickHouse) -> list[Cell]:
        sink = WindowsSink(clickhouse)
        for cells, values in writes:
            await sink.write(cells, values)
        return await sink.load_cells([(name, "", "", "1m", START)])

    assert with_clickhouse(clickhouse_server.url, act) == [cell(name, 11, b"11")]
    assert shown(clickhouse_server.url, name) == [(11 / 3, 11, 0, "open", 0, 2**63 + 11)]


def test_values_come_back_as_written(clickhouse_server: ClickHouseHandle, name: str) -> None:
    values = [
        value(name, 1, None, dimension="d", dimension_value="'\\\n\tü\x00", status="final", late=2**63),
        value(name, 1, -0.1 - 0.2, dimension="d", dimension_value="z", sum_e4=-(2**62), count=2**64 - 1),
        value(name, 1, 5.0, start_ms=START - 86_400_000, status="corrected"),
    ]
    with_clickhouse(clickhouse_server.url, lambda clickhouse: WindowsSink(clickhouse).write([], values))
    assert shown(clickhouse_server.url, name) == [
        (5.0, 1, 0, "corrected", 0, 1),
        (None, 1, 0, "final", 2**63, 1),
        (-0.1 - 0.2, 2**64 - 1, -(2**62), "open", 0, 1),
    ]
    times = "toUnixTimestamp(window_start), dimension_value, toUnixTimestamp64Milli(updated_at)"
    assert shown(clickhouse_server.url, name, times)[1] == (START // 1000, "'\\\n\tü\x00", START + 1)


def test_entities_have_a_table_of_their_own(clickhouse_server: ClickHouseHandle, name: str) -> None:
    def total(version: int, e4: int) -> MetricValue:
        return value(name, version, e4 / 10_000, 0, size="all", dimension="video_id", dimension_value="7", sum_e4=e4)

    async def act(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
        sink = WindowsSink(clickhouse)
        for each in (total(2, 26_000), total(1, 10_000)):
            await sink.write([], [each])
        return await clickhouse.rows(
            f"SELECT entity, value, sum_e4, version FROM gold.entities FINAL WHERE metric = '{name}'"
        )

    assert with_clickhouse(clickhouse_server.url, act) == [("7", 2.6, 26_000, 2)]
    assert shown(clickhouse_server.url, name) == []


def test_windows_that_no_column_holds_are_left_out_and_block_nothing(
    clickhouse_server: ClickHouseHandle, name: str
) -> None:
    values = [value(name, 1, 1.0, start_ms=start) for start in (-MINUTE, 2**32 * 1000, -62_135_596_800_000, START)]
    cells = [cell(name, 1, start_ms=start) for start in (-62_135_596_800_000, 253_402_300_740_000)]

    async def act(clickhouse: ClickHouse) -> list[Cell]:
        sink = WindowsSink(clickhouse)
        await sink.write(cells, values)
        return await sink.load_cells([(name, "", "", "1m", each.start_ms) for each in cells])

    found = with_clickhouse(clickhouse_server.url, act)
    assert sorted(found, key=lambda each: each.start_ms) == cells
    assert shown(clickhouse_server.url, name, "toUnixTimestamp(window_start)") == [(START // 1000,)]


def test_cells_are_found_by_key_by_entity_and_by_time(clickhouse_server: ClickHouseHandle, name: str) -> None:
    sources = [f"user-events/{n}/log" for n in range(3)]
    windows = [
        cell(
            name, 5, bytes([n % 256]) * 40, source, dimension="d", dimension_value=f"v'{n}", start_ms=START + n * MINUTE
        )
        for n in range(700)
        for source in sources
    ]
    totals = [
        cell(name, 5, b"\x00", source, size="all", start_ms=day * 86_400_000) for day in range(3) for source in sources
    ]
    hours = [cell(name, 5, size="1h", start_ms=START - 3_600_000 * n) for n in range(4)]

    async def act(clickhouse: ClickHouse) -> None:
        sink = WindowsSink(clickhouse)
        await sink.write([*windows, *totals, *hours], [])
        keys = [(each.measure, each.dimension, each.dimension_value, each.size, each.start_ms) for each in windows]
        assert sorted(await sink.load_cells(keys), key=repr) == sorted(windows, key=repr)
        some = {keys[0], keys[0], (name, "d", "not there", "1m", START), (name, "", "", "all", 12345)}
        assert sorted(await sink.load_cells(some), key=repr) == sorted([*windows[:3], *totals], key=repr)
        assert await sink.load_cells([]) == []
        since = await sink.load_since({"1m": START + 698 * MINUTE, "1h": START - 3_600_000}, measures=[name])
        assert sorted(since, key=repr) == sorted([*windows[-6:], *hours[:2]], key=repr)
        before = {"1m": START + 699 * MINUTE}
        part = await sink.load_since({"1m": START + 698 * MINUTE, "1h": START - 3_600_000}, before, measures=[name])
        assert sorted(part, key=repr) == sorted([*windows[-6:-3], *hours[:2]], key=repr)
        assert await sink.load_since({}) == []
        everything = await sink.load_since({"1m": START + 699 * MINUTE})
        assert [each for each in everything if each.measure == name] == sorted(
            windows[-3:], key=lambda each: each.source
        )

    with_clickhouse(clickhouse_server.url, act)


def test_large_writes_are_cut_by_bytes(clickhouse_server: ClickHouseHandle, name: str) -> None:
    cells = [cell(name, 1, random.Random(n).randbytes(3_000_000), dimension_value=str(n)) for n in range(12)]

    async def act(clickhouse: ClickHouse) -> list[Cell]:
        sink = WindowsSink(clickhouse)
        await sink.write(cells, [])
        return await sink.load_cells([(name, "", str(n), "1m", START) for n in range(12)])

    found = with_clickhouse(clickhouse_server.url, act)
    assert sorted(found, key=lambda each: int(each.dimension_value)) == cells


def test_what_was_emptied_can_be_written_again(clickhouse_server: ClickHouseHandle, name: str) -> None:
    async def act(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
        sink = WindowsSink(clickhouse)
        await sink.write([], [value(name, 1)])
        await clickhouse.command(f"ALTER TABLE gold.windows DELETE WHERE metric = '{name}' SETTINGS mutations_sync = 1")
        await sink.write([], [value(name, 1)])
        return await clickhouse.rows(f"SELECT count() FROM gold.windows FINAL WHERE metric = '{name}'")

    assert with_clickhouse(clickhouse_server.url, act) == [(1,)]


def test_series_come_back_in_pages_as_they_were_written(
    clickhouse_server: ClickHouseHandle, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newest version, of the metrics and dimensions that are asked for, from a start on; odd texts survive."""
    monkeypatch.setattr(windows_sink, "_PAGE", 3)
    dims = [{}, *({"dimension": "d", "dimension_value": text} for text in ("it's", "\\ü", "z"))]
    values = [
        value(name, 2**60 + n, None if n == 3 else n / 7, START + n * MINUTE, sum_e4=n, late=n, **dim)
        for dim in dims
        for n in range(5)
    ]
    others = [value(name, 1, dimension="e", dimension_value="x"), value(name + "x", 1), value(name, 1, size="1h")]

    async def act(clickhouse: ClickHouse) -> list[MetricValue]:
        sink = WindowsSink(clickhouse)
        await sink.write([], values + others)
        await sink.write([], [value(name, 1, 9.0, START + 4 * MINUTE)])
        of = {(name, ""), (name, "d")}
        pages = [page async for page in sink.series(of, "1m", START + 1 * MINUTE, 99)]
        assert [page async for page in sink.series([], "1m", 0, 99)] == []
        (first, *_) = pages
        assert [each.window_start_ms for each in first] == [START + n * MINUTE for n in (4, 3, 2)]
        monkeypatch.setattr(windows_sink, "_PAGE", 100)
        (newest,) = [page async for page in sink.series(of, "1m", 0, 2)]
        assert sorted(newest, key=_place) == [each for each in sorted(values, key=_place) if each.late > 2]
        return [each for page in pages for each in page]

    found = with_clickhouse(clickhouse_server.url, act)
    wanted = [each for each in values if each.window_start_ms > START]
    assert sorted(found, key=_place) == sorted(wanted, key=_place)


def test_totals_come_back_in_pages_as_they_were_written(
    clickhouse_server: ClickHouseHandle, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest version of each once, whatever the page; not those that are older, nor a metric of another release."""
    monkeypatch.setattr(windows_sink, "_PAGE", 3)

    def total(entity: str, version: int, metric: str = "cost_per_video_usd", at_ms: int = START + 10) -> MetricValue:
        made = value(metric, version, version / 10, version, size="all", dimension="video_id", sum_e4=version * 1000)
        return msgspec.structs.replace(
            made, dimension_value=name + entity, window_start_ms=0, window_end_ms=0, updated_at_ms=at_ms
        )

    newest = [total(entity, 7) for entity in ("'", "\\", "a", "b", "c", "d", "ü")]
    others = [total("a", 3), total("old", 1, at_ms=START + 9), total("z", 1, metric=name)]

    async def act(clickhouse: ClickHouse) -> list[MetricValue]:
        sink = WindowsSink(clickhouse)
        await sink.write([], [*newest, *others])
        pages = [page async for page in sink.entities(START + 10)]
        assert all(len(page) == 3 for page in pages[:-1])
        return [total for page in pages for total in page if total.dimension_value.startswith(name)]

    found = with_clickhouse(clickhouse_server.url, act)
    assert sorted(found, key=lambda each: each.dimension_value) == sorted(newest, key=lambda each: each.dimension_value)


def _place(each: MetricValue) -> tuple[str, str, int]:
    return each.dimension, each.dimension_value, each.window_start_ms


@pytest.mark.parametrize("fault", [Mode.CUT_AFTER_REQUEST, Mode.REFUSE, Mode.BLACK_HOLE])
def test_a_lost_answer_is_retryable_and_the_retry_is_harmless(
    clickhouse_server: ClickHouseHandle, clickhouse_proxy: TcpProxy, name: str, fault: Mode
) -> None:
    async def act(clickhouse: ClickHouse) -> None:
        sink = WindowsSink(clickhouse)
        await clickhouse.rows("SELECT 1")
        clickhouse_proxy.set(fault)
        with pytest.raises(RetryableError):
            await sink.write([cell(name, 1)], [value(name, 1, 1.0)])
        with pytest.raises(RetryableError):
            await sink.load_cells([(name, "", "", "1m", START)])
        clickhouse_proxy.set(Mode.PASS)
        await sink.write([cell(name, 2)], [value(name, 2, 2.0)])
        await sink.write([cell(name, 1)], [value(name, 1, 1.0)])

    with_clickhouse(f"http://127.0.0.1:{clickhouse_proxy.port}", act, timeout_s=0.7)
    assert shown(clickhouse_server.url, name) == [(2.0, 1, 0, "open", 0, 2)]


def test_a_server_that_was_killed_is_reached_again(tmp_path: Any) -> None:
    server = start_clickhouse(tmp_path)

    async def act(clickhouse: ClickHouse) -> None:
        await clickhouse.rows("SELECT 1")
        server.kill()
        with pytest.raises(RetryableError):
            await clickhouse.rows("SELECT 1")
        again = start_clickhouse(tmp_path, port=server.port)
        try:
            assert await clickhouse.rows("SELECT 1") == [(1,)]
        finally:
            again.stop()

    with_clickhouse(server.url, act)


def test_a_missing_table_is_permanent(tmp_path: Any) -> None:
    server = start_clickhouse(tmp_path)

    async def act(clickhouse: ClickHouse) -> None:
        with pytest.raises(PermanentError) as caught:
            await WindowsSink(clickhouse).write([cell("m", 1)], [])
        assert caught.value.reason in ("unknown_database", "unknown_table")

    try:
        with_clickhouse(server.url, act)
    finally:
        server.stop()
