"""The chDB engine of this process: one data directory, and a fresh connection with clean settings for each request."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.space import Space
from streamproc.embedded.clickhouse.spool import CHUNK, Spool

# Imported by name: the stub that chDB ships leaves out most of this module.
_chdb: Any = import_module("chdb._chdb")

# What chDB takes by default is meant for a one-off query: two background threads starve TTL and merges of many
# tables, and caches of gigabytes would fill the memory limit of a server that shares a laptop.
_SERVER_SETTINGS = {
    "background_pool_size": 4,
    "background_schedule_pool_size": 8,
    "mark_cache_size": 256 << 20,
    "uncompressed_cache_size": 0,
}


@dataclass
class Result:
    """The figures of X-ClickHouse-Summary."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0

    def summary(self, result_bytes: int) -> dict[str, str]:
        return {
            "read_rows": str(self.read_rows),
            "read_bytes": str(self.read_bytes),
            "written_rows": str(self.written_rows),
            "written_bytes": str(self.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(self.result_rows),
            "result_bytes": str(result_bytes),
            "elapsed_ns": str(self.elapsed_ns),
        }


def quoted(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def identifier(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


@contextmanager
def _engine_errors() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        # chDB raises RuntimeError (and its subclass ChdbError) with the engine's text for every failed statement.
        raise ClickHouseError.from_engine(str(error)) from error


class Connection:
    """One handle of the engine; its settings, database and temporary tables are its own."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def close(self) -> None:
        self._handle.close()

    def run(self, text: bytes | str, output_format: str = "Null", output: Spool | None = None) -> Result:
        """Run one statement that needs no data, and put what it answers into `output`."""
        with _engine_errors():
            answer = self._handle.query(text, output_format)
            if answer.has_error():
                raise ClickHouseError.from_engine(answer.error_message())
        if output is not None and answer.size():
            memory = answer.get_memview()
            view = memory.view()
            # In pieces: one copy of a big result would hold the interpreter's lock, and so every other request.
            for start in range(0, len(view), CHUNK):
                output.write(bytes(view[start : start + CHUNK]))
        return Result(
            read_rows=answer.storage_rows_read(),
            read_bytes=answer.storage_bytes_read(),
            written_rows=answer.rows_written(),
            written_bytes=answer.bytes_written(),
            result_rows=answer.rows_read(),
            elapsed_ns=int(answer.elapsed() * 1e9),
        )

    def stream(self, text: bytes, output_format: str, output: Spool) -> Result:
        """Like `run`, block by block and so in little memory, for a SELECT in a format that is only rows."""
        result = Result()
        started = time.perf_counter_ns()
        with _engine_errors():
            blocks = self._handle.send_query(text, output_format)
            while (block := self._handle.streaming_fetch_result(blocks)) is not None and block.size():
                if block.has_error():
                    raise ClickHouseError.from_engine(block.error_message())
                output.write(block.bytes())
                result.result_rows += block.rows_read()
                # The engine counts what it has read from storage over the whole query, not by block.
                result.read_rows = max(result.read_rows, block.storage_rows_read())
                result.read_bytes = max(result.read_bytes, block.storage_bytes_read())
        result.elapsed_ns = time.perf_counter_ns() - started
        return result

    def insert(self, head: bytes, settings: bytes, data_format: str, path: Path) -> Result:
        """Run an INSERT with the rows that a file holds in a format.

        Not by chDB's streaming insert: it answers as if all were well whatever fails when the rows are stored (no space,
        too many parts, a constraint, a view), and the rows are gone.
        """
        source = f" FROM INFILE {quoted(str(path))} COMPRESSION 'none' ".encode()
        return self.run(head + source + settings + f" FORMAT {data_format}".encode())

    def read_only(self, text: bytes) -> bool:
        return bool(self._handle.classify_query(text)["query_class"] == _chdb.query_class.READ_ONLY)

    def apply(self, settings: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Settings and query parameters for what runs next on this connection."""
        changes = [f"{name} = {quoted(value)}" for name, value in settings.items()]
        changes += [f"param_{name} = {quoted(value)}" for name, value in params.items()]
        if changes:
            self.run("SET " + ", ".join(changes))

    def use(self, database: str) -> None:
        self.run(f"USE {identifier(database)}")


class Engine:
    """Opens the data directory, hands out connections and closes it."""

    def __init__(self, directory: Path, max_memory: int) -> None:
        options = {**_SERVER_SETTINGS, "max_server_memory_usage": max_memory}
        self._path = str(directory)
        with _engine_errors():
            # Kept open: the engine lives as long as one connection does.
            self._main = _chdb.connect(self._path + "?" + "&".join(f"{k}={v}" for k, v in options.items()))
            row = self._main.query("SELECT version(), timezone(), displayName()", "TSVRaw").bytes()
        self.version, self.timezone, self.display_name = row.decode().rstrip("\n").split("\t")
        self.space = Space(directory, self._run_merges)

    def connect(self) -> Connection:
        with _engine_errors():
            return Connection(_chdb.connect(self._path))

    def close(self) -> None:
        self.space.close()
        self._main.close()

    def _run_merges(self, run: bool) -> None:
        connection = self.connect()
        try:
            connection.run("SYSTEM START MERGES" if run else "SYSTEM STOP MERGES")
        finally:
            connection.close()
