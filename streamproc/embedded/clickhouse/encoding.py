"""Content encodings: bodies are read to the end of their last frame, and a cut or broken one is an error."""

import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import lz4.frame
import zstandard

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.errors import ClickHouseError

_PIECE = 1 << 20
# The library gives all that a piece of input holds at once: 2 KB can hold 64 MB, 512 bytes not more than 16 MB.
_ZSTD_SLICE = 512
_RESPONSE_LEVEL = 3
_DEFLATE, _GZIP = zlib.MAX_WBITS, zlib.MAX_WBITS + 16


def decode(encoding: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The plain bytes of a body."""
    decoder = _DECODERS.get(encoding)
    if decoder is None:
        raise ClickHouseError(
            errors.NOT_IMPLEMENTED,
            f"Unknown compression method {encoding}. Only lz4, zstd, gzip and deflate are supported",
        )
    return decoder(chunks)


def _cut(encoding: str, code: int) -> ClickHouseError:
    return ClickHouseError(code, f"{encoding} body ends within a frame: it was cut off")


def _decode_lz4(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One frame after another: clients compress each block into a frame of its own."""
    frame = None
    try:
        for chunk in chunks:
            data = chunk
            while data or (frame is not None and not frame.needs_input and not frame.eof):
                frame = frame or lz4.frame.LZ4FrameDecompressor()
                yield frame.decompress(data, _PIECE)
                data = b""
                if frame.eof:
                    data, frame = frame.unused_data or b"", None
    except RuntimeError as error:
        raise ClickHouseError(errors.LZ4_DECODER_FAILED, f"LZ4 decompression failed: {error}") from error
    if frame is not None:
        raise _cut("lz4", errors.LZ4_DECODER_FAILED)


def _decode_zstd(chunks: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for plain in _zstd_slices(chunks):
        waiting += plain
        while len(waiting) >= _PIECE:
            yield bytes(waiting[:_PIECE])
            del waiting[:_PIECE]
    yield bytes(waiting)


def _zstd_slices(chunks: Iterable[bytes]) -> Iterator[bytes]:
    frame = None
    try:
        for chunk in chunks:
            for start in range(0, len(chunk), _ZSTD_SLICE):
                data = chunk[start : start + _ZSTD_SLICE]
                while data:
                    frame = frame or zstandard.ZstdDecompressor().decompressobj()
                    yield frame.decompress(data)
                    data = b""
                    if frame.eof:
                        data, frame = frame.unused_data, None
    except zstandard.ZstdError as error:
        raise ClickHouseError(errors.ZSTD_DECODER_FAILED, f"ZSTD stream decoding failed: {error}") from error
    if frame is not None:
        raise _cut("zstd", errors.ZSTD_DECODER_FAILED)


def _decode_zlib(chunks: Iterable[bytes], bits: int) -> Iterator[bytes]:
    member = None
    try:
        for chunk in chunks:
            data = chunk
            while data:
                member = member or zlib.decompressobj(bits)
                yield member.decompress(data, _PIECE)
                data = member.unconsumed_tail
                if member.eof:
                    data, member = member.unused_data, None
    except zlib.error as error:
        raise ClickHouseError(errors.ZLIB_INFLATE_FAILED, f"inflate failed: {error}") from error
    if member is not None:
        # Output that did not fit into the last pieces is still inside; what then is missing was never sent.
        yield member.flush()
        if not member.eof:
            raise _cut("gzip or deflate", errors.ZLIB_INFLATE_FAILED)


_DECODERS: dict[str, Callable[[Iterable[bytes]], Iterator[bytes]]] = {
    "lz4": _decode_lz4,
    "zstd": _decode_zstd,
    "gzip": lambda chunks: _decode_zlib(chunks, _GZIP),
    "deflate": lambda chunks: _decode_zlib(chunks, _DEFLATE),
}


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Lz4Compressor:
    """lz4's frame compressor in the shape of the others."""

    def __init__(self) -> None:
        self._frame = lz4.frame.LZ4FrameCompressor()
        self._begun = False

    def compress(self, data: bytes, /) -> bytes:
        start = b"" if self._begun else self._frame.begin()
        self._begun = True
        return bytes(start + self._frame.compress(data))

    def flush(self) -> bytes:
        return bytes(self._frame.flush())


_COMPRESSORS: dict[str, Callable[[], _Compressor]] = {
    "lz4": _Lz4Compressor,
    "zstd": lambda: zstandard.ZstdCompressor(level=1).compressobj(),
    "gzip": lambda: zlib.compressobj(_RESPONSE_LEVEL, zlib.DEFLATED, _GZIP),
    "deflate": lambda: zlib.compressobj(_RESPONSE_LEVEL, zlib.DEFLATED, _DEFLATE),
}


def chosen(accept_encoding: str) -> str | None:
    """The first encoding of Accept-Encoding that this server speaks."""
    for offered in accept_encoding.split(","):
        name, _, weight = offered.strip().lower().partition(";")
        if name.strip() in _COMPRESSORS and weight.replace(" ", "") not in ("q=0", "q=0.0"):
            return name.strip()
    return None


def encode(encoding: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """One frame of an encoding that `chosen` returned."""
    compressor = _COMPRESSORS[encoding]()
    for chunk in chunks:
        yield compressor.compress(chunk)
    yield compressor.flush()
