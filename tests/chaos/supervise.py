"""What a supervisor does in production: starts workers again that ended, and writes down how they ended."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path
from typing import IO, Final

from tests.bench.processes import rss_mb
from tests.chaos.worker import WorkerHandle
from tests.chaos.world import World

_PAUSE_S: Final = 1.0
_POLL_S: Final = 0.1
_SAMPLE_S: Final = 2.0
_LAST_WORDS: Final = 2000
#: What failpoints and SIGKILL leave behind: ends that the run itself caused.
CAUSED: Final = frozenset({-9, 86})


async def supervise(world: World) -> None:
    """Start again, a second after its end, every worker that is wanted; cancel to stop."""
    ended: dict[WorkerHandle, float] = {}
    while True:
        for worker in list(world.workers):
            if worker.alive or not worker.wanted:
                ended.pop(worker, None)
                continue
            if worker not in ended:
                ended[worker] = time.monotonic()
                world.log({"event": "ended", "worker": worker.name, "code": worker.exit_code, **_last_words(worker)})
            elif time.monotonic() - ended[worker] >= _PAUSE_S:
                del ended[worker]
                worker.start()
        await asyncio.sleep(_POLL_S)


def _last_words(worker: WorkerHandle) -> dict[str, str]:
    """The last error that a worker logged before it ended by itself."""
    if worker.exit_code in CAUSED:
        return {}
    with worker.log.open("rb") as log:
        log.seek(max(0, worker.log.stat().st_size - _LAST_WORDS))
        lines = log.read().decode(errors="replace").splitlines()
    errors = [line for line in lines if '"error"' in line or "Error" in line]
    return {"said": (errors or lines or [""])[-1][:600]}


class Sampler:
    """Memory and file descriptors of every worker every two seconds, as JSON lines."""

    def __init__(self, world: World, path: Path) -> None:
        self._world = world
        self.path = path
        #: Worker name -> (seconds since the run began, resident MiB, open descriptors, seconds since its start).
        self.samples: dict[str, list[tuple[float, float, int, float]]] = {}
        #: How many processes wanted a core, on average of a minute: recoveries take longer on a machine that others use.
        self.loads: list[float] = []

    async def run(self) -> None:
        """Sample until cancelled."""
        with self.path.open("a", encoding="utf-8") as out:
            while True:
                for worker in list(self._world.workers):
                    self._sample(worker, out)
                out.flush()
                self.loads.append(os.getloadavg()[0])
                await asyncio.sleep(_SAMPLE_S)

    def _sample(self, worker: WorkerHandle, out: IO[str]) -> None:
        pid = worker.pid
        try:
            memory, descriptors = rss_mb(pid), sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
        except (OSError, ValueError):
            return  # it does not run, or ended between the looks
        now = time.monotonic()
        at, age = now - self._world.journal.began, now - worker.started_at
        self.samples.setdefault(worker.name, []).append((at, memory, descriptors, age))
        line = {"at_s": round(at, 1), "worker": worker.name, "pid": pid, "age_s": round(age, 1)}
        out.write(json.dumps({**line, "rss_mb": round(memory, 1), "fds": descriptors}) + "\n")
