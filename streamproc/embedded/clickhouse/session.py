"""HTTP sessions: SET, USE and temporary tables of one session_id last from request to request."""

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.engine import Connection, Engine
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.request import Request
from streamproc.embedded.clickhouse.statement import Query, Statement


@dataclass
class Session:
    """What was set in a session: it is replayed on the fresh connection of each request.

    Only a temporary table needs the connection itself: from then on the session keeps one.
    """

    expires: float = 0.0
    busy: bool = False
    replay: list[bytes] = field(default_factory=list)
    pinned: Connection | None = None

    @contextmanager
    def connection(self, engine: Engine) -> Iterator[Connection]:
        connection = self.pinned or engine.connect()
        try:
            if connection is self.pinned:
                connection.use("default")
            for text in self.replay:
                connection.run(text)
            yield connection
        finally:
            if connection is not self.pinned:
                connection.close()

    def remember(self, statement: Statement, connection: Connection, own_settings: Iterable[str]) -> None:
        """After a statement went well: keep what it changed for the session."""
        if isinstance(statement, Query) and statement.first_word in ("SET", "USE"):
            self.replay.append(statement.text)
        elif isinstance(statement, Query) and statement.temporary:
            self.pinned = connection
        if connection is self.pinned:
            self.forget(own_settings)

    def forget(self, own_settings: Iterable[str]) -> None:
        """What a request set for itself alone does not last on the session's own connection."""
        if self.pinned is not None and (names := sorted(own_settings)):
            self.pinned.run("SET " + ", ".join(f"{name} = DEFAULT" for name in names))

    def close(self) -> None:
        if self.pinned is not None:
            self.pinned.close()
            self.pinned = None


class Sessions:
    """The sessions that are alive; a request without session_id gets one that ends with it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: dict[str, Session] = {}

    @contextmanager
    def use(self, request: Request) -> Iterator[Session]:
        session = self._acquire(request) if request.session_id else Session()
        try:
            yield session
        finally:
            self._release(request, session)

    def _acquire(self, request: Request) -> Session:
        with self._lock:
            self._drop_expired()
            session = self._sessions.get(request.session_id)
            if session is None:
                if request.session_check:
                    raise ClickHouseError(errors.SESSION_NOT_FOUND, f"Session {request.session_id} not found")
                session = self._sessions[request.session_id] = Session()
            elif session.busy:
                raise ClickHouseError(
                    errors.SESSION_IS_LOCKED, f"Session {request.session_id} is locked by a concurrent client"
                )
            session.busy = True
            return session

    def _release(self, request: Request, session: Session) -> None:
        if not request.session_id:
            session.close()
            return
        with self._lock:
            session.busy = False
            session.expires = time.monotonic() + request.session_timeout
            if request.close_session or not (session.replay or session.pinned or request.session_timeout):
                self._sessions.pop(request.session_id, None)
                session.close()

    def _drop_expired(self) -> None:
        now = time.monotonic()
        for name in [name for name, one in self._sessions.items() if not one.busy and one.expires < now]:
            self._sessions.pop(name).close()

    def close(self) -> None:
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()
