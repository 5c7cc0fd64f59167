"""The HTTP side: routes, authentication, bodies in, responses out; statements run in threads, never on the loop."""

import asyncio
import hmac
import json
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path

from aiohttp import BodyPartReader, ClientPayloadError, web
from aiohttp.web_exceptions import HTTPException

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.engine import Engine
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.execute import Body, Executor, Outcome
from streamproc.embedded.clickhouse.formats import content_type
from streamproc.embedded.clickhouse.request import Credentials, Request, read_credentials, read_request
from streamproc.embedded.clickhouse.session import Sessions
from streamproc.embedded.clickhouse.spool import Spool, Spools

_log = logging.getLogger(__name__)
_LAST_WAIT = 0.5
_MAX_FIELD = 16 << 20


class Server:
    """Answers ClickHouse's HTTP interface with an engine."""

    def __init__(self, engine: Engine, spool_directory: Path, credentials: Credentials | None, threads: int) -> None:
        self._engine = engine
        self._spool_directory = spool_directory
        self._credentials = credentials
        self._sessions = Sessions()
        self._executor = Executor(engine, self._sessions)
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="query")
        self._running: set[Future[Outcome]] = set()

    def application(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/ping", self._ping)
        app.router.add_get("/replicas_status", self._ping)
        app.router.add_route("*", "/", self._root)
        app.router.add_route("*", "/{path:.*}", self._not_found)
        return app

    def close(self) -> int:
        """Let go of the sessions if no statement runs any more; how many still do."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        running = len(wait(self._running, timeout=_LAST_WAIT).not_done)
        if not running:
            self._sessions.close()
        return running

    async def _ping(self, request: web.Request) -> web.Response:
        return _plain("Ok.\n")

    async def _not_found(self, request: web.Request) -> web.Response:
        text = f"There is no handle {request.path_qs}\n\nUse / or /ping for health checks.\n"
        return _plain(text, status=404)

    async def _root(self, request: web.Request) -> web.StreamResponse:
        if request.method not in ("GET", "HEAD", "POST"):
            return _plain(f"Method {request.method} is not supported\n", status=501)
        if request.method in ("GET", "HEAD") and "query" not in request.query:
            return _plain("Ok.\n")
        headers = {"X-ClickHouse-Server-Display-Name": self._engine.display_name}
        try:
            return await self._answer(request, headers)
        except ClickHouseError as error:
            return self._failure(error, headers)
        except (HTTPException, ConnectionError, asyncio.CancelledError):
            raise  # not the statement's doing: aiohttp knows how to answer or that nobody listens
        except Exception as error:
            _log.exception("request failed")
            return self._failure(ClickHouseError(errors.STD_EXCEPTION, f"{type(error).__name__}: {error}"), headers)

    def _failure(self, error: ClickHouseError, headers: dict[str, str]) -> web.Response:
        headers["X-ClickHouse-Exception-Code"] = str(error.code)
        return _plain(error.text(self._engine.version), status=error.status, headers=headers)

    async def _answer(self, http: web.Request, headers: dict[str, str]) -> web.StreamResponse:
        self._authenticate(read_credentials(http.query, http.headers))
        spools = Spools(self._spool_directory)
        body = Body(spools, spools.new())
        try:
            request = await self._read(http, body)
            headers["X-ClickHouse-Query-Id"] = request.query_id
            outcome = await self._outcome(request, body)
            headers["X-ClickHouse-Timezone"] = self._engine.timezone
            headers["X-ClickHouse-Format"] = outcome.format
            headers["X-ClickHouse-Summary"] = json.dumps(outcome.summary, separators=(",", ":"))
            headers["Content-Type"] = content_type(outcome.format)
            if outcome.encoding is not None:
                headers["Content-Encoding"] = outcome.encoding
            return await _send(http, headers, outcome.answer)
        finally:
            if body.running is None or body.running.done():
                spools.close()
            else:
                # The client is gone, but a thread still reads them.
                body.running.add_done_callback(lambda _: spools.close())

    async def _outcome(self, request: Request, body: Body) -> Outcome:
        """Run the request in a thread; if the client goes away a SELECT may be ended, anything else runs on."""
        body.running = future = self._threads.submit(self._executor.execute, request, body)
        self._running.add(future)
        future.add_done_callback(self._running.discard)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            if request.cancel_when_closed and not future.done():
                self._threads.submit(self._executor.cancel, request)
            raise

    def _authenticate(self, given: Credentials) -> None:
        known = self._credentials or Credentials()
        same_user = hmac.compare_digest(given.user.encode(), known.user.encode())
        # Without a configured password any is taken, as from a ClickHouse user without one.
        same_password = self._credentials is None or hmac.compare_digest(
            given.password.encode(), known.password.encode()
        )
        if not (same_user and same_password):
            raise ClickHouseError(
                errors.AUTHENTICATION_FAILED,
                f"{given.user}: Authentication failed: password is incorrect, or there is no user with such name.",
            )

    async def _read(self, http: web.Request, body: Body) -> Request:
        if http.method == "POST" and http.content_type == "multipart/form-data":
            return await self._read_form(http, body)
        request = read_request(http.method, list(http.query.items()), http.headers)
        if http.can_read_body:
            await _fill(body.main, http.content.readany)
        return request

    async def _read_form(self, http: web.Request, body: Body) -> Request:
        """Form fields are parameters; parts with a file name are the data of external tables."""
        fields: list[tuple[str, str]] = []
        async for part in await http.multipart():
            if not isinstance(part, BodyPartReader) or part.name is None:
                raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, "A part of the form has no name")
            if part.filename is None:
                fields.append((part.name, await _field(part)))
                continue
            body.external[part.name] = body.spools.new()
            await _fill(body.external[part.name], part.read_chunk)
        everything = list(http.query.items()) + fields
        request = read_request(http.method, everything, http.headers, frozenset(body.external))
        request.content_encoding = ""
        return request


async def _field(part: BodyPartReader) -> str:
    data = bytearray()
    while piece := await part.read_chunk():
        data += piece
        if len(data) > _MAX_FIELD:
            raise ClickHouseError(errors.BAD_REQUEST_PARAMETER, f"The form field {part.name} is too long")
    return data.decode("utf-8", "surrogateescape")


async def _fill(spool: Spool, read: Callable[[], Awaitable[bytes]]) -> None:
    try:
        while piece := await read():
            if spool.add(piece):
                await asyncio.to_thread(spool.flush)
    except (ConnectionError, ClientPayloadError) as error:
        _log.info("the client went away within a body of %d bytes: nothing was run", spool.size)
        raise ClickHouseError(errors.UNEXPECTED_END_OF_FILE, f"The body ended early: {error}") from error
    if spool.on_disk:
        await asyncio.to_thread(spool.finish)


def _plain(text: str, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    answer = web.Response(body=text.encode("utf-8", "replace"), status=status, headers=headers)
    answer.headers["Content-Type"] = "text/plain; charset=UTF-8" if status != 200 else "text/html; charset=UTF-8"
    return answer


async def _send(http: web.Request, headers: dict[str, str], answer: Spool) -> web.StreamResponse:
    if not answer.on_disk:
        return web.Response(body=answer.head(answer.size), headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_length = answer.size
    await response.prepare(http)
    pieces = answer.chunks()
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        await response.write(piece)
    await response.write_eof()
    return response
