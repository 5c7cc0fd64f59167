"""Health checks that speak each server's own protocol, so that an open port alone never counts as healthy."""

from __future__ import annotations

import asyncio
import struct
from urllib.parse import urlsplit

#: One check may take this long; a server that answers later counts as not healthy.
CHECK_TIMEOUT_S = 2.0
_API_VERSIONS = 18
_CORRELATION = 0x5350


async def _ask(host: str, port: int, request: bytes, limit: int) -> bytes:
    """Send one request and return at most `limit` bytes of the answer; empty if the server is away."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(request)
                await writer.drain()
                return await reader.read(limit)
            finally:
                writer.close()
                # The embedded broker waits for open connections when it stops, so this one must really be gone.
                await writer.wait_closed()
    except (OSError, TimeoutError):
        return b""


async def kafka_ready(host: str, port: int) -> bool:
    """Whether a Kafka broker answers an ApiVersions request."""
    client = b"streamproc"
    body = struct.pack(">hhih", _API_VERSIONS, 0, _CORRELATION, len(client)) + client
    answer = await _ask(host, port, struct.pack(">i", len(body)) + body, 8)
    return len(answer) == 8 and struct.unpack(">ii", answer)[1] == _CORRELATION


async def redis_ready(host: str, port: int) -> bool:
    """Whether Redis answers PING (it answers LOADING or an error while it is not ready)."""
    return (await _ask(host, port, b"PING\r\n", 7)).startswith(b"+PONG")


async def http_ready(url: str) -> bool:
    """Whether a GET of a plain http:// URL is answered with status 200."""
    parts = urlsplit(url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    request = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n"
    status_line = (await _ask(host, port, request.encode(), 64)).split(b"\r\n", 1)[0]
    return status_line.split(b" ")[1:2] == [b"200"]
