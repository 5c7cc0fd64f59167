"""Random faults under load, seeded: workers killed and paused, ClickHouse and Redis killed; then everything is equal."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.e2e.checks import check_archive, check_live, check_windows, messages
from tests.support.stack import Stack, Worker


class Chaos:
    """Faults of one stack; each leaves it able to go on."""

    def __init__(self, stack: Stack, rng: random.Random) -> None:
        self.stack = stack
        self.rng = rng
        self.workers: list[Worker] = [stack.worker(role) for role in ("windows", "windows", "archive")]
        self.after: list[Callable[[], None]] = []

    def _replace(self, worker: Worker) -> None:
        place = self.workers.index(worker)
        self.workers[place] = self.stack.worker(worker.role, wait=False)

    def kill_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        worker.kill()
        self._replace(worker)

    def stop_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        worker.process.send_signal(signal.SIGTERM)
        self._replace(worker)

    def pause_worker(self) -> None:
        worker = self.rng.choice(self.workers)
        worker.process.send_signal(signal.SIGSTOP)
        self.after.append(lambda: worker.process.send_signal(signal.SIGCONT))

    def kill_clickhouse(self) -> None:
        self.stack.kill_clickhouse()
        self.after.append(self.stack.restart_clickhouse)

    def kill_redis(self) -> None:
        self.stack.redis_server.kill()
        self.after.append(self.stack.redis_server.start)

    def strike(self) -> str:
        """One random fault; those of the rounds before end."""
        for end in self.after:
            end()
        self.after.clear()
        fault = self.rng.choice(
            (self.kill_worker, self.stop_worker, self.pause_worker, self.kill_clickhouse, self.kill_redis)
        )
        fault()
        return fault.__name__

    def calm(self) -> None:
        """All faults end; a worker that ended itself is replaced, as a supervisor does."""
        for end in self.after:
            end()
        self.after.clear()
        for worker in list(self.workers):
            if worker.process.poll() is not None:
                self._replace(worker)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_random_faults_change_nothing(running: Stack, seed: int) -> None:
    """Twelve faults, 600 records after each."""
    rng = random.Random(seed)
    chaos, events = Chaos(running, rng), messages(20 + seed, 12 * 600)
    done: list[str] = []
    for start in range(0, len(events), 600):
        done.append(chaos.strike())
        running.produce(events[start : start + 600])
        # No condition to wait for: when the next fault comes is random.
        until = time.monotonic() + rng.uniform(0.2, 4.0)
        while time.monotonic() < until:
            time.sleep(0.1)
    chaos.calm()
    try:
        truth = check_windows(running, timeout_s=120)
        check_live(running, truth, timeout_s=60)
        check_archive(running, timeout_s=60)
    except AssertionError as error:
        codes = [(worker.role, worker.process.poll()) for worker in chaos.workers]
        raise AssertionError(f"after {done}; workers {codes}: {error}") from None
