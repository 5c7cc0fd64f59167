"""A proxy before Redis that knows commands: it answers with Redis' own errors (-LOADING, -OOM, -READONLY, -NOAUTH), accepts and
never answers, loses replies, or cuts them. `proxy.apply(fault)`, then `proxy.clear()`."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tests.support.proxy import Ends, Mode, TcpProxy

#: Answered by the server whatever the fault: a real one takes them in these states too.
_CONNECTION: Final = frozenset({b"HELLO", b"AUTH", b"CLIENT", b"SELECT", b"QUIT"})
_READS: Final = frozenset(
    {b"GET", b"MGET", b"HGET", b"HGETALL", b"HMGET", b"INFO", b"PING", b"TIME", b"EXISTS", b"SCRIPT"}
)
_SUBSCRIBE: Final = frozenset({b"SUBSCRIBE", b"PSUBSCRIBE", b"SSUBSCRIBE"})


class Kind(StrEnum):
    """ANSWER: an error instead of the server. HALF_OPEN: nothing is read any more, the connection stays open.

    LOST_ACK: the server does what was asked, the client gets a reset. TRUNCATED: half of the reply, then the end.
    """

    ANSWER = "answer"
    HALF_OPEN = "half_open"
    LOST_ACK = "lost_ack"
    TRUNCATED = "truncated"


@dataclass(frozen=True)
class RedisFault:
    """What happens to commands, to that `share` of them; with `writes_only` reads are served."""

    name: str
    kind: Kind
    text: str = ""
    writes_only: bool = False
    share: float = 1.0


LOADING: Final = RedisFault("loading", Kind.ANSWER, "LOADING Redis is loading the dataset in memory")
OOM: Final = RedisFault("oom", Kind.ANSWER, "OOM command not allowed when used memory > 'maxmemory'.", writes_only=True)
READ_ONLY: Final = RedisFault(
    "readonly", Kind.ANSWER, "READONLY You can't write against a read only replica.", writes_only=True
)
NO_AUTH: Final = RedisFault("noauth", Kind.ANSWER, "NOAUTH Authentication required.")
HALF_OPEN: Final = RedisFault("half_open", Kind.HALF_OPEN)
LOST_ACK: Final = RedisFault("lost_ack", Kind.LOST_ACK, writes_only=True)
TRUNCATED: Final = RedisFault("truncated", Kind.TRUNCATED)

FAULTS: Final = (LOADING, OOM, READ_ONLY, NO_AUTH, HALF_OPEN, LOST_ACK, TRUNCATED)


class RedisProxy(TcpProxy):
    """See the module; `struck` counts commands by the name of the fault that hit them. Modes of TcpProxy hold too."""

    def __init__(self, target_port: int, seed: int = 1) -> None:
        self.struck: Counter[str] = Counter()
        self._fault: RedisFault | None = None
        self._cleared = asyncio.Event()
        self._rng = random.Random(seed)
        super().__init__(target_port)

    def apply(self, fault: RedisFault) -> None:
        """Strike commands that come from now on."""
        self._call(self._set_fault(fault))

    def clear(self) -> None:
        """End the fault; connections that hang are reset."""
        self._call(self._set_fault(None))

    async def _set_fault(self, fault: RedisFault | None) -> None:
        self._fault = fault
        if fault is None:
            self._cleared.set()
        else:
            self._cleared.clear()

    async def _relay(self, ends: Ends) -> None:
        while True:
            raw, name = await _command(ends.reader)
            await self._opened.wait()
            if name in _SUBSCRIBE:
                # From here on replies come unasked: bytes are passed on as they are.
                ends.target_writer.write(raw)
                return await super()._relay(ends)
            fault = self._fault
            if fault is None or not self._hits(fault, name):
                await self._pass(ends, raw)
            elif fault.kind is Kind.HALF_OPEN:
                await self._cleared.wait()
                raise ConnectionResetError
            elif fault.kind is Kind.ANSWER:
                ends.writer.write(f"-{fault.text}\r\n".encode())
                await ends.writer.drain()
            else:
                await self._cut(ends, raw, fault)

    def _hits(self, fault: RedisFault, name: bytes) -> bool:
        spared = name in _CONNECTION or (fault.writes_only and name in _READS)
        if (spared and fault.kind is not Kind.HALF_OPEN) or self._rng.random() >= fault.share:
            return False
        self.struck[fault.name] += 1
        return True

    async def _pass(self, ends: Ends, raw: bytes) -> None:
        if self._mode is Mode.DELAY:
            await asyncio.sleep(self._delay_s)
        ends.target_writer.write(raw)
        reply = await _reply(ends.target_reader)
        if self._mode is Mode.CUT_AFTER_REQUEST:
            self.cuts += 1
            raise ConnectionResetError
        ends.writer.write(reply)
        await ends.writer.drain()

    async def _cut(self, ends: Ends, raw: bytes, fault: RedisFault) -> None:
        ends.target_writer.write(raw)
        reply = await _reply(ends.target_reader)
        if fault.kind is Kind.TRUNCATED:
            ends.writer.write(reply[: max(1, len(reply) // 2)])
            await ends.writer.drain()
            ends.writer.close()
            await ends.writer.wait_closed()
            raise EOFError
        raise ConnectionResetError


async def _command(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """One command as it is on the wire, and its name in capitals."""
    line = await reader.readuntil(b"\r\n")
    if not line.startswith(b"*"):
        return line, line.split()[0].upper() if line.split() else b""
    parts = [line]
    name = b""
    for index in range(int(line[1:])):
        size = await reader.readuntil(b"\r\n")
        word = await reader.readexactly(int(size[1:]) + 2)
        parts += (size, word)
        if index == 0:
            name = word[:-2].upper()
    return b"".join(parts), name


async def _reply(reader: asyncio.StreamReader) -> bytes:
    """One reply of RESP2 or RESP3, whatever is nested in it."""
    line = await reader.readuntil(b"\r\n")
    kind = line[:1]
    if kind in b"$=!" and line[1:2] != b"-":
        return line + await reader.readexactly(int(line[1:]) + 2)
    count = 0
    if kind in b"*~>%|" and line[1:2] != b"-":
        count = int(line[1:]) * (2 if kind in b"%|" else 1)
    parts = [line]
    for _ in range(count):
        parts.append(await _reply(reader))
    if kind == b"|":
        # Attributes precede the reply that they belong to.
        parts.append(await _reply(reader))
    return b"".join(parts)
