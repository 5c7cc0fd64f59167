"""Native for clients with a protocol version, as Grafana's plugin reads it."""

from collections.abc import Iterator

import pytest

from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.native import with_version
from tests.clickhouse_server.http import Http

BLOCK_INFO = bytes.fromhex("01000200")[:2] + bytes.fromhex("02ffffffff00")


def test_bytes_of_a_block(http: Http) -> None:
    query = "SELECT toUInt16(258) AS a, 'xy' AS b FORMAT Native"
    assert http.post(query).body == b"\x02\x01\x01a\x06UInt16\x02\x01\x01b\x06String\x02xy"
    answer = http.post(query, client_protocol_version="54460")
    assert answer.body == BLOCK_INFO + b"\x02\x01\x01a\x06UInt16\x00\x02\x01\x01b\x06String\x00\x02xy"
    # Clients of older versions, clickhouse-connect among them, read what the engine writes.
    assert http.post(query, client_protocol_version="54405").body == http.post(query).body
    assert http.post("SELECT 1", client_protocol_version="54460").text == "1\n"
    assert http.post("SELECT 1", client_protocol_version="x").code == 408


COLUMNS = [
    "number",
    "toString(number)",
    "toFixedString('abc', 3)",
    "toLowCardinality(toString(number % 300))",
    "CAST(if(number % 3 = 0, NULL, toString(number % 7)), 'LowCardinality(Nullable(String))')",
    "if(number % 2 = 0, NULL, number)",
    "range(number % 4)",
    "arrayMap(x -> toString(x), range(number % 3))",
    "arrayMap(x -> range(x), range(number % 3))",
    "CAST([], 'Array(String)')",
    "CAST(arrayMap(x -> toString(x % 5), range(number % 3)), 'Array(LowCardinality(String))')",
    "CAST([], 'Array(LowCardinality(String))')",
    "map('k', number, toString(number), 2)",
    "CAST(map('a', [number]), 'Map(LowCardinality(String), Array(UInt64))')",
    "tuple(number, 'x', [1.5])",
    "CAST((number, 'x'), 'Tuple(`a b` UInt64, c String)')",
    "tuple()",
    "CAST('y', $$Enum8('x' = 1, 'y, (' = 2, 'y' = 3)$$)",
    "toDateTime64('2026-01-02 03:04:05.678', 3, 'Europe/Berlin')",
    "toDateTime(number, 'UTC')",
    "toDate('2026-01-02')",
    "toDecimal32(1.5, 2), toDecimal64(1.5, 4), toDecimal128(1.5, 4), toDecimal256(1.5, 4)",
    "generateUUIDv4(), toIPv4('1.2.3.4'), toIPv6('::1'), true, toInt128(1), toUInt256(1), toFloat32(1)",
    "INTERVAL 1 DAY",
    "NULL",
    "CAST(number, 'SimpleAggregateFunction(sum, UInt64)')",
]


@pytest.mark.parametrize("rows", [1, 70_000])
def test_every_column_ends_where_it_should(http: Http, rows: int) -> None:
    for column in COLUMNS:
        query = f"SELECT 1 AS first, {column}, 'last' AS last FROM numbers({rows}) FORMAT Native"
        plain = http.post(query.replace("generateUUIDv4()", "toUUID('61f0c404-5cb3-11e7-907b-a6006ad3dba0')")).body
        rewritten = b"".join(with_version(plain))
        columns = 3 + column.count(", to") * column.startswith(("toDecimal32", "generateUUID")) + column.count(", true")
        blocks = rewritten.count(b"\x04last\x06String\x00")
        assert blocks == plain.count(b"\x04last\x06String") > 0
        assert len(rewritten) - len(plain) == blocks * (len(BLOCK_INFO) + columns), column


def test_what_cannot_be_rewritten(http: Http) -> None:
    answer = http.post("SELECT uniqState(1) FORMAT Native", client_protocol_version="54460")
    assert (answer.code, answer.status) == (48, 501)
    block = http.post("SELECT 'some text' AS a FORMAT Native").body
    for cut in range(1, len(block)):
        with pytest.raises(ClickHouseError):
            _all(with_version(block[:cut]))


def test_a_column_named_by_bytes_that_are_no_text(http: Http) -> None:
    """ClickHouse allows any bytes as a name; the blocks are rewritten all the same."""
    plain = http.post("SELECT 1 AS `a\\xffb` FORMAT Native").body
    assert b"a\xffb" in plain
    assert len(_all(with_version(plain))) == len(plain) + len(BLOCK_INFO) + 1


@pytest.mark.parametrize(
    "block",
    [
        b"\x01\x01\x01c\x0eDecimal(38- 4)" + bytes(16),
        b"\x01\x01\x01c\x0aDecimal(x)" + bytes(16),
        b"\x01\x01\x01c\x0bDecimal(99)" + bytes(32),
        b"\x01\x01\x01c\x16LowCardinality(String)" + bytes(8) + b"\x09" + bytes(40),
        b"\x01\x01\x01c\x08Nullable\x00\x00",
        b"\xff" * 100_000,
    ],
)
def test_blocks_that_nobody_writes(block: bytes) -> None:
    """Types that are none, indexes of no width, numbers without an end: a ClickHouse error, no other."""
    with pytest.raises(ClickHouseError):
        _all(with_version(block))


def _all(pieces: Iterator[bytes]) -> bytes:
    return b"".join(pieces)
