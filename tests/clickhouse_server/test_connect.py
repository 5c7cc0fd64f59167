"""clickhouse-connect, sync and async: types, inserts, parameters, errors, concurrency."""

import asyncio
import datetime as dt
import decimal
import gzip
import threading
import uuid
from collections.abc import Callable

import clickhouse_connect
import lz4.frame
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import zstandard
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError
from clickhouse_connect.driver.external import ExternalData

from tests.support.clickhouse import ClickHouseHandle

ROWS = 200_000
NOW = dt.datetime(2026, 3, 4, 5, 6, 7, 123000, tzinfo=dt.UTC)
CREATE = "CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a"


def _frames(block: bytes) -> bytes:
    """A frame for each half megabyte, as clients do it that compress piece by piece."""
    return b"".join(lz4.frame.compress(block[at : at + 500_000]) for at in range(0, len(block), 500_000))


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": _frames,
    "zstd": zstandard.ZstdCompressor(level=1).compress,
    "gzip": lambda block: gzip.compress(block, 1),
}


def _client(server: ClickHouseHandle, database: str, compress: str | bool) -> Client:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, database=database, compress=compress, autogenerate_session_id=False
    )


def _check_counts(client: Client, rows: int = ROWS) -> None:
    result = client.query("SELECT count(), uniqExact(a), sum(a) FROM t").result_rows
    assert result == [(rows, rows, sum(range(rows)))]


@pytest.mark.parametrize("compress", ["lz4", "zstd", "gzip", False, True])
def test_insert_counts_every_row(server: ClickHouseHandle, database: str, compress: str | bool) -> None:
    with _client(server, database, compress) as client:
        client.command(CREATE)
        # As columns: many blocks, and for each compression many frames in one chunked body.
        columns = [list(range(ROWS)), [f"text {number}" for number in range(ROWS)]]
        summary = client.insert("t", columns, column_names=["a", "b"], column_oriented=True)
        assert summary.written_rows == ROWS
        _check_counts(client)
        assert client.query("SELECT countIf(b = concat('text ', toString(a))) FROM t").result_rows == [(ROWS,)]
        assert len(client.query("SELECT * FROM t").result_rows) == ROWS


@pytest.mark.parametrize("compress", ["lz4", False])
def test_insert_df_and_arrow(server: ClickHouseHandle, database: str, compress: str | bool) -> None:
    with _client(server, database, compress) as client:
        client.command(CREATE)
        frame = pd.DataFrame({"a": np.arange(ROWS, dtype=np.uint64), "b": [f"text {n}" for n in range(ROWS)]})
        client.insert_df("t", frame)
        _check_counts(client)
        assert len(client.query_df("SELECT * FROM t")) == ROWS
        client.command("TRUNCATE TABLE t")
        client.insert_arrow("t", pa.Table.from_pandas(frame))
        _check_counts(client)
        assert client.query_arrow("SELECT * FROM t").num_rows == ROWS


@pytest.mark.parametrize("compression", [None, "gzip", "zstd", "lz4"])
@pytest.mark.parametrize("data_format", ["Native", "RowBinary", "JSONEachRow", "CSV", "TSV", "Parquet", "Values"])
def test_raw_insert(client: Client, data_format: str, compression: str | None) -> None:
    client.command(CREATE)
    select = f"SELECT number AS a, repeat('x', number % 30) AS b FROM numbers({ROWS})"
    block = client.raw_query(select, fmt=data_format)
    if compression is not None:
        block = COMPRESS[compression](block)
    client.raw_insert("t", ["a", "b"], block, fmt=data_format, compression=compression)
    _check_counts(client)


def test_types_come_back_as_they_went(client: Client) -> None:
    client.command(
        "CREATE TABLE t (i Int32, s String, l LowCardinality(String), n Nullable(Float64), d DateTime64(3, 'UTC'),"
        " m Decimal(18, 4), r Array(UInt32), u UUID, o Map(String, Int64), e Enum8('x' = 1, 'y' = 2), c Date, b Bool)"
        " ENGINE = MergeTree ORDER BY i"
    )
    rows = [
        (
            number,
            "snow ☃\n\0",
            f"low {number % 3}",
            None if number % 2 else 0.5,
            NOW,
            decimal.Decimal("-1.2345"),
            [1, 2, number],
            uuid.UUID(int=number),
            {"k": -1},
            "y",
            NOW.date(),
            True,
        )
        for number in range(1000)
    ]
    client.insert("t", rows)
    back = client.query("SELECT * FROM t ORDER BY i", tz_mode="aware").result_rows
    assert [tuple(row) for row in back] == rows


def test_parameters_settings_and_errors(client: Client) -> None:
    values = client.query(
        "SELECT {a:Array(String)}, {d:DateTime64(3, 'UTC')}, {s:String}",
        parameters={"a": ["it's", "tab\t"], "d": NOW, "s": "quote ' back \\ line\n"},
        tz_mode="aware",
    )
    assert values.result_rows == [(["it's", "tab\t"], NOW, "quote ' back \\ line\n")]
    assert client.query("SELECT getSetting('max_threads')", settings={"max_threads": 3}).result_rows == [(3,)]
    with pytest.raises(DatabaseError) as caught:
        client.query("SELECT * FROM missing")
    assert (caught.value.code, caught.value.name) == (60, "UNKNOWN_TABLE")
    assert client.command("SELECT 1") == 1
    assert client.ping()
    columns = client.query("SELECT 1 AS a, 'x' AS b LIMIT 0")
    assert columns.column_names == ("a", "b")
    external = ExternalData(file_name="x.csv", data=b"1,a\n2,b\n", fmt="CSV", structure=["id UInt32", "n String"])
    assert client.query("SELECT * FROM x ORDER BY id", external_data=external).result_rows == [(1, "a"), (2, "b")]


def test_streams(client: Client) -> None:
    with client.query_row_block_stream("SELECT number FROM numbers(500000)") as stream:
        assert sum(len(block) for block in stream) == 500_000
    with client.query_df_stream("SELECT number FROM numbers(500000)") as frames:
        assert sum(len(frame) for frame in frames) == 500_000


def test_form_encoded_parameters(server: ClickHouseHandle) -> None:
    with clickhouse_connect.get_client(host="127.0.0.1", port=server.port, form_encode_query_params=True) as client:
        assert client.query("SELECT {a:Int32}, {s:String}", parameters={"a": 3, "s": "é"}).result_rows == [(3, "é")]


def test_async_client(server: ClickHouseHandle, database: str) -> None:
    async def run() -> None:
        client = await clickhouse_connect.get_async_client(
            host="127.0.0.1", port=server.port, database=database, compress="lz4"
        )
        await client.command(CREATE)
        part = ROWS // 8
        await asyncio.gather(
            *(
                client.insert("t", [[number, "x" * 100] for number in range(at, at + part)], column_names=["a", "b"])
                for at in range(0, ROWS, part)
            )
        )
        result = await client.query("SELECT count(), uniqExact(a), sum(a) FROM t")
        assert result.result_rows == [(ROWS, ROWS, sum(range(ROWS)))]
        with pytest.raises(DatabaseError) as caught:
            await client.query("SELECT missing")
        assert caught.value.code == 47
        await client.close()

    asyncio.run(run())


def test_readers_and_writers_at_once(server: ClickHouseHandle, database: str) -> None:
    with _client(server, database, "lz4") as client:
        client.command(CREATE)
    failures: list[BaseException] = []
    seen: list[int] = []

    def work(writer: int | None) -> None:
        try:
            with _client(server, database, "lz4") as one:
                for batch in range(20):
                    if writer is None:
                        seen.append(int(one.query("SELECT count() FROM t").result_rows[0][0]))
                        continue
                    first = (writer * 20 + batch) * 500
                    rows = [[number, "x" * 50] for number in range(first, first + 500)]
                    one.insert("t", rows, column_names=["a", "b"])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(writer,)) for writer in (0, 1, 2, 3, None, None)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert all(count % 500 == 0 for count in seen)
    with _client(server, database, False) as client:
        _check_counts(client, 4 * 20 * 500)
