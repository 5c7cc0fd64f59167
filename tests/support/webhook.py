"""A fake Slack webhook on a free port of this machine: scripted answers, and every request kept with its time."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

PATH = "/services/T000/B000/secret"


@dataclass(frozen=True)
class Answer:
    """What the fake says: a status with body and headers, or nothing at all ('hang', 'drop', 'drop_after')."""

    status: int = 200
    body: str = "ok"
    headers: dict[str, str] = field(default_factory=dict)
    fault: str = ""


OK = Answer()
SERVER_ERROR = Answer(500, "server_error")
NO_SERVICE = Answer(404, "no_service")
HANG = Answer(0, fault="hang")
DROP = Answer(0, fault="drop")


def rate_limited(seconds: float) -> Answer:
    """429 with Retry-After."""
    return Answer(429, "rate_limited", {"Retry-After": f"{seconds:g}"})


@dataclass(frozen=True)
class Received:
    """One request: when it arrived (monotonic s), its JSON body, and the answer that it got."""

    at: float
    body: dict[str, Any]
    answer: Answer

    @property
    def accepted(self) -> bool:
        """Slack took the message."""
        return self.answer.status == 200 and self.answer.body == "ok"

    @property
    def ids(self) -> list[str]:
        """The transition ids that the message carries."""
        texts = [e["text"] for b in self.body["blocks"] if b["type"] == "context" for e in b["elements"]]
        return [word for text in texts if text.startswith("id ") for word in text.split()[1:]]

    @property
    def text(self) -> str:
        """The message's plain text."""
        return str(self.body["text"])


class Webhook:
    """A running fake. `script` gives the answers of the next requests, then it answers ok."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self._script: deque[Answer] = deque()
        self._standing: Answer | None = None
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._ready = threading.Event()
        self.port = 0
        self._thread = threading.Thread(target=self._serve, name="webhook", daemon=True)
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the fake webhook did not start")

    @property
    def url(self) -> str:
        """The webhook's address."""
        return f"http://127.0.0.1:{self.port}{PATH}"

    @property
    def accepted(self) -> list[Received]:
        """Requests that were answered with ok."""
        return [request for request in self.requests if request.accepted]

    def script(self, answers: Iterable[Answer]) -> None:
        """Answers of the next requests, in order."""
        self._script.extend(answers)

    def always(self, answer: Answer | None) -> None:
        """The answer of every request from now on that the script has none for; None: ok again."""
        self._standing = answer

    def wait_for(self, accepted: int, timeout: float = 20.0) -> list[Received]:
        """Wait (in a thread, or outside a loop) until that many messages were accepted."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.accepted) >= accepted, timeout):
                raise TimeoutError(f"{len(self.accepted)} of {accepted} messages within {timeout} s")
        return self.accepted

    def stop(self) -> None:
        """Stop the server."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())
        self._loop.close()

    async def _main(self) -> None:
        app = web.Application(client_max_size=10_000_000)
        app.router.add_post(PATH, self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._ready.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.Response:
        at = time.monotonic()
        body = await request.json()
        answer = self._script.popleft() if self._script else self._standing or OK
        with self._changed:
            self.requests.append(Received(at, body, answer))
            self._changed.notify_all()
        if answer.fault == "hang":
            await self._stopping.wait()
        if answer.fault and request.transport:
            request.transport.abort()
        return web.Response(status=answer.status or 500, text=answer.body, headers=answer.headers)


@contextmanager
def start_webhook(*answers: Answer) -> Iterator[Webhook]:
    """A fake webhook that gives these answers first."""
    webhook = Webhook()
    webhook.script(answers)
    try:
        yield webhook
    finally:
        webhook.stop()
