"""An insert that fails leaves nothing behind: it is tried again for as long as ClickHouse is away."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc

import pytest

from streamproc.errors import RetryableError
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.support.ports import free_port

_BLOCK = 4 << 20


def test_the_blocks_of_failed_inserts_do_not_wait_for_a_garbage_collection() -> None:
    """Errors and frames that refer to each other held each block, until a full collection minutes later."""

    async def act() -> list[int]:
        clickhouse = ClickHouse(f"http://127.0.0.1:{free_port()}", 5.0)
        sizes = []
        for _ in range(4):
            with pytest.raises(RetryableError):
                await clickhouse.insert("t", ("a",), bytes(_BLOCK), "token")
            sizes.append(tracemalloc.get_traced_memory()[0])
        return sizes

    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        first, *_, last = asyncio.run(act())
    finally:
        tracemalloc.stop()
        gc.enable()
    # pytest.raises keeps the newest error, and with it the frames of the test itself.
    assert last - first < _BLOCK, f"{(last - first) / _BLOCK:.1f} blocks were left"
