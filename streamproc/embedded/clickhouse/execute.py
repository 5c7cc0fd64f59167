"""Runs one request on the engine, in a thread: decodes its body, finds the statement, feeds the data."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.encoding import decode
from streamproc.embedded.clickhouse.engine import Connection, Engine, Result, identifier
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.request import Request
from streamproc.embedded.clickhouse.session import Sessions
from streamproc.embedded.clickhouse.spool import Spool
from streamproc.embedded.clickhouse.statement import Insert, InsertThroughInput, Query, Statement, parse

_MAX_QUERY_SIZE = 262_144
_READ_ONLY_HINT = (
    " For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries."
)


@dataclass
class Outcome:
    """A result and the format that it is in."""

    result: Result
    format: str


@dataclass
class Body:
    """What came with a request: its body and the data of external tables, by name."""

    main: Spool
    external: dict[str, Spool] = field(default_factory=dict)

    def close(self) -> None:
        self.main.close()
        for spool in self.external.values():
            spool.close()


@dataclass
class Executor:
    """Everything that running a request needs."""

    engine: Engine
    spool_directory: Path
    sessions: Sessions

    def execute(self, request: Request, body: Body) -> Outcome:
        """Run the request; raises ClickHouseError with ClickHouse's code for everything that goes wrong."""
        try:
            plain = self._decoded(request.content_encoding, body.main)
            try:
                return self._run(request, plain, body.external)
            finally:
                if plain is not body.main:
                    plain.close()
        except OSError as error:
            raise ClickHouseError(
                errors.NOT_ENOUGH_SPACE, f"Cannot keep the request's data: {error.strerror or error}"
            ) from error

    def _decoded(self, encoding: str, raw: Spool) -> Spool:
        """The body in plain. It is decoded to its end before a row is inserted: a broken one changes nothing."""
        if encoding in ("", "identity") or raw.size == 0:
            return raw
        plain = Spool(self.spool_directory)
        try:
            for piece in decode(encoding, raw.chunks()):
                if plain.add(piece):
                    plain.flush()
            plain.finish()
        except BaseException:
            plain.close()
            raise
        return plain

    def _run(self, request: Request, plain: Spool, external: dict[str, Spool]) -> Outcome:
        prefix = request.query
        if prefix and plain.size:
            prefix += b"\n"
        limit = _query_size_limit(request)
        head = prefix + plain.head(max(limit - len(prefix), 0) + 1)
        statement = parse(head)
        if isinstance(statement, Query) and len(head) > limit:
            raise ClickHouseError(
                errors.SYNTAX_ERROR,
                f"Max query size exceeded (can be increased with the `max_query_size` setting): {limit}",
            )
        with self.sessions.use(request) as session, session.connection(self.engine) as connection:
            own = _own_settings(request)
            try:
                if session.pinned is not None and own.pop("readonly", "0") != "0":
                    _only_reads(connection, head)  # the setting itself could never be taken back
                self._prepare(connection, request, own, external)
                outcome = self._statement(connection, request, statement, _Data(prefix, plain))
            except ClickHouseError as error:
                session.forget(own)
                if error.code == errors.READONLY and request.read_only:
                    error.message += _READ_ONLY_HINT
                raise
            session.remember(statement, connection, own)
            return outcome

    def _prepare(
        self, connection: Connection, request: Request, settings: dict[str, str], external: dict[str, Spool]
    ) -> None:
        if request.database:
            connection.use(request.database)
        if request.roles:
            connection.run("SET ROLE " + ", ".join(identifier(role) for role in request.roles), "Null")
        for name, spool in external.items():
            _external_table(connection, request, name, spool)
        connection.apply(settings, request.params)

    def _statement(self, connection: Connection, request: Request, statement: Statement, data: "_Data") -> Outcome:
        if isinstance(statement, Insert):
            chunks = data.chunks(statement.data_at)
            return Outcome(connection.insert(statement.head, statement.format, chunks), request.default_format)
        if isinstance(statement, InsertThroughInput):
            return Outcome(self._through_input(connection, request, statement, data), request.default_format)
        # Parameters were set on the connection already: `SET param_x` and the engine's own argument read alike.
        result = connection.run(statement.text, request.default_format)
        return Outcome(result, statement.format or request.default_format)

    def _through_input(
        self, connection: Connection, request: Request, statement: InsertThroughInput, data: "_Data"
    ) -> Result:
        """chDB streams data only into a plain INSERT, so that of input() is read from a file."""
        handle, path = tempfile.mkstemp(dir=self.spool_directory)
        try:
            with os.fdopen(handle, "wb") as file:
                for chunk in data.chunks(statement.data_at):
                    file.write(chunk)
            source = f"file('{path}', '{statement.format}'".encode()
            return connection.run(statement.before + source + statement.after, request.default_format)
        finally:
            Path(path).unlink()


@dataclass
class _Data:
    """The bytes behind a statement, which may begin in the URL and go on in the body."""

    prefix: bytes
    plain: Spool

    def chunks(self, start: int) -> Iterator[bytes]:
        if start < len(self.prefix):
            yield self.prefix[start:]
        yield from self.plain.chunks(max(start - len(self.prefix), 0))


def _query_size_limit(request: Request) -> int:
    value = request.settings.get("max_query_size", "")
    return int(value) if value.isascii() and value.isdigit() and int(value) else _MAX_QUERY_SIZE


def _own_settings(request: Request) -> dict[str, str]:
    settings = dict(request.settings)
    if request.read_only and settings.get("readonly", "0") == "0":
        # 2, not 1: a GET may not change data, but may still bring settings of its own.
        settings["readonly"] = "2"
    return settings


def _only_reads(connection: Connection, text: bytes) -> None:
    if not connection.read_only(text):
        raise ClickHouseError(errors.READONLY, "Cannot execute query in readonly mode.")


def _external_table(connection: Connection, request: Request, name: str, spool: Spool) -> None:
    structure = request.external.get(f"{name}_structure")
    if structure is None:
        types = request.external.get(f"{name}_types")
        if types is None:
            raise ClickHouseError(
                errors.BAD_ARGUMENTS, f"Neither structure nor types have not been provided for external table {name}"
            )
        structure = ", ".join(f"_{at} {kind}" for at, kind in enumerate(types.split(","), 1))
    table = identifier(name)
    connection.run(f"CREATE TEMPORARY TABLE {table} ({structure})", "Null")
    data_format = request.external.get(f"{name}_format", "TabSeparated")
    connection.insert(f"INSERT INTO {table}".encode(), data_format, spool.chunks())
