"""Statements as the ClickHouse server and the migrations read them: where data begins, where statements end."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.statement import Insert, InsertThroughInput, Query, parse
from streamproc.migrate import known_migrations
from streamproc.sql_text import split_statements
from tests.fuzz.mutate import NASTY, mutated
from tests.fuzz.target import Target, Wrong, each

_WORDS: Final = (
    *(
        b"SELECT INSERT INTO TABLE FUNCTION FORMAT VALUES WITH FROM INFILE OUTFILE SETTINGS input( ) ( , ; = 1 'x' `t` \"t\" CSV"
        b" Native JSONEachRow TabSeparated max_threads CREATE TEMPORARY AS x.y numbers(3) UNION ALL {p:UInt8} [1,2] -- /* */ # #!"
        b" $$ $tag$ \\' '' \n \t \r\n \xff \xc2\xa0 0x1F 1e5 1.5 a$b EXPLAIN SHOW ALTER DROP"
    ).split(b" "),
    b" ",
    b"\n",
    b"' '",
    b"--\n",
    b"/* ; */",
    b"'a;b'",
    b"$$;$$",
    b"`;`",
)
_STATEMENTS: Final = (
    *(each.encode() for migration in known_migrations() for each in migration.statements if len(each) < 3000),
    b"SELECT 1",
    b"SELECT format, values FROM system.formats WHERE name = 'x' FORMAT JSON SETTINGS a = 1;",
    b"INSERT INTO t (a, b) FORMAT Native\n\x01\x02",
    b"INSERT INTO t VALUES (1, 'a;b'), (2, '')",
    b'INSERT INTO t FORMAT JSONEachRow {"a": 1}\n{"a": "FORMAT CSV"}',
    b"INSERT INTO t SELECT a FROM input('a UInt8') WHERE a > 1 FORMAT CSV\n1\n2\n",
    b"INSERT INTO t FORMAT CSV SETTINGS async_insert = 1, x = 'y'\n1,2\n",
    b"WITH 1 AS x SELECT x INTO OUTFILE 'f'",
    b"/* INSERT */ SELECT '\\'' -- INSERT INTO t FORMAT CSV\n, $$;$$, \"a\\\"b\", `c``d`",
)
_BLANK: Final = (b" ", b"\n", b"\t", b" /* INSERT ; ' */ ", b" -- FORMAT CSV\n", b"\r\n", b" #! ' \n")
_FORMATS: Final = (b"CSV", b"JSONEachRow", b"Native", b"TabSeparated", b"RowBinary", b"Parquet")


def _statement(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.35:
        return mutated(rng, rng.choice(_STATEMENTS), _STATEMENTS)
    if kind < 0.7:
        return b" ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 20)))
    if kind < 0.999:
        return b"\x00known" + _known_insert(rng)
    return rng.choice(_WORDS) * rng.choice((1000, 60_000)) + rng.choice(_WORDS)


def _known_insert(rng: random.Random) -> bytes:
    """Length of the head as two bytes, then an INSERT whose data begins there."""
    table = rng.choice(
        (b"t", b"`a b`", b"db.t", b"format", b"values", b'"x""y"', b"TABLE t", b"FUNCTION remote('h', 'd.t')")
    )
    columns = rng.choice((b"", b"(a, b)", b"(`format`, values)", b"(* EXCEPT(a))"))
    settings = rng.choice((b"", b"SETTINGS a = 1, b = 'FORMAT CSV'"))
    parts: Sequence[bytes] = (
        b"INSERT",
        b"INTO",
        table,
        columns,
        settings,
        rng.choice((b"FORMAT", b"format")),
        rng.choice(_FORMATS),
    )
    head = (
        b"".join(part + rng.choice(_BLANK) for part in parts[:-1] if part)
        + parts[-1]
        + rng.choice((b"\n", b" \n", b"\r\n"))
    )
    data = rng.choice((b"x", b"1", b"{", b"\x01", b"'", b"-")) + rng.choice((rng.randbytes(rng.randint(0, 40)), *NASTY))
    return len(head).to_bytes(2, "big") + head + data


def _check_statement(value: bytes) -> None:
    known = value.startswith(b"\x00known")
    text = value[8:] if known else value
    try:
        found = parse(text)
    except ClickHouseError as error:
        if known:
            raise Wrong(f"a plain INSERT is refused: {error.message}") from None
        return
    if isinstance(found, Query):
        if known or found.text != text:
            raise Wrong(f"taken for {found}")
        return
    if not 0 <= found.data_at <= len(text):
        raise Wrong(f"data begins at {found.data_at} of {len(text)}")
    if known and (not isinstance(found, Insert) or found.data_at != int.from_bytes(value[6:8], "big")):
        raise Wrong(f"data begins at {int.from_bytes(value[6:8], 'big')}, found {found}")
    if isinstance(found, InsertThroughInput) and len(found.before) + len(found.after) > len(text) + 2:
        raise Wrong("more was found than there is")


def _script(rng: random.Random) -> bytes:
    if rng.random() < 0.5:
        text = b";\n".join(rng.choice(_STATEMENTS) for _ in range(rng.randint(1, 3)))
        return mutated(rng, text, _STATEMENTS)
    return b" ".join(rng.choice(_WORDS) for _ in range(rng.randint(1, 30)))


def _check_script(value: bytes) -> None:
    text = value.decode("utf-8", "replace")
    try:
        found = split_statements(text)
    except ValueError:
        return
    if any(not statement.strip() for statement in found):
        raise Wrong("an empty statement")
    again = split_statements(";".join(found))
    if again != found:
        raise Wrong(f"split again it is {again}, and was {found}")


TARGETS = [
    Target("sql-statement", "the statement parser of the ClickHouse server", _statement, each(_check_statement), 1000),
    Target("sql-script", "cutting migrations into statements", _script, each(_check_script), 1000),
]
