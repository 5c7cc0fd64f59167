"""Watches the broker's memory and has it renewed in time, because its log lives in memory and is never trimmed."""

from __future__ import annotations

import asyncio

from streamproc.embedded.keeper import State
from streamproc.embedded.supervisor import Supervisor

CHECK_EVERY_S = 5.0


async def watch_broker_memory(
    supervisor: Supervisor, limit_mb: int, broker: str = "broker", check_every_s: float = CHECK_EVERY_S
) -> None:
    """Renew the broker whenever its resident memory is above the limit; runs until cancelled.

    Raises:
        PartFailedError: the broker could not be started again.
    """
    keeper = next(keeper for keeper in supervisor.keepers if keeper.part.name == broker)
    while True:
        await asyncio.sleep(check_every_s)
        used_mb = keeper.rss_bytes // (1024 * 1024)
        if keeper.state is State.READY and used_mb > limit_mb:
            await supervisor.recycle_broker(f"it holds {used_mb} MB, the limit is {limit_mb} MB")
