"""A TCP proxy on loopback that breaks connections on demand: `start_proxy(port)`, then `proxy.set(mode)`.

It knows bytes only; `clickhouse_proxy` and `redis_proxy` know what is asked, and answer with the errors of a real server.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Coroutine
from enum import StrEnum
from typing import Any, NamedTuple

from tests.support.ports import free_port

#: Longest line or head that a protocol-aware proxy can look for.
_LIMIT = 1 << 20


class Mode(StrEnum):
    """PASS; REFUSE: nobody listens, open connections are reset; DELAY: each piece waits `delay_s`;

    BLACK_HOLE: connections are accepted, nothing ever passes; CUT_AFTER_REQUEST: requests arrive, and instead of the
    first byte of the answer the client gets a reset (what was asked has been done, and nobody was told).
    """

    PASS = "pass"
    REFUSE = "refuse"
    DELAY = "delay"
    BLACK_HOLE = "black_hole"
    CUT_AFTER_REQUEST = "cut_after_request"


class Ends(NamedTuple):
    """The four streams of one connection through the proxy: the client's, and those to the server behind."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    target_reader: asyncio.StreamReader
    target_writer: asyncio.StreamWriter


class TcpProxy:
    """Runs in a thread of its own, so that tests may block. `accepted` and `cuts` count since the start."""

    def __init__(self, target_port: int) -> None:
        self.port = free_port()
        self.accepted = 0
        self.cuts = 0
        self.target_port = target_port
        self._mode = Mode.PASS
        self._delay_s = 0.0
        self._opened = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="tcp-proxy", daemon=True)
        self._thread.start()
        self._call(self._apply(Mode.PASS, 0.0))

    def set(self, mode: Mode, delay_s: float = 0.1) -> None:
        """Change the mode; it holds for open connections too when this returns."""
        self._call(self._apply(mode, delay_s))

    def stop(self) -> None:
        """Close everything. Safe to call twice."""
        if self._thread.is_alive():
            self.set(Mode.REFUSE)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _apply(self, mode: Mode, delay_s: float) -> None:
        self._mode, self._delay_s = mode, delay_s
        if mode is Mode.BLACK_HOLE:
            self._opened.clear()
        else:
            self._opened.set()
        if mode is Mode.REFUSE:
            if self._server is not None:
                self._server.close()
                self._server = None
            for writer in list(self._writers):
                reset(writer)
        elif self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=_LIMIT)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        await self._opened.wait()
        try:
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self.target_port, limit=_LIMIT)
        except OSError:
            reset(writer)
            return
        ends = {writer, target_writer}
        self._writers |= ends
        try:
            await self._relay(Ends(reader, writer, target_reader, target_writer))
        except* (OSError, EOFError):
            pass  # an end was reset or closed, by the test or by its owner: both are closed below
        finally:
            self._writers -= ends
            for end in ends:
                reset(end)

    async def _relay(self, ends: Ends) -> None:
        """Pass on what comes from both ends until one of them is closed or reset (OSError, EOFError)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(ends.reader, ends.target_writer, answers=False))
            group.create_task(self._pump(ends.target_reader, ends.writer, answers=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while True:
            piece = await reader.read(65_536)
            await self._opened.wait()
            if answers and piece and self._mode is Mode.CUT_AFTER_REQUEST:
                self.cuts += 1
                reset(writer)
                raise ConnectionResetError
            if self._mode is Mode.DELAY:
                await asyncio.sleep(self._delay_s)
            if not piece:
                # One end closed in the ordinary way: the other one is closed too.
                raise ConnectionResetError
            writer.write(piece)
            await writer.drain()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close at once with RST, so that the other end sees an error and not a polite end."""
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def start_proxy(target_port: int) -> TcpProxy:
    """A proxy in mode PASS before 127.0.0.1:target_port; the caller stops it."""
    return TcpProxy(target_port)
