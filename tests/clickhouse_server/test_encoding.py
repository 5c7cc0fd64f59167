"""Every frame of a compressed body is read, and a cut or broken one is an error."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Callable

import lz4.frame
import pytest
import zstandard

from streamproc.embedded.clickhouse.encoding import chosen, decode, encode
from streamproc.embedded.clickhouse.errors import ClickHouseError

_RANDOM = random.Random(7)
DATA = _RANDOM.randbytes(300_000) + b"x" * 3_000_000

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "lz4": lz4.frame.compress,
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
    "gzip": gzip.compress,
    "deflate": zlib.compress,
}


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1 << 20, 997])
@pytest.mark.parametrize("encoding", COMPRESS)
def test_one_frame(encoding: str, size: int) -> None:
    body = COMPRESS[encoding](DATA)
    assert b"".join(decode(encoding, _chunks(body, size))) == DATA


@pytest.mark.parametrize("size", [1 << 20, 31])
@pytest.mark.parametrize("encoding", ["lz4", "zstd", "gzip"])
def test_many_frames(encoding: str, size: int) -> None:
    pieces = [b"%d;" % number * number for number in range(40)]
    body = b"".join(COMPRESS[encoding](piece) for piece in pieces)
    assert b"".join(decode(encoding, _chunks(body, size))) == b"".join(pieces)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_cut_or_broken(encoding: str) -> None:
    body = COMPRESS[encoding](DATA)
    for broken in (body[:-1], body[: len(body) // 2], b"not compressed at all", body + b"garbage behind it"):
        if encoding == "deflate" and broken.startswith(body):
            continue  # a second stream may follow: what follows here is found to be none only by its header
        with pytest.raises(ClickHouseError) as caught:
            list(decode(encoding, _chunks(broken, 10_000)))
        assert caught.value.code in (354, 561, 618)


def test_unknown_encoding() -> None:
    with pytest.raises(ClickHouseError) as caught:
        decode("br", [b"x"])
    assert (caught.value.code, caught.value.status) == (48, 501)


@pytest.mark.parametrize("encoding", COMPRESS)
def test_round_trip_of_responses(encoding: str) -> None:
    assert b"".join(decode(encoding, encode(encoding, _chunks(DATA, 1 << 20)))) == DATA


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        ("lz4,zstd,gzip", "lz4"),
        ("br, gzip;q=0.5, deflate", "gzip"),
        ("lz4;q=0, zstd", "zstd"),
        ("br", None),
        ("", None),
        ("identity", None),
    ],
)
def test_negotiation(header: str, encoding: str | None) -> None:
    assert chosen(header) == encoding


@pytest.mark.parametrize("encoding", COMPRESS)
def test_a_bomb_comes_out_in_pieces(encoding: str) -> None:
    """64 MB of zeros in a few KB: never more than a mebibyte at once, and little memory in between."""
    body = COMPRESS[encoding](bytes(64 << 20))
    tracemalloc.start()
    sizes = [len(piece) for piece in decode(encoding, [body])]
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(sizes) == 64 << 20
    assert max(sizes) <= 1 << 20
    assert most < 48 << 20
