"""The server itself: authorisation, checks, quota and faults around the methods; and Google's token endpoint."""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from streamproc.clock import now_ms
from tests.support.youtube.analytics_api import reports_query
from tests.support.youtube.data_api import channels_list, playlist_items_list, videos_list
from tests.support.youtube.documents import Method
from tests.support.youtube.errors import (
    Refusal,
    bad_request,
    daily_limit,
    forbidden,
    key_invalid,
    login_required,
    quota_exceeded,
    token_invalid,
)
from tests.support.youtube.faults import Faults
from tests.support.youtube.quota import Quota
from tests.support.youtube.world import Channel, World

API_KEY = "AIza-test-key"
MONEY_SCOPE = "https://www.googleapis.com/auth/yt-analytics-monetary.readonly"


@dataclass(frozen=True)
class Call:
    """One request as it was answered (status 0: the connection was cut)."""

    method: str
    query: dict[str, list[str]]
    status: int
    user: str

    @property
    def page(self) -> tuple[Any, ...]:
        """What was asked for, whoever asked."""
        asked = {name: tuple(values) for name, values in self.query.items() if name not in ("key", "alt")}
        return self.method, tuple(sorted(asked.items()))


@dataclass
class YouTube:
    """A running double. `now_ms` is its clock."""

    world: World
    faults: Faults = field(default_factory=Faults)
    now_ms: Callable[[], int] = now_ms
    token_life_s: int = 3600
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    revoked: set[str] = field(default_factory=set)
    without_money: set[str] = field(default_factory=set)
    """Refresh tokens that were given without the scope for revenue."""
    refreshes: int = 0

    def __post_init__(self) -> None:
        self.quota = Quota(lambda: self.now_ms())
        self._tokens: dict[str, tuple[str, int]] = {}
        self._count = itertools.count(1)
        self._methods = [
            (Method("youtube", "channels", "list"), channels_list),
            (Method("youtube", "playlistItems", "list"), playlist_items_list),
            (Method("youtube", "videos", "list"), videos_list),
            (Method("youtubeAnalytics", "reports", "query"), None),
        ]

    @property
    def url(self) -> str:
        """In place of https://youtube.googleapis.com/ and https://youtubeanalytics.googleapis.com/."""
        return f"http://127.0.0.1:{self.port}/"

    def credentials(self, channels: list[str] | None = None) -> dict[str, Any]:
        """What the credentials file holds."""
        named = self.world.channels if channels is None else channels
        return {
            "client_id": "client", "client_secret": "secret", "token_uri": f"{self.url}token",
            "channels": {one: self.world.channels[one].refresh_token for one in named},
        }  # fmt: skip

    def expire_tokens(self) -> None:
        """Every access token that was given out is over."""
        self._tokens.clear()

    def answered(self, method: str) -> list[Call]:
        """Requests of a method that got their page."""
        return [call for call in self.calls if call.method == method and call.status == 200]

    def application(self) -> web.Application:
        """For aiohttp."""
        app = web.Application()
        app.router.add_post("/token", self._token)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _token(self, request: web.Request) -> web.Response:
        form = await request.post()
        refresh = str(form.get("refresh_token", ""))
        known = {channel.refresh_token: channel for channel in self.world.channels.values()}
        if form.get("grant_type") != "refresh_token" or form.get("client_id") != "client":
            return web.json_response({"error": "invalid_client", "error_description": "Unauthorized"}, status=401)
        if refresh not in known or refresh in self.revoked:
            text = {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}
            return web.json_response(text, status=400)
        self.refreshes += 1
        token = f"access-{self.refreshes}-{refresh}"
        self._tokens[token] = (known[refresh].id, self.now_ms() + self.token_life_s * 1000)
        scope = "https://www.googleapis.com/auth/youtube.readonly https://www.googleapis.com/auth/yt-analytics.readonly"
        return web.json_response(
            {"access_token": token, "expires_in": self.token_life_s, "scope": scope, "token_type": "Bearer"}
        )

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        pairs = list(request.query.items())
        if request.method == "POST" and request.headers.get("x-http-method-override") == "GET":
            pairs += [(name, str(value)) for name, value in (await request.post()).items()]
        number = next(self._count)
        if self.faults.delay_s:
            await asyncio.sleep(self.faults.delay_s)
        method, user, status = "", "", 0
        query: dict[str, list[str]] = {}
        for name, value in pairs:
            query.setdefault(name, []).append(value)
        try:
            found, handler = self._method(request.path)
            method = found.id
            channel = self._user(request, query, method)
            user = channel.id if channel else "key"
            self._charge(method)
            self._fault(method, number)
            if self.faults.break_every and number % self.faults.break_every == 0:
                assert request.transport is not None
                request.transport.close()
                return web.Response()
            answer = self._answer(found, handler, query, channel, pairs)
            if self.faults.cut_every and number % self.faults.cut_every == 0:
                return await self._half(request, answer)
            status = 200
            return web.json_response(answer)
        except Refusal as refusal:
            status = refusal.code
            headers = {"Retry-After": str(refusal.retry_after_s)} if refusal.retry_after_s is not None else {}
            return web.json_response(refusal.body, status=refusal.code, headers=headers)
        finally:
            self.calls.append(Call(method or request.path, query, status, user))

    @staticmethod
    async def _half(request: web.Request, answer: dict[str, Any]) -> web.StreamResponse:
        whole = json.dumps(answer).encode()
        response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": str(len(whole))})
        await response.prepare(request)
        await response.write(whole[: len(whole) // 2])
        assert request.transport is not None
        request.transport.close()
        return response

    def _method(self, path: str) -> tuple[Method, Any]:
        for method, handler in self._methods:
            if method.path == path:
                return method, handler
        raise Refusal(404, "notFound", f"{path} is no method that this double has")

    def _user(self, request: web.Request, query: dict[str, list[str]], method: str) -> Channel | None:
        header = request.headers.get("Authorization", "")
        if header:
            found = self._tokens.get(header.removeprefix("Bearer "))
            if found is None or found[1] <= self.now_ms():
                raise token_invalid()
            return self.world.channels[found[0]]
        if method.startswith("youtubeAnalytics"):
            raise login_required()
        if "key" not in query:
            raise forbidden("Method doesn't allow unregistered callers (callers without established identity).")
        if query["key"] != [API_KEY]:
            raise key_invalid()
        return None

    def _charge(self, method: str) -> None:
        if not self.quota.spend(method):
            raise daily_limit() if method.startswith("youtubeAnalytics") else quota_exceeded()

    def _fault(self, method: str, number: int) -> None:
        if method in self.faults.refuse_pages_of:
            raise self.faults.refuse_pages_of[method]
        every = self.faults.every_nth
        if every and number % every == 0 and self.faults.refusals:
            raise self.faults.refusals[number // every % len(self.faults.refusals)]

    def _answer(
        self, method: Method, handler: Any, query: dict[str, list[str]], user: Channel | None, pairs: list[Any]
    ) -> dict[str, Any]:
        problem = method.problem(pairs)
        if problem:
            raise bad_request(problem)
        if handler is None:
            assert user is not None
            answer = reports_query(self.world, query, user, user.refresh_token not in self.without_money)
        else:
            answer = handler(self.world, query, user)
        if self.faults.break_schema:
            answer["kind"] = 5
        mistakes = method.mistakes(answer)
        if mistakes:
            raise AssertionError(f"{method.id}: this double answers against the discovery document: {mistakes}")
        return self._mangled(answer)

    def _mangled(self, answer: dict[str, Any]) -> dict[str, Any]:
        for nth, item in enumerate(answer.get("items", ())):
            if self.faults.extra_fields:
                item["newThing"] = {"of": nth}
            for path in self.faults.drop_fields if nth % 2 else ():
                *outer, last = path.split(".")
                place: Any = item
                for name in outer:
                    place = place.get(name, {})
                place.pop(last, None)
        return answer


@contextmanager
def running(youtube: YouTube) -> Iterator[YouTube]:
    """It on a free port of this machine, in a thread of its own."""
    loop, ready, stop = asyncio.new_event_loop(), threading.Event(), asyncio.Event()

    async def serve() -> None:
        runner = web.AppRunner(youtube.application(), shutdown_timeout=1.0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        youtube.port = runner.addresses[0][1]
        ready.set()
        await stop.wait()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), name="youtube", daemon=True)
    thread.start()
    if not ready.wait(10):
        raise RuntimeError("the double of YouTube did not start")
    try:
        yield youtube
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
