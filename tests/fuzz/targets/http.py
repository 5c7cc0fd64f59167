"""What a client can send to the ClickHouse server beside the statement: parameters, headers, encodings, Native blocks."""

from __future__ import annotations

import base64
import gzip
import random
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final
from urllib.parse import parse_qsl

import lz4.frame
import zstandard

from streamproc.embedded.clickhouse.encoding import chosen, decode, encode
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.native import with_version
from streamproc.embedded.clickhouse.request import read_credentials, read_request
from tests.fuzz.mutate import MIB, mutated
from tests.fuzz.target import Target, Wrong, each

_QUERIES: Final = (
    b"query=SELECT+1&database=default&session_id=s&session_timeout=60&session_check=1",
    b"query=SELECT+%7Bp%3AUInt8%7D&param_p=1&max_threads=2&role=a&role=b&readonly=1",
    b"user=default&password=x&client_protocol_version=54455&default_format=Native&query_id=q",
    b"enable_http_compression=1&compress=0&decompress=0&wait_end_of_query=1&async_insert=1",
    b"t_structure=a+UInt8&t_format=CSV&t_types=UInt8&close_session=1&buffer_size=1",
)
_HEADERS: Final = (
    b"X-ClickHouse-User: default\nX-ClickHouse-Key: x\nX-ClickHouse-Database: d\nX-ClickHouse-Format: CSV",
    b"Authorization: Basic " + base64.b64encode(b"default:x"),
    b"Authorization: Bearer x\nAccept-Encoding: gzip;q=1.0, zstd, lz4;q=0, *\nContent-Encoding: zstd",
    b"Accept-Encoding: br, deflate ; q=0.5\nX-ClickHouse-Query-Id: q",
)


def _request(rng: random.Random) -> bytes:
    query, headers = rng.choice(_QUERIES), rng.choice(_HEADERS)
    if rng.random() < 0.9:
        query = mutated(rng, query, _QUERIES)
    if rng.random() < 0.7:
        headers = mutated(rng, headers, _HEADERS)
    return rng.choice((b"GET", b"POST", b"HEAD")) + b"\n" + query.replace(b"\n", b"") + b"\n" + headers


def _check_request(value: bytes) -> None:
    method, query, *lines = value.decode("latin-1").split("\n")
    fields = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
    headers = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    chosen(headers.get("Accept-Encoding", ""))
    for act in (
        lambda: read_credentials(dict(fields), headers),
        lambda: read_request(method, fields, headers, frozenset(("t",))),
    ):
        try:
            act()
        except ClickHouseError as error:
            if not 0 < error.code < 2000 or error.status not in range(400, 600):
                raise Wrong(f"{error.code} with status {error.status}") from None


_ENCODERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "deflate": zlib.compress,
    "lz4": lz4.frame.compress,
    "zstd": zstandard.ZstdCompressor().compress,
}


@cache
def _bombs(encoding: str) -> bytes:
    """64 MiB of zeros."""
    return _ENCODERS[encoding](bytes(64 * MIB))


def _body(rng: random.Random) -> bytes:
    encoding = rng.choice(tuple(_ENCODERS))
    name = encoding.encode().ljust(8)
    if rng.random() < 0.0005:
        return name + b"!" + _bombs(encoding)
    data = rng.choice(
        (rng.randbytes(rng.randint(0, 300)), b"a" * rng.randint(0, 200_000 if rng.random() < 0.01 else 2000))
    )
    cut = rng.randint(0, len(data))
    packed = _ENCODERS[encoding](data[:cut]) + (_ENCODERS[encoding](data[cut:]) if cut < len(data) else b"")
    if rng.random() < 0.2:
        return name + b"=" + struct.pack("<I", zlib.crc32(data)) + packed
    return name + b"?" + mutated(rng, packed, (packed, _ENCODERS[rng.choice(tuple(_ENCODERS))](data)))


def _check_body(value: bytes) -> None:
    encoding, kind = value[:8].strip().decode("latin-1"), value[8:9]
    packed = value[13:] if kind == b"=" else value[9:]
    # As the server reads them: pieces of a mebibyte; small ones here find more seams.
    pieces = [packed[at : at + 100] for at in range(0, len(packed), 100)] if len(packed) < 20_000 else [packed]
    checksum = size = 0
    try:
        for piece in decode(encoding, pieces):
            if len(piece) > 2 * MIB:
                raise Wrong(f"{len(piece)} bytes at once")
            checksum = zlib.crc32(piece, checksum)
            size += len(piece)
            if size > 80 * MIB:
                return
    except ClickHouseError:
        if kind != b"?":
            raise Wrong("a whole body is refused") from None
        return
    if kind == b"=" and checksum != struct.unpack("<I", value[9:13])[0]:
        raise Wrong("another body comes out")
    if kind == b"=" and size < 100_000:
        plain = b"".join(decode(encoding, pieces))
        if b"".join(decode(encoding, encode(encoding, [plain]))) != plain:
            raise Wrong("what is encoded is not decoded")


def _column(rng: random.Random, rows: int, depth: int = 0) -> tuple[str, bytes, bytes]:
    """Type, prefix and data of a random column."""
    kind = rng.randrange(9 if depth < 3 else 3)
    if kind <= 1:
        name, width = rng.choice(
            (("UInt8", 1), ("Int64", 8), ("UUID", 16), ("DateTime64(3, 'UTC')", 8), ("Decimal(38, 4)", 16))
        )
        return name, b"", rng.randbytes(width * rows)
    if kind == 2:
        return (
            "String",
            b"",
            b"".join(bytes((size,)) + rng.randbytes(size) for size in (rng.randrange(20) for _ in range(rows))),
        )
    if kind == 3:
        inner, prefix, data = _column(rng, rows, 3)
        return f"Nullable({inner})", prefix, bytes(rng.randrange(2) for _ in range(rows)) + data
    if kind in (4, 5):
        total, ends = 0, b""
        for _ in range(rows):
            total += rng.randrange(4)
            ends += struct.pack("<Q", total)
        inner, prefix, data = _column(rng, total, depth + 1) if kind == 4 else ("String", b"", b"")
        if kind == 4:
            return f"Array({inner})", prefix, ends + (data if total else b"")
        keys = b"".join(b"\x01k" for _ in range(total))
        return "Map(String, String)", b"", ends + keys + keys
    if kind == 6:
        parts = [_column(rng, rows, depth + 1) for _ in range(rng.randint(1, 3))]
        inner = ", ".join(part[0] if rng.random() < 0.5 else f"n{n} {part[0]}" for n, part in enumerate(parts))
        return f"Tuple({inner})", b"".join(part[1] for part in parts), b"".join(part[2] for part in parts)
    if kind == 7 and rows:
        keys = rng.randint(1, 5)
        data = struct.pack("<QQ", 0x200, keys) + b"\x01a" * keys + struct.pack("<Q", rows) + bytes(rows)
        return "LowCardinality(String)", struct.pack("<Q", 1), data
    return "Float64", b"", rng.randbytes(8 * rows)


def _text(text: bytes) -> bytes:
    length = bytes((len(text),)) if len(text) < 0x80 else bytes((len(text) & 0x7F | 0x80, len(text) >> 7))
    return length + text


def _native(rng: random.Random) -> bytes:
    blocks = b""
    for _ in range(rng.randint(1, 2)):
        rows, columns = rng.choice((0, 1, 2, 7)), rng.randint(1, 3)
        block = bytes((columns, rows))
        for number in range(columns):
            kind, prefix, data = _column(rng, rows)
            name = f"c{number}".encode()
            block += _text(name) + _text(kind.encode()) + (prefix + data if rows else b"")
        blocks += block
    if rng.random() < 0.3:
        return b"=" + blocks
    return b"?" + (mutated(rng, blocks, (blocks,)) if rng.random() < 0.999 else b"\xff" * 100_000)


def _check_native(value: bytes) -> None:
    kind, data = value[:1], value[1:]
    try:
        found = b"".join(with_version(data))
    except ClickHouseError as error:
        if kind == b"=":
            raise Wrong(f"a whole result is refused: {error.message}") from None
        return
    if len(found) < len(data):
        raise Wrong("bytes are missing")


TARGETS = [
    Target("http-request", "parameters and headers of the ClickHouse server", _request, each(_check_request), 1000),
    Target("http-body", "content encodings, compression bombs among them", _body, each(_check_body), 300),
    Target("http-native", "Native results for clients with a protocol version", _native, each(_check_native), 500),
]
