"""A bare HTTP client for tests: what it sends is what is written there."""

import http.client
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

Body = bytes | str | Iterable[bytes] | None


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def code(self) -> int:
        """ClickHouse's error code; 0 for none."""
        return int(self.headers.get("X-ClickHouse-Exception-Code", "0"))


@dataclass
class Http:
    port: int
    database: str = ""

    def send(
        self, method: str, body: Body = None, headers: dict[str, str] | None = None, path: str = "/", **url: str
    ) -> Answer:
        if self.database:
            url.setdefault("database", self.database)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            target = f"{path}?{urlencode(url)}" if url else path
            connection.request(method, target, body.encode() if isinstance(body, str) else body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, query: str, headers: dict[str, str] | None = None, **url: str) -> Answer:
        return self.send("GET", None, headers, query=query, **url)

    def post(self, body: Body, headers: dict[str, str] | None = None, **url: str) -> Answer:
        return self.send("POST", body, headers, **url)

    def try_post(self, body: Body) -> Answer | None:
        """For a server that may go away meanwhile."""
        try:
            return self.post(body)
        except (OSError, http.client.HTTPException):
            return None

    def ok(self, query: str, **url: str) -> str:
        answer = self.post(query, **url)
        assert answer.status == 200, answer.text
        return answer.text

    def insert(self, statement: str, data: Body, headers: dict[str, str] | None = None, **url: str) -> Answer:
        """The statement in the URL, the data in the body."""
        return self.post(data, headers, query=statement, **url)

    def running(self, marker: str) -> int:
        """How many statements that contain `marker` run, this one aside."""
        return int(self.ok(f"SELECT count() - 1 FROM system.processes WHERE query LIKE '%{marker}%'"))

    def wait_running(self, marker: str, wanted: int) -> None:
        """Wait until so many statements with `marker` run."""
        deadline = time.monotonic() + 20
        while (found := self.running(marker)) != wanted:
            assert time.monotonic() < deadline, f"{found} statements with {marker}, not {wanted}"
            time.sleep(0.01)

    def raw(self, request: bytes) -> bytes:
        """Send bytes, close our side, and return whatever comes back."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            answer = bytearray()
            while piece := connection.recv(65536):
                answer += piece
            return bytes(answer)
