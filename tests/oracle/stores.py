"""What the service has written: ClickHouse over plain HTTP as Parquet into DuckDB, Redis, and its own Kafka topics."""

from __future__ import annotations

import base64
import http.client
import tempfile
import urllib.parse
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import orjson
import redis

from tests.oracle.log import Unreachable, first_8

_CHUNK: Final = 1000
_TIMEOUT_S: Final = 600


class ClickHouse:
    """SQL over HTTP. `url`: http://[user:password@]host:port."""

    def __init__(self, url: str) -> None:
        self._url = urllib.parse.urlsplit(url)

    def into(self, db: duckdb.DuckDBPyConnection, table: str, sql: str) -> None:
        """The rows of a SELECT as a DuckDB table.

        Raises:
            Unreachable: no answer, or an error, with its text.
        """
        with tempfile.NamedTemporaryFile(suffix=".parquet") as file:
            with self._answer(f"{sql} FORMAT Parquet") as answer:
                while block := answer.read(1 << 20):
                    file.write(block)
            file.flush()
            db.execute(f"CREATE OR REPLACE TABLE {table} AS FROM read_parquet($file)", {"file": file.name})

    def rows(self, sql: str) -> list[list[Any]]:
        """The rows of a small SELECT."""
        with self._answer(f"{sql} FORMAT JSONCompactEachRow") as answer:
            return [orjson.loads(line) for line in answer.read().splitlines()]

    @contextmanager
    def _answer(self, sql: str) -> Iterator[http.client.HTTPResponse]:
        url = self._url
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        if url.username:
            name, secret = urllib.parse.unquote(url.username), urllib.parse.unquote(url.password or "")
            headers["Authorization"] = "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()
        kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
        connection = kind(url.hostname or "127.0.0.1", url.port or 8123, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", "/", sql.encode(), headers)
            answer = connection.getresponse()
            if answer.status != 200:
                raise Unreachable(f"ClickHouse: {answer.read(500).decode(errors='replace')} ({sql[:80]})")
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"ClickHouse does not answer: {error}") from error
        finally:
            connection.close()


class Redis:
    """Hashes by key, in batches."""

    def __init__(self, url: str, prefix: str) -> None:
        self._client = redis.Redis.from_url(url, decode_responses=True)
        self.prefix = prefix

    def hashes(self, keys: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
        """(key without prefix, hash; {} if it is not there) of each key."""
        for first in range(0, len(keys), _CHUNK):
            part = keys[first : first + _CHUNK]
            pipe = self._client.pipeline(transaction=False)
            for key in part:
                pipe.hgetall(self.prefix + key)
            try:
                replies = pipe.execute()
            except redis.RedisError as error:
                raise Unreachable(f"Redis: {error}") from error
            yield from zip(part, replies, strict=True)

    def keys(self, pattern: str) -> set[str]:
        """Keys (without prefix) that match a pattern."""
        try:
            found = self._client.scan_iter(match=self.prefix + pattern, count=1000)
            return {key.removeprefix(self.prefix) for key in found}
        except redis.RedisError as error:
            raise Unreachable(f"Redis: {error}") from error


class DeadLetterTable:
    """The topic `dead-letters` as table `dead` (topic, part, log_id, off, reason, error, digest, key_crc, place)."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        db.execute("""
            CREATE OR REPLACE TABLE dead (topic VARCHAR, part BIGINT, log_id VARCHAR, off BIGINT, reason VARCHAR,
                                          error VARCHAR, digest UBIGINT, key_crc UBIGINT, place VARCHAR)""")
        self._rows: list[tuple[Any, ...]] = []

    def add(self, records: Iterable[Any]) -> None:
        """Take records of the topic; one without our headers counts for topic ''."""
        for record in records:
            headers = {name: value or b"" for name, value in record.headers or ()}
            text = {
                name: headers.get(name, b"").decode(errors="replace") for name in ("topic", "log_id", "reason", "error")
            }
            part, off = (_number(headers.get(name)) for name in ("partition", "offset"))
            where = f"dead-letters/{record.partition}/{record.offset}"
            bytes_of = first_8(record.value), zlib.crc32(headers.get("key", b""))
            self._rows.append(
                (text["topic"], part, text["log_id"], off, text["reason"], text["error"], *bytes_of, where)
            )

    def close(self) -> None:
        """Write what was taken."""
        write(self._db, "dead", self._rows)


def _number(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() else -1


def write(db: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    """Append rows to a table through JSON lines, which is hundreds of times as fast as a statement a row."""
    if not rows:
        return
    names = [column[0] for column in db.execute(f"FROM {table} LIMIT 0").description or ()]
    kinds = [row[1] for row in db.execute(f"DESCRIBE {table}").fetchall()]
    shape = ", ".join(f"{name}: '{kind}'" for name, kind in zip(names, kinds, strict=True))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        with path.open("wb") as out:
            out.writelines(orjson.dumps(dict(zip(names, row, strict=True))) + b"\n" for row in rows)
        db.execute(
            f"INSERT INTO {table} SELECT {', '.join(names)} FROM read_json($file, format = 'newline_delimited', "
            f"columns = {{{shape}}})",
            {"file": str(path)},
        )
