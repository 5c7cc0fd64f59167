"""Fair turns on the event loop: long work in slices, larger ones while others take long."""

from __future__ import annotations

import asyncio
from typing import Final

from streamproc.clock import monotonic

#: A slice, and the longest one, in seconds.
_SLICE_S: Final = 0.005
_LONGEST_S: Final = 0.03
#: Of what others took while one waited for its turn. With slices of one length, work that comes in bursts of 20,000 keys
#: got 7 ms of each 85 ms of a busy loop: live values stood still for 17 s after a day's windows had become final.
_SHARE: Final = 0.4


class Turns:
    """One piece of work's turns; it asks between its steps, which take much less than a slice."""

    __slots__ = ("_until_s",)

    def __init__(self) -> None:
        self._until_s = monotonic() + _SLICE_S

    async def take(self) -> None:
        """Let others go on if this turn is over."""
        now_s = monotonic()
        if now_s < self._until_s:
            return
        await asyncio.sleep(0)
        back_s = monotonic()
        self._until_s = back_s + min(_LONGEST_S, max(_SLICE_S, _SHARE * (back_s - now_s)))
