"""Producers of a run: processes of the oracle's own producer, which keep a ledger of what the broker acknowledged."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from streamproc.embedded.child import bound_argv
from tests.chaos.world import World
from tests.support.server import _starter

#: Longer than any run; the driver stops the producers.
_FOREVER_S: Final = 86_400


class Load:
    """One producer process that paces to `rate` events/s until `stop`."""

    def __init__(self, world: World, rate: float, seed: int) -> None:
        self.ledger = world.directory / "ledger.jsonl"
        self.log = world.directory / "producer.log"
        self._argv = [sys.executable, "-m", "tests.oracle.producer", "--bootstrap", world.bootstrap]
        self._argv += ["--rate", f"{rate:g}", "--seconds", str(_FOREVER_S), "--seed", str(seed)]
        self._argv += ["--ledger", str(self.ledger)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin to produce."""
        with self.log.open("ab") as out:
            self._process = _starter.submit(
                subprocess.Popen, bound_argv(self._argv), stdout=out, stderr=out, start_new_session=True
            ).result()

    def pause(self) -> None:
        """SIGSTOP: nothing is produced until `resume`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def check(self) -> None:
        """Raises AssertionError if the producer has ended by itself."""
        code = self._process.poll() if self._process is not None else None
        assert code is None, f"the producer ended with {code}: {self.log.read_text(errors='replace')[-2000:]}"

    def stop(self, timeout_s: float = 60.0) -> None:
        """SIGTERM, and wait until what is in flight is settled and the ledger is written."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            code = self._process.wait(timeout_s)
            assert code == 0, f"the producer ended with {code}: {self.log.read_text(errors='replace')[-2000:]}"

    def kill(self) -> None:
        """The end of the run, in whatever state."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def ledger_lines(path: Path) -> int:
    """Records that the ledger speaks of."""
    with path.open("rb") as lines:
        return sum(1 for _ in lines)
