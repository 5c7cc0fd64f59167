"""A proxy before ClickHouse's HTTP interface that knows requests: it answers with ClickHouse's own errors, cuts bodies and
answers, loses acknowledgements, throttles, or accepts and never answers. `proxy.apply(fault)`, then `proxy.clear()`."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import parse_qs, urlsplit

from tests.support.proxy import Ends, Mode, TcpProxy, reset

_SLICE_S: Final = 0.05


class Kind(StrEnum):
    """ANSWER: an error instead of the server. HALF_OPEN: the request is not even read, the connection stays open.

    RESET_IN_BODY: the server gets half of the request, then both ends a reset. LOST_ACK: the server does what was asked, the
    client gets a reset. TRUNCATED: half of the server's answer, then the end. SLOW: `bytes_per_s` both ways.
    """

    ANSWER = "answer"
    HALF_OPEN = "half_open"
    RESET_IN_BODY = "reset_in_body"
    LOST_ACK = "lost_ack"
    TRUNCATED = "truncated"
    SLOW = "slow"


@dataclass(frozen=True)
class HttpFault:
    """What happens to requests whose statement matches `only` (all by default), to that `share` of them."""

    name: str
    kind: Kind
    status: int = 500
    text: str = ""
    headers: tuple[str, ...] = ()
    only: str = ""
    share: float = 1.0
    bytes_per_s: int = 50_000

    def answer(self) -> bytes:
        """The error as HTTP."""
        body = self.text.encode()
        head = [f"HTTP/1.1 {self.status} fault", *self.headers, f"Content-Length: {len(body)}", "Connection: close"]
        return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def clickhouse_error(code: int, name: str, text: str, status: int = 500) -> HttpFault:
    """The answer that ClickHouse gives with one of its own error codes."""
    return HttpFault(
        name.lower(),
        Kind.ANSWER,
        status,
        f"Code: {code}. DB::Exception: {text} ({name}) (version 26.9.1.1)\n",
        ("Content-Type: text/plain; charset=UTF-8", f"X-ClickHouse-Exception-Code: {code}"),
    )


SERVER_ERROR: Final = HttpFault("http_500", Kind.ANSWER, 500, "internal error")
UNAVAILABLE: Final = HttpFault("http_503", Kind.ANSWER, 503, "no backend", ("Retry-After: 1",))
TOO_MANY_REQUESTS: Final = HttpFault("http_429", Kind.ANSWER, 429, "slow down", ("Retry-After: 1",))
TOO_MANY_PARTS: Final = clickhouse_error(
    252, "TOO_MANY_PARTS", "Too many parts (3000). Merges are processing significantly slower than inserts."
)
READ_ONLY: Final = clickhouse_error(242, "TABLE_IS_READ_ONLY", "Table is in readonly mode")
MEMORY: Final = clickhouse_error(241, "MEMORY_LIMIT_EXCEEDED", "(total) memory limit exceeded")
AUTHENTICATION: Final = clickhouse_error(
    516, "AUTHENTICATION_FAILED", "default: Authentication failed: password is incorrect", 403
)
HALF_OPEN: Final = HttpFault("half_open", Kind.HALF_OPEN)
RESET_IN_BODY: Final = HttpFault("reset_in_body", Kind.RESET_IN_BODY, only="INSERT")
TRUNCATED: Final = HttpFault("truncated", Kind.TRUNCATED)
LOST_ACK: Final = HttpFault("lost_ack", Kind.LOST_ACK, only="INSERT")
SLOW: Final = HttpFault("slow", Kind.SLOW)

#: Those that a worker must ride out by itself.
PASSING: Final = (
    SERVER_ERROR, UNAVAILABLE, TOO_MANY_REQUESTS, TOO_MANY_PARTS, READ_ONLY, MEMORY, HALF_OPEN, RESET_IN_BODY, TRUNCATED,
    LOST_ACK, SLOW,
)  # fmt: skip


class ClickHouseProxy(TcpProxy):
    """See the module; `struck` counts requests by the name of the fault that hit them. Modes of TcpProxy hold too."""

    def __init__(self, target_port: int, seed: int = 1) -> None:
        self.struck: Counter[str] = Counter()
        self._fault: HttpFault | None = None
        self._cleared = asyncio.Event()
        self._rng = random.Random(seed)
        super().__init__(target_port)

    def apply(self, fault: HttpFault) -> None:
        """Strike requests that begin from now on."""
        self._call(self._set_fault(fault))

    def clear(self) -> None:
        """End the fault; requests that hang are reset."""
        self._call(self._set_fault(None))

    async def _set_fault(self, fault: HttpFault | None) -> None:
        self._fault = fault
        if fault is None:
            self._cleared.set()
        else:
            self._cleared.clear()

    async def _relay(self, ends: Ends) -> None:
        while True:
            head = await ends.reader.readuntil(b"\r\n\r\n")
            await self._opened.wait()
            fault = self._fault
            if fault is not None and fault.kind is Kind.HALF_OPEN and self._hits(fault, _statement(head, b"")):
                await self._cleared.wait()
                raise ConnectionResetError
            body = await _body(ends.reader, head)
            if fault is not None and fault.kind is not Kind.HALF_OPEN and self._hits(fault, _statement(head, body)):
                await self._strike(fault, ends, head, body)
            else:
                await self._pass(ends, head, body)

    def _hits(self, fault: HttpFault, statement: str) -> bool:
        if not re.search(fault.only, statement, re.IGNORECASE) or self._rng.random() >= fault.share:
            return False
        self.struck[fault.name] += 1
        return True

    async def _pass(self, ends: Ends, head: bytes, body: bytes) -> None:
        if self._mode is Mode.DELAY:
            await asyncio.sleep(self._delay_s)
        ends.target_writer.write(head + body)
        answer = await _answer(ends.target_reader)
        if self._mode is Mode.CUT_AFTER_REQUEST:
            self.cuts += 1
            raise ConnectionResetError
        ends.writer.write(answer)
        await ends.writer.drain()

    async def _strike(self, fault: HttpFault, ends: Ends, head: bytes, body: bytes) -> None:
        if fault.kind is Kind.ANSWER:
            ends.writer.write(fault.answer())
            await ends.writer.drain()
            # An orderly end: a reset could overtake the answer.
            ends.writer.close()
            await ends.writer.wait_closed()
            raise EOFError
        if fault.kind is Kind.SLOW:
            await self._trickle(fault, ends.target_writer, head + body)
            await self._trickle(fault, ends.writer, await _answer(ends.target_reader))
            return
        if fault.kind is Kind.RESET_IN_BODY:
            ends.target_writer.write(head + body[: len(body) // 2])
            await ends.target_writer.drain()
            reset(ends.target_writer)
            raise ConnectionResetError
        ends.target_writer.write(head + body)
        answer = await _answer(ends.target_reader)
        if fault.kind is Kind.TRUNCATED:
            ends.writer.write(answer[: max(1, (len(answer) + answer.find(b"\r\n\r\n")) // 2)])
            await ends.writer.drain()
            ends.writer.close()
            await ends.writer.wait_closed()
            raise EOFError
        raise ConnectionResetError

    async def _trickle(self, fault: HttpFault, writer: asyncio.StreamWriter, data: bytes) -> None:
        step = max(1, int(fault.bytes_per_s * _SLICE_S))
        for at in range(0, len(data), step):
            # Whatever is left goes at full speed once the fault has ended.
            piece = data[at : at + step] if self._fault is fault else data[at:]
            writer.write(piece)
            await writer.drain()
            if len(piece) < step or self._fault is not fault:
                return
            await asyncio.sleep(_SLICE_S)


def _statement(head: bytes, body: bytes) -> str:
    """What is asked: the parameter `query`, or the beginning of the body."""
    target = head.split(b" ", 2)[1].decode("latin-1")
    query = parse_qs(urlsplit(target).query).get("query", [""])[0]
    return f"{query} {body[:300].decode('utf-8', 'replace')}"


def _field(head: bytes, name: bytes) -> bytes:
    for line in head.split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return b""


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    """The body as it is on the wire, whatever its framing."""
    if b"chunked" in _field(head, b"transfer-encoding").lower():
        parts = []
        while True:
            size = await reader.readuntil(b"\r\n")
            parts.append(size)
            length = int(size.split(b";")[0], 16)
            parts.append(await reader.readexactly(length + 2))
            if not length:
                return b"".join(parts)
    length = _field(head, b"content-length")
    return await reader.readexactly(int(length)) if length else b""


async def _answer(reader: asyncio.StreamReader) -> bytes:
    """The whole answer of the server; without a length it ends with the connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    if _field(head, b"transfer-encoding") or _field(head, b"content-length"):
        return head + await _body(reader, head)
    if head.split(b" ", 2)[1] in (b"204", b"304"):
        return head
    return head + await reader.read(-1)
