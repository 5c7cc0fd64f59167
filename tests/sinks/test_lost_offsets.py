"""Lost offsets in ClickHouse: a row each, however often it is written; and the cells of one source for going on without them."""

from __future__ import annotations

from typing import Any

import msgspec

from schemas.results import Cell
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.lost_offsets_store import NOT_ARCHIVED, NOT_COUNTED, LostOffsets, LostOffsetsStore
from streamproc.sinks.windows_sink import WindowsSink
from tests.sinks.support import START, cell, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle


def test_a_row_written_again_is_the_same_row(clickhouse_server: ClickHouseHandle, name: str) -> None:
    rows = [
        LostOffsets("user-events", 3, name, 500, 549, START + 7, NOT_COUNTED),
        LostOffsets("user-events", 3, name, 2**63, 2**63 + 5, START, NOT_ARCHIVED),
    ]

    async def act(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
        store = LostOffsetsStore(clickhouse)
        for part in (rows[:1], rows, rows):
            await store.write(part)
        return await clickhouse.rows(
            "SELECT topic, partition, log_id, first, last, toUnixTimestamp64Milli(found_at), reason"
            f" FROM meta.lost_offsets FINAL WHERE log_id = '{name}' ORDER BY first"
        )

    assert with_clickhouse(clickhouse_server.url, act) == [tuple(row) for row in rows]


def test_the_newest_cells_of_one_source_above_an_offset(clickhouse_server: ClickHouseHandle, name: str) -> None:
    def of(source: str, start_ms: int, version: int) -> Cell:
        made = cell(name, version, b"%d" % version)
        return msgspec.structs.replace(made, source=source, start_ms=start_ms)

    ours, other = f"user-events/0/{name}", f"user-events/1/{name}"
    cells = [of(ours, START, 4), of(ours, START, 9), of(ours, START + 60_000, 5), of(ours, START + 120_000, 6)]

    async def act(clickhouse: ClickHouse) -> list[Cell]:
        sink = WindowsSink(clickhouse)
        await sink.write([*cells, of(other, START, 50)], [])
        return await sink.load_source(ours, 5)

    found = with_clickhouse(clickhouse_server.url, act)
    assert sorted(found, key=lambda each: each.start_ms) == [cells[1], cells[3]]
