"""Room on the disk: chDB acknowledges rows and merges whose writes failed for lack of it, so it must never come to that."""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from streamproc.embedded.clickhouse import errors
from streamproc.embedded.clickhouse.errors import ClickHouseError

#: So many bytes stay free: inserts are refused below, and merges stop. What runs already ends well meanwhile.
RESERVE = 96 << 20
#: Merges begin again above this share of the reserve.
_AGAIN = 1.25
_LOOK_S = 0.1

_log = logging.getLogger(__name__)


class Space:
    """Looks at the disk of the data directory; `run_merges(False)` is called when room ends, with True once it is back."""

    def __init__(self, directory: Path, run_merges: Callable[[bool], None]) -> None:
        self._directory = directory
        self._run_merges = run_merges
        self._low = False
        self._closed = threading.Event()
        self._look()
        self._thread = threading.Thread(target=self._watch, name="space", daemon=True)
        self._thread.start()

    def check(self) -> None:
        """Before rows are stored.

        Raises:
            ClickHouseError: NOT_ENOUGH_SPACE, as ClickHouse has it.
        """
        free = self._free()
        if free < RESERVE:
            raise ClickHouseError(
                errors.NOT_ENOUGH_SPACE,
                f"Not enough space on the disk of {self._directory}: {free >> 20} MiB free, {RESERVE >> 20} MiB stay so",
            )

    def close(self) -> None:
        """Stop looking; before the engine closes."""
        self._closed.set()
        self._thread.join()

    def _free(self) -> int:
        state = os.statvfs(self._directory)
        return state.f_bavail * state.f_frsize

    def _watch(self) -> None:
        while not self._closed.wait(_LOOK_S):
            try:
                self._look()
            except (ClickHouseError, OSError):
                _log.exception("room on the disk is not watched just now")

    def _look(self) -> None:
        free = self._free()
        low = free < (RESERVE * _AGAIN if self._low else RESERVE)
        if low == self._low:
            return
        _log.warning("merges %s: %d MiB free", "stop" if low else "begin again", free >> 20)
        self._run_merges(not low)
        self._low = low
