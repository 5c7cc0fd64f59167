"""What was accepted within a horizon of log time: 128-bit keys in packed arrays, looked up a batch at a time.

Used for duplicates (event ids, 10 minutes) and repeated statuses (video and status, 7 days). A dictionary of 3 million
ids took 505 MB; here a key takes 18 bytes, a status of a video 13. Keys lie in sorted runs, one per granule of log time (so that old ones go
as a whole), plus a small dictionary for what came last in small batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from streamproc.windows.accumulators import UnreadableError

Array = np.ndarray[Any, Any]

_KEY_BYTES: Final = 24
_MEMORY_LIMIT: Final = 512
_DIRECT_RUN: Final = 256
_MAX_RUNS_PER_GRANULE: Final = 6
_MAX_JOURNAL: Final = 64


@dataclass(slots=True)
class _Run:
    """Keys sorted by `lo`; `time` is the log time in ms after the granule's start at which each was accepted.

    `hi` and `time` are as narrow as their values allow (uint8, uint16 or wider).
    """

    granule: int
    lo: Array
    hi: Array
    time: Array


def _sorted_run(granule: int, hi: Array, lo: Array, time: Array) -> _Run:
    order = np.argsort(lo, kind="stable")
    return _Run(granule, lo[order], _narrowed(hi[order]), _narrowed(time[order]))


def _narrowed(values: Array) -> Array:
    """The same numbers in the smallest unsigned type that holds the largest of them."""
    return values.astype(np.min_scalar_type(int(values.max())), copy=False)


def _concatenated(runs: list[_Run], name: str) -> Array:
    return np.concatenate([getattr(run, name) for run in runs])


def _columns(journal: list[tuple[Array, Array, Array]]) -> tuple[Array, Array, Array]:
    hi, lo, time = zip(*journal, strict=True)
    return np.concatenate(hi), np.concatenate(lo), np.concatenate(time)


def _unpacked(packed: bytes) -> tuple[Array, Array, Array]:
    if len(packed) % _KEY_BYTES:
        raise UnreadableError(f"{len(packed)} bytes are no keys")
    n = len(packed) // _KEY_BYTES
    return (
        np.frombuffer(packed, dtype="<u8", count=n),
        np.frombuffer(packed, dtype="<u8", count=n, offset=8 * n),
        np.frombuffer(packed, dtype="<i8", count=n, offset=16 * n),
    )


class RecentKeys:
    """Keys accepted lately, with the log time of acceptance; the latest acceptance of a key counts."""

    def __init__(self, horizon_ms: int, granule_ms: int) -> None:
        self.horizon_ms = horizon_ms
        self._granule_ms = granule_ms
        self._runs: list[_Run] = []
        self._memory: dict[tuple[int, int], int] = {}
        self._journal: list[tuple[Array, Array, Array]] = []

    def __len__(self) -> int:
        return len(self._memory) + sum(len(run.lo) for run in self._runs)

    def find(self, hi: Array, lo: Array) -> dict[int, int]:
        """Index in the batch -> log time (ms) of the latest acceptance, for the keys that are known."""
        found: dict[int, int] = {}
        if self._memory:
            get = self._memory.get
            for i, key in enumerate(zip(hi.tolist(), lo.tolist(), strict=True)):
                time = get(key)
                if time is not None:
                    found[i] = time
        for run in self._runs:
            self._find_in_run(run, hi, lo, found)
        return found

    def _find_in_run(self, run: _Run, hi: Array, lo: Array, found: dict[int, int]) -> None:
        size = len(run.lo)
        begins = run.granule * self._granule_ms
        position = np.searchsorted(run.lo, lo)
        position[position == size] = size - 1
        for i in np.flatnonzero(run.lo[position] == lo).tolist():
            at = int(position[i])
            while at < size and run.lo[at] == lo[i]:
                if run.hi[at] == hi[i]:
                    found[i] = max(found.get(i, -(2**62)), begins + int(run.time[at]))
                at += 1

    def accept(self, hi: Array, lo: Array, time: Array) -> None:
        """Remember keys (uint64 halves) accepted at these log times (int64 ms, not falling)."""
        if not len(lo):
            return
        self._journal.append((hi, lo, time))
        if len(self._journal) >= _MAX_JOURNAL:
            # An array of a few keys costs more than they do.
            self._journal = [_columns(self._journal)]
        self._store(hi, lo, time)
        self._expire(int(time[-1]))

    def _store(self, hi: Array, lo: Array, time: Array) -> None:
        if len(lo) < _DIRECT_RUN:
            memory = self._memory
            for key, at in zip(zip(hi.tolist(), lo.tolist(), strict=True), time.tolist(), strict=True):
                memory[key] = at
            if len(memory) >= _MEMORY_LIMIT:
                self._memory_to_runs()
            return
        self._add_runs(hi, lo, time)

    def _memory_to_runs(self) -> None:
        keys = np.array(list(self._memory), dtype=np.uint64).reshape(-1, 2)
        times = np.fromiter(self._memory.values(), dtype=np.int64, count=len(self._memory))
        self._memory = {}
        self._add_runs(keys[:, 0], keys[:, 1], times)

    def _add_runs(self, hi: Array, lo: Array, time: Array) -> None:
        granules = time // self._granule_ms
        for granule in np.unique(granules).tolist():
            mask = granules == granule
            after = (time[mask] - granule * self._granule_ms).astype(np.uint64)
            self._runs.append(_sorted_run(granule, hi[mask], lo[mask], after))
            same = [run for run in self._runs if run.granule == granule]
            last_granule = all(run.granule <= granule for run in self._runs)
            if len(same) > (_MAX_RUNS_PER_GRANULE if last_granule else 1):
                self._merge_runs(granule, same)
        newest = int(granules.max())
        for older in {run.granule for run in self._runs if run.granule < newest}:
            same = [run for run in self._runs if run.granule == older]
            if len(same) > 1:
                self._merge_runs(older, same)

    def _merge_runs(self, granule: int, same: list[_Run]) -> None:
        merged = _sorted_run(granule, *(_concatenated(same, name) for name in ("hi", "lo", "time")))
        self._runs = [run for run in self._runs if run.granule != granule]
        self._runs.append(merged)

    def _expire(self, log_time_ms: int) -> None:
        # A key exactly `horizon` old still counts, so a granule goes only when its newest possible key is older.
        oldest = log_time_ms - self.horizon_ms
        self._runs = [run for run in self._runs if (run.granule + 1) * self._granule_ms > oldest]

    def take_journal(self) -> bytes:
        """What was accepted since the last call, packed (hi, lo, time as little-endian 64-bit columns)."""
        journal, self._journal = self._journal, []
        if not journal:
            return b""
        columns = _columns(journal)
        return b"".join(column.astype("<u8" if i < 2 else "<i8").tobytes() for i, column in enumerate(columns))

    def load(self, *parts: bytes) -> int:
        """Take back what `take_journal` or `dump` gave, in any order; returns the newest log time in it (or -1).

        All at once: each granule's keys are sorted once, however many parts there are.

        Raises:
            UnreadableError: it is not packed so.
        """
        columns = [_unpacked(part) for part in parts if part]
        if not columns:
            return -1
        hi, lo, time = _columns(columns)
        self._add_runs(hi, lo, time)
        return int(time.max())

    def dump(self, log_time_ms: int) -> bytes:
        """Everything still within the horizon, packed as `take_journal` does."""
        if self._memory:
            self._memory_to_runs()
        if not self._runs:
            return b""
        hi, lo = _concatenated(self._runs, "hi"), _concatenated(self._runs, "lo")
        time = np.concatenate([run.time.astype(np.int64) + run.granule * self._granule_ms for run in self._runs])
        keep = time >= log_time_ms - self.horizon_ms
        return b"".join(
            (hi[keep].astype("<u8").tobytes(), lo[keep].astype("<u8").tobytes(), time[keep].astype("<i8").tobytes())
        )
