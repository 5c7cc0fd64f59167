"""Every row of an insert arrives, in every format, encoding and way of sending it, or none does."""

import gzip
import json
from collections.abc import Callable, Iterator

import lz4.frame
import pytest
import zstandard

from tests.clickhouse_server.http import Http

ROWS = 200_000
FORMATS = [
    "Native",
    "RowBinary",
    "RowBinaryWithNames",
    "RowBinaryWithNamesAndTypes",
    "JSONEachRow",
    "JSONCompactEachRow",
    "JSON",
    "CSV",
    "CSVWithNames",
    "TSV",
    "TabSeparatedWithNames",
    "Values",
    "Parquet",
    "Arrow",
    "ArrowStream",
    "ORC",
    "MsgPack",
]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor(level=1).compress,
    "gzip": lambda data: gzip.compress(data, 1),
}
CREATE = "CREATE TABLE t (a UInt64, b String) ENGINE = MergeTree ORDER BY a"
TRUTH = f"{ROWS}\t{ROWS}\t{sum(range(ROWS))}\n"


def _rows(http: Http, data_format: str, count: int = ROWS) -> bytes:
    # Line ends, quotes and semicolons within the values: a parser that looks for them loses rows.
    select = f"SELECT number AS a, concat(toString(number), ';\\n\\r\\n\\'\"\\t\\\\') AS b FROM numbers({count})"
    answer = http.post(f"{select} FORMAT {data_format}")
    assert answer.status == 200, answer.text
    return answer.body


def _check(http: Http) -> None:
    assert http.ok("SELECT count(), uniqExact(a), sum(a) FROM t") == TRUTH
    assert http.ok("SELECT count() FROM t WHERE b != concat(toString(a), ';\\n\\r\\n\\'\"\\t\\\\')") == "0\n"


@pytest.mark.parametrize("data_format", FORMATS)
def test_every_format(http: Http, data_format: str) -> None:
    http.ok(CREATE)
    answer = http.insert(f"INSERT INTO t FORMAT {data_format}", _rows(http, data_format))
    assert answer.status == 200, answer.text
    assert json.loads(answer.headers["X-ClickHouse-Summary"])["written_rows"] == str(ROWS)
    _check(http)


@pytest.mark.parametrize("encoding", COMPRESS)
@pytest.mark.parametrize("frames", [1, 25])
def test_every_encoding_with_the_statement_in_the_body(http: Http, encoding: str, frames: int) -> None:
    http.ok(CREATE)
    plain = b"INSERT INTO t (a, b) FORMAT Native\n" + _rows(http, "Native")
    step = len(plain) // frames + 1
    body = b"".join(COMPRESS[encoding](plain[at : at + step]) for at in range(0, len(plain), step))
    answer = http.post(body, {"Content-Encoding": encoding})
    assert answer.status == 200, answer.text
    _check(http)


def test_chunked_upload(http: Http) -> None:
    http.ok(CREATE)
    data = _rows(http, "JSONEachRow")

    def pieces() -> Iterator[bytes]:
        yield from (data[at : at + 77_777] for at in range(0, len(data), 77_777))

    answer = http.insert("INSERT INTO t FORMAT JSONEachRow", pieces())
    assert answer.status == 200, answer.text
    _check(http)


def test_body_of_50_mb(http: Http) -> None:
    http.ok(CREATE)
    select = "SELECT number AS a, repeat(toString(number % 10), 250) AS b FROM numbers(200000) FORMAT Native"
    data = http.post(select).body
    assert len(data) > 50_000_000
    assert http.insert("INSERT INTO t FORMAT Native", data).status == 200
    assert http.ok("SELECT count(), uniqExact(a), sum(a), sum(length(b)) FROM t") == TRUTH[:-1] + "\t50000000\n"
    # And out again, byte for byte.
    answer = http.post("SELECT a, b FROM t ORDER BY a FORMAT RowBinary")
    assert answer.body == http.post(select.replace("Native", "RowBinary")).body


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("INSERT INTO t FORMAT CSV", "1,x\n2,y\n"),
        ("INSERT INTO t VALUES", "(1, 'x'), (2, 'y')"),
        ("INSERT INTO t VALUES (1, 'x'),", "(2, 'y');"),
        ("", "INSERT INTO t VALUES (1, 'x'),\n\n(2, 'y');"),
        ("", "-- FORMAT TSV\nINSERT INTO t (b, a) VALUES ('x', 1), ('y', 2)"),
        ("", 'INSERT INTO t SETTINGS max_threads = 1 FORMAT JSONEachRow\n{"a": 1, "b": "x"} {"a": 2, "b": "y"}'),
        ("", "INSERT INTO t FORMAT TSV SETTINGS max_threads = 1\n1\tx\n2\ty\n"),
        ("INSERT INTO t SELECT a, lower(b) FROM input('a UInt64, b String') FORMAT CSV", "1,X\n2,Y"),
        ("INSERT INTO t SELECT number + 1, char(120 + number) FROM numbers(2)", ""),
        ("", "INSERT INTO t WITH n AS (SELECT number FROM numbers(2)) SELECT number + 1, char(120 + number) FROM n"),
        ("INSERT INTO t VALUES ({first:UInt64}, 'x'), (2, {second:String})", ""),
    ],
)
def test_ways_to_write_an_insert(http: Http, query: str, body: str) -> None:
    http.ok(CREATE)
    parameters = {"param_first": "1", "param_second": "y"}
    answer = http.post(body, None, query=query, **parameters) if query else http.post(body, None, **parameters)
    assert answer.status == 200, answer.text
    assert http.ok("SELECT * FROM t ORDER BY a") == "1\tx\n2\ty\n"


@pytest.mark.parametrize(
    ("data_format", "spoil"),
    [
        ("Native", lambda data: data[:-3]),
        ("RowBinary", lambda data: data[:-1]),
        ("JSONEachRow", lambda data: data + b'{"a": "no number", "b": "x"}'),
        ("CSV", lambda data: data + b'no number,"x"\n'),
        ("TSV", lambda data: data + b"a line too many"),
        ("Values", lambda data: data + b", (1, )"),
        ("Parquet", lambda data: data[: len(data) // 2]),
    ],
)
def test_malformed_data_leaves_no_rows(http: Http, data_format: str, spoil: Callable[[bytes], bytes]) -> None:
    http.ok(CREATE)
    answer = http.insert(f"INSERT INTO t FORMAT {data_format}", spoil(_rows(http, data_format)))
    assert answer.status >= 400
    assert answer.code > 0
    assert f"Code: {answer.code}. DB::Exception: " in answer.text
    assert http.ok("SELECT count() FROM t") == "0\n"


@pytest.mark.parametrize("encoding", COMPRESS)
def test_malformed_compression_leaves_no_rows(http: Http, encoding: str) -> None:
    http.ok(CREATE)
    whole = COMPRESS[encoding](_rows(http, "Native"))
    for body in (whole[:-1], whole[: len(whole) // 2], whole + whole[: len(whole) // 2], b"\x00" + whole):
        answer = http.insert("INSERT INTO t FORMAT Native", body, {"Content-Encoding": encoding})
        assert (answer.status, answer.code in (354, 561, 618)) == (500, True), answer.text
    assert http.ok("SELECT count() FROM t") == "0\n"


def test_upload_that_breaks_off_leaves_no_rows(http: Http) -> None:
    http.ok(CREATE)
    target = f"/?database={http.database}&query=INSERT+INTO+t+FORMAT+TSV".encode()
    head = b"POST " + target + b" HTTP/1.1\r\nHost: x\r\n"
    rows = b"1\tx\n" * 1000
    half_a_length = head + b"Content-Length: 100000\r\n\r\n" + rows
    no_last_chunk = head + b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % len(rows) + rows + b"\r\n"
    for request in (half_a_length, no_last_chunk):
        assert b"200 OK" not in http.raw(request)
    assert http.ok("SELECT count() FROM t") == "0\n"


def test_errors_of_inserts(http: Http) -> None:
    http.ok(CREATE)
    for statement, code, status in (
        ("INSERT INTO missing FORMAT CSV", 60, 404),
        ("INSERT INTO t (a, missing) FORMAT CSV", 16, 500),
        ("INSERT INTO t FORMAT Missing", 73, 404),
        ("INSERT INTO t SETTINGS missing = 1 FORMAT CSV", 115, 404),
        ("INSERT INTO t", 62, 400),
        ("INSERT INTO t FROM INFILE 'x' FORMAT CSV", 78, 404),
    ):
        answer = http.insert(statement, "1,x\n")
        assert (answer.code, answer.status) == (code, status), answer.text
    assert http.ok("SELECT count() FROM t") == "0\n"


def test_asynchronous_inserts_are_acknowledged_only_when_done(http: Http) -> None:
    http.ok(CREATE)
    for number, statement in enumerate(
        ("INSERT INTO t FORMAT CSV", "INSERT INTO t SETTINGS async_insert = 1, wait_for_async_insert = 0 FORMAT CSV")
    ):
        answer = http.insert(statement, f"{number},x\n", async_insert="1", wait_for_async_insert="0")
        assert answer.status == 200, answer.text
        assert http.ok("SELECT count() FROM t") == f"{number + 1}\n"


def test_an_empty_body_inserts_nothing(http: Http) -> None:
    http.ok(CREATE)
    for encoding in ("", "lz4", "gzip"):
        headers = {"Content-Encoding": encoding} if encoding else {}
        assert http.insert("INSERT INTO t FORMAT Native", b"", headers).status == 200
    assert http.ok("SELECT count() FROM t") == "0\n"


_SWALLOWED = {
    "a constraint": ("CONSTRAINT small CHECK a < 5", "", "9\n", "VIOLATED_CONSTRAINT"),
    "too many parts": ("", "SETTINGS parts_to_throw_insert = 1, parts_to_delay_insert = 0", "1\n", "TOO_MANY_PARTS"),
    "too many partitions": ("", "PARTITION BY a", "".join(f"{n}\n" for n in range(200)), "TOO_MANY_PARTS"),
}


@pytest.mark.parametrize("case", _SWALLOWED)
def test_what_fails_when_the_rows_are_stored_is_told(http: Http, case: str) -> None:
    """chDB's streaming insert answered with 200 and the number of rows, and they were gone."""
    column, clause, rows, error = _SWALLOWED[case]
    partition, settings = (clause, "") if clause.startswith("PARTITION") else ("", clause)
    columns = ", ".join(filter(None, ("a UInt64", column)))
    http.ok(f"CREATE TABLE t ({columns}) ENGINE = MergeTree {partition} ORDER BY a {settings}")
    http.ok("SYSTEM STOP MERGES t")
    http.ok("INSERT INTO t VALUES (1)")
    answer = http.insert("INSERT INTO t FORMAT TSV", rows.encode())
    assert answer.status >= 400 and error in answer.text
    assert http.ok("SELECT count() FROM t") == "1\n"


def test_a_view_that_fails_is_told(http: Http) -> None:
    """Rows may lie in the source then: who inserts must know, and repeat it."""
    http.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    http.ok("CREATE TABLE u (a UInt64) ENGINE = MergeTree ORDER BY a")
    http.ok("CREATE MATERIALIZED VIEW v TO u AS SELECT a + throwIf(a = 7, 'no sevens') AS a FROM t")
    answer = http.insert("INSERT INTO t FORMAT TSV", b"7\n")
    assert answer.status >= 400 and "no sevens" in answer.text
    assert http.insert("INSERT INTO t FORMAT TSV", b"8\n").status == 200
    assert http.ok("SELECT count() FROM u") == "1\n"


def test_two_clauses_of_settings(http: Http) -> None:
    http.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree PARTITION BY a ORDER BY a")
    rows = "".join(f"{n}\n" for n in range(150)).encode()
    head = "INSERT INTO t SETTINGS max_partitions_per_insert_block = 0"
    assert http.insert(f"{head} FORMAT TSV SETTINGS input_format_tsv_empty_as_default = 1", rows).status == 200
    assert http.ok("SELECT count() FROM t") == "150\n"
