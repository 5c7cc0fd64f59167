"""The chDB engine of this process: one data directory, and a fresh connection with clean settings for each request."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from streamproc.embedded.clickhouse.errors import ClickHouseError

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
_COPY_LIMIT = 1 << 20


@dataclass
class Result:
    """What a statement gave: bytes in the format asked for, and the figures of X-ClickHouse-Summary."""

    data: bytes | memoryview = b""
    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    elapsed_ns: int = 0
    keep: Any = None  # owns the memory that `data` looks into

    def summary(self) -> dict[str, str]:
        return {
            "read_rows": str(self.read_rows),
            "read_bytes": str(self.read_bytes),
            "written_rows": str(self.written_rows),
            "written_bytes": str(self.written_bytes),
            "total_rows_to_read": "0",
            "result_rows": str(self.result_rows),
            "result_bytes": str(len(self.data)),
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

    def run(self, text: bytes | str, output_format: str, params: Mapping[str, str] | None = None) -> Result:
        """Run one statement that needs no data."""
        with _engine_errors():
            answer = self._handle.query(text, output_format, params=dict(params or {}))
            if answer.has_error():
                raise ClickHouseError.from_engine(answer.error_message())
        result = Result(
            read_rows=answer.storage_rows_read(),
            read_bytes=answer.storage_bytes_read(),
            written_rows=answer.rows_written(),
            written_bytes=answer.bytes_written(),
            result_rows=answer.rows_read(),
            elapsed_ns=int(answer.elapsed() * 1e9),
        )
        if answer.size() <= _COPY_LIMIT:
            result.data = answer.bytes() if answer.size() else b""
        else:
            # A copy of a big result would hold the interpreter's lock, and with it every other request.
            result.keep = (answer, answer.get_memview())
            result.data = result.keep[1].view()
        return result

    def insert(self, head: bytes, data_format: str, chunks: Iterable[bytes]) -> Result:
        """Feed an INSERT with data of a format; if anything fails the insert is given up as a whole."""
        with _engine_errors():
            stream = self._handle.send_insert(head, data_format)
            try:
                for chunk in chunks:
                    self._handle.insert_append(stream, chunk)
                answer = self._handle.insert_done(stream)
            except BaseException:
                self._handle.insert_cancel(stream)
                raise
        return Result(
            written_rows=answer.rows_written(),
            written_bytes=answer.bytes_written(),
            elapsed_ns=int(answer.elapsed() * 1e9),
        )

    def read_only(self, text: bytes) -> bool:
        return bool(self._handle.classify_query(text)["query_class"] == _chdb.query_class.READ_ONLY)

    def apply(self, settings: Mapping[str, str], params: Mapping[str, str]) -> None:
        """Settings and query parameters for what runs next on this connection."""
        changes = [f"{name} = {quoted(value)}" for name, value in settings.items()]
        changes += [f"param_{name} = {quoted(value)}" for name, value in params.items()]
        if changes:
            self.run("SET " + ", ".join(changes), "Null")

    def use(self, database: str) -> None:
        self.run(f"USE {identifier(database)}", "Null")


class Engine:
    """Opens the data directory, hands out connections and closes it."""

    def __init__(self, directory: Path, max_memory: int) -> None:
        options = {
            **_SERVER_SETTINGS,
            "max_server_memory_usage": max_memory,
        }
        self._path = str(directory)
        with _engine_errors():
            # Kept open: the engine lives as long as one connection does.
            self._main = _chdb.connect(self._path + "?" + "&".join(f"{k}={v}" for k, v in options.items()))
        row = Connection(self._main).run("SELECT version(), timezone(), displayName()", "TSVRaw").data
        self.version, self.timezone, self.display_name = bytes(row).decode().rstrip("\n").split("\t")

    def connect(self) -> Connection:
        with _engine_errors():
            return Connection(_chdb.connect(self._path))

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        connection = self.connect()
        try:
            yield connection
        finally:
            connection.close()

    def close(self) -> None:
        self._main.close()
