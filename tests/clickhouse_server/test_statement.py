"""Where an INSERT's data begins, and what only looks like an INSERT with data."""

import pytest

from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.statement import Insert, InsertThroughInput, Query, parse


@pytest.mark.parametrize(
    ("text", "head", "data_format", "data"),
    [
        (b"INSERT INTO t FORMAT Native\n\x01\x02", b"INSERT INTO t ", "Native", b"\x01\x02"),
        (b"INSERT INTO t FORMAT Native\n\n\x01", b"INSERT INTO t ", "Native", b"\n\x01"),
        (b"INSERT INTO t FORMAT CSV\r\n1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV 1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"insert into t(a, b) values (1,'x')", b"insert into t(a, b) ", "Values", b" (1,'x')"),
        (
            b"INSERT INTO t (a) SETTINGS x=1, y='FORMAT CSV' FORMAT Native\nz",
            b"INSERT INTO t (a) SETTINGS x=1, y='FORMAT CSV' ",
            "Native",
            b"z",
        ),
        (
            b"INSERT INTO t FORMAT CSV SETTINGS a = 1, b = 'x'\n1",
            b"INSERT INTO t SETTINGS a = 1, b = 'x'",
            "CSV",
            b"1",
        ),
        (
            b"-- FORMAT CSV\n/* VALUES */ INSERT INTO t FORMAT TSV\n1",
            b"INSERT INTO t ",
            "TSV",
            b"1",
        ),
        (b"INSERT INTO `FORMAT x`.values FORMAT TSV\n1", b"INSERT INTO `FORMAT x`.values ", "TSV", b"1"),
        (b"INSERT INTO format (format, values) FORMAT TSV\n1", b"INSERT INTO format (format, values) ", "TSV", b"1"),
        (
            b"INSERT INTO FUNCTION file('FORMAT', 'CSV') FORMAT TSV\n1",
            b"INSERT INTO FUNCTION file('FORMAT', 'CSV') ",
            "TSV",
            b"1",
        ),
        (b"INSERT INTO TABLE t VALUES\n('FORMAT CSV')", b"INSERT INTO TABLE t ", "Values", b"\n('FORMAT CSV')"),
        (b"INSERT INTO t FORMAT RowBinary\n'`\"/*", b"INSERT INTO t ", "RowBinary", b"'`\"/*"),
    ],
)
def test_insert_with_data(text: bytes, head: bytes, data_format: str, data: bytes) -> None:
    statement = parse(text)
    assert isinstance(statement, Insert)
    assert (statement.format, text[statement.data_at :]) == (data_format, data)
    # A comment before the statement is not part of its head.
    assert (statement.head + statement.settings).strip() == head.strip()
    assert b"SETTINGS" not in statement.head


@pytest.mark.parametrize(
    "text",
    [
        b"INSERT INTO t SELECT 1 FORMAT Null",
        b"INSERT INTO t (a) WITH x AS (SELECT 1) SELECT * FROM x",
        b"INSERT INTO t (SELECT 1)",
        b"INSERT INTO t (a, b) (SELECT 1, 2)",
        b"WITH x AS (SELECT 1) INSERT INTO t SELECT * FROM x",
        b"EXPLAIN INSERT INTO t VALUES (1)",
    ],
)
def test_insert_without_data(text: bytes) -> None:
    statement = parse(text)
    assert isinstance(statement, Query)
    assert not statement.selects


def test_insert_through_input() -> None:
    text = b"INSERT INTO t SELECT a, upper(b) FROM input('a UInt8, b String') WHERE a > 1 FORMAT CSV\n1,x"
    statement = parse(text)
    assert isinstance(statement, InsertThroughInput)
    assert statement.before == b"INSERT INTO t SELECT a, upper(b) FROM "
    assert statement.after == b", 'a UInt8, b String') WHERE a > 1 "
    assert (statement.format, text[statement.data_at :]) == ("CSV", b"1,x")


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 FORMAT JSON;", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS max_threads = 1", "JSON"),
        (b"SELECT format FROM t", None),
        (b"SELECT format(1) FROM (SELECT 1 FORMAT JSON) x", None),
        (b"SELECT 'FORMAT JSON' -- FORMAT CSV", None),
        (b"SELECT 1; -- nothing more", None),
        (b"SELECT $a$ ; FORMAT JSON $a$", None),
    ],
)
def test_output_format(text: bytes, output: str | None) -> None:
    statement = parse(text)
    assert isinstance(statement, Query)
    assert statement.format == output


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (b"", 62),
        (b"-- only a comment", 62),
        (b"SELECT 1; SELECT 2", 62),
        (b"INSERT INTO t SELECT 1; SELECT 2", 62),
        (b"INSERT INTO t", 62),
        (b"INSERT INTO t (a, b)\n(1, 2)", 62),
        (b"INSERT INTO t FORMAT", 62),
        (b"INSERT INTO t FORMAT CSV;\n1", 62),
        (b"INSERT INTO t FROM INFILE 'x.csv' FORMAT CSV", 78),
        (b"SELECT 1 INTO OUTFILE '/tmp/x'", 358),
    ],
)
def test_refused(text: bytes, code: int) -> None:
    with pytest.raises(ClickHouseError) as caught:
        parse(text)
    assert caught.value.code == code


def test_unterminated_string_ends_quickly() -> None:
    statement = parse(b"SELECT '" + b"a''\\'" * 100_000)
    assert isinstance(statement, Query)
