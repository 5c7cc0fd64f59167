"""Runs one request on the engine, in a thread: decodes its body, finds the statement, feeds the data."""

import logging
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from streamproc.embedded.clickhouse import errors, native
from streamproc.embedded.clickhouse.encoding import chosen, decode, encode
from streamproc.embedded.clickhouse.engine import Connection, Engine, Result, identifier, quoted
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.formats import is_only_rows
from streamproc.embedded.clickhouse.request import Request, whole_number
from streamproc.embedded.clickhouse.session import Sessions
from streamproc.embedded.clickhouse.spool import Spool, Spools
from streamproc.embedded.clickhouse.statement import Insert, InsertThroughInput, Query, Statement, parse

_log = logging.getLogger(__name__)
_MAX_QUERY_SIZE = 262_144
_READ_ONLY_HINT = (
    " For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries."
)


@dataclass
class Body:
    """What came with a request: its body, and the data of external tables by name."""

    spools: Spools
    main: Spool
    external: dict[str, Spool] = field(default_factory=dict)
    running: "Future[Outcome] | None" = None


@dataclass
class Outcome:
    """What a request gave: its answer, the format and encoding that it is in, and the figures."""

    answer: Spool
    format: str
    encoding: str | None = None
    summary: dict[str, str] = field(default_factory=dict)


@dataclass
class Executor:
    """Everything that running a request needs."""

    engine: Engine
    sessions: Sessions

    def execute(self, request: Request, body: Body) -> Outcome:
        """Run the request; raises ClickHouseError with ClickHouse's code for everything that goes wrong."""
        spools = body.spools
        try:
            outcome = Outcome(spools.new(), request.default_format)
            outcome.summary = self._run(request, body, outcome).summary(outcome.answer.size)
            outcome.answer.finish()
            if request.client_version >= native.MIN_VERSION and outcome.format.lower() == "native":
                # Only dashboards ask for this: their results fit into memory.
                outcome.answer = spools.new(native.with_version(outcome.answer.head(outcome.answer.size)))
            if request.compress_response and outcome.answer.size:
                outcome.encoding = chosen(request.accept_encoding)
            if outcome.encoding is not None:
                outcome.answer = spools.new(encode(outcome.encoding, outcome.answer.chunks()))
            return outcome
        except OSError as error:
            raise ClickHouseError(
                errors.NOT_ENOUGH_SPACE, f"Cannot keep the request's data: {error.strerror or error}"
            ) from error

    def cancel(self, request: Request) -> None:
        """End the request's SELECT, if it runs and was to end with its client."""
        connection = self.engine.connect()
        try:
            connection.run(f"KILL QUERY WHERE Settings['log_comment'] = {quoted(request.tag)} ASYNC")
        except ClickHouseError as error:
            _log.warning("a SELECT whose client is gone could not be ended: %s", error.message)
        finally:
            connection.close()

    def _run(self, request: Request, body: Body, outcome: Outcome) -> Result:
        plain = body.main
        if request.content_encoding not in ("", "identity") and plain.size:
            # Decoded to its end before a row is inserted: a broken body changes nothing.
            plain = body.spools.new(decode(request.content_encoding, plain.chunks()))
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
            own = _own_settings(request, statement)
            try:
                if session.pinned is not None and own.pop("readonly", "0") != "0":
                    _only_reads(connection, head)  # the setting itself could never be taken back
                self._prepare(connection, request, own, body)
                data = _Data(body.spools.directory, prefix, plain)
                result = self._statement(connection, statement, data, outcome)
            except ClickHouseError as error:
                session.forget(own)
                if error.code == errors.READONLY and request.read_only:
                    error.message += _READ_ONLY_HINT
                raise
            session.remember(statement, connection, own)
            return result

    def _prepare(self, connection: Connection, request: Request, settings: dict[str, str], body: Body) -> None:
        if request.database:
            connection.use(request.database)
        if request.roles:
            connection.run("SET ROLE " + ", ".join(identifier(role) for role in request.roles))
        for name, spool in body.external.items():
            _external_table(connection, request, name, spool, body.spools.directory)
        connection.apply(settings, request.params)

    def _statement(self, connection: Connection, statement: Statement, data: "_Data", outcome: Outcome) -> Result:
        if not isinstance(statement, Query) or statement.first_word == "INSERT":
            self.engine.space.check()
        if isinstance(statement, Insert):
            with _as_file(data.directory, data.chunks(statement.data_at)) as path:
                return connection.insert(statement.head, statement.settings, statement.format, path)
        if isinstance(statement, InsertThroughInput):
            return self._through_input(connection, statement, data)
        default = outcome.format
        outcome.format = statement.format or default
        if statement.selects and is_only_rows(outcome.format):
            return connection.stream(statement.text, default, outcome.answer)
        return connection.run(statement.text, default, outcome.answer)

    def _through_input(self, connection: Connection, statement: InsertThroughInput, data: "_Data") -> Result:
        with _as_file(data.directory, data.chunks(statement.data_at)) as path:
            source = f"file({quoted(str(path))}, {quoted(statement.format)}".encode()
            return connection.run(statement.before + source + statement.after)


@contextmanager
def _as_file(directory: Path, chunks: Iterable[bytes]) -> Iterator[Path]:
    """A file with these bytes, for as long as a statement reads it."""
    # In a name the engine takes these as a pattern.
    place = None if re.search(r"[*?{}]", str(directory)) else directory
    handle, name = tempfile.mkstemp(dir=place)
    try:
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                file.write(chunk)
        yield Path(name)
    finally:
        Path(name).unlink()


@dataclass
class _Data:
    """The bytes behind a statement, which may begin in the URL and go on in the body."""

    directory: Path
    prefix: bytes
    plain: Spool

    def chunks(self, start: int) -> Iterator[bytes]:
        if start < len(self.prefix):
            yield self.prefix[start:]
        yield from self.plain.chunks(max(start - len(self.prefix), 0))


def _query_size_limit(request: Request) -> int:
    return whole_number(request.settings.get("max_query_size", "")) or _MAX_QUERY_SIZE


def _own_settings(request: Request, statement: Statement) -> dict[str, str]:
    settings = dict(request.settings)
    if request.cancel_when_closed and isinstance(statement, Query) and statement.selects:
        settings["log_comment"] = request.tag
    if request.read_only and settings.get("readonly", "0") == "0":
        # 2, not 1: a GET may not change data, but may still bring settings of its own.
        settings["readonly"] = "2"
    return settings


def _only_reads(connection: Connection, text: bytes) -> None:
    if not connection.read_only(text):
        raise ClickHouseError(errors.READONLY, "Cannot execute query in readonly mode.")


def _external_table(connection: Connection, request: Request, name: str, spool: Spool, directory: Path) -> None:
    structure = request.external.get(f"{name}_structure")
    if structure is None:
        types = request.external.get(f"{name}_types")
        if types is None:
            raise ClickHouseError(
                errors.BAD_ARGUMENTS, f"Neither structure nor types have not been provided for external table {name}"
            )
        structure = ", ".join(f"_{at} {kind}" for at, kind in enumerate(types.split(","), 1))
    table = identifier(name)
    connection.run(f"CREATE TEMPORARY TABLE {table} ({structure})")
    data_format = request.external.get(f"{name}_format", "TabSeparated")
    with _as_file(directory, spool.chunks()) as path:
        connection.insert(f"INSERT INTO {table}".encode(), b"", data_format, path)
