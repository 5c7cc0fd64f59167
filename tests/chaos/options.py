"""What a fault run is asked for, on its command line."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

#: What two cores manage with everything on them: 3 brokers, 5 workers, ClickHouse, Redis, producer and this driver.
RATE: Final = 200.0


@dataclass(frozen=True)
class Options:
    """See `parse`. `only`: parts of the names of the faults to draw, all if empty."""

    minutes: float
    seed: int
    broker: str
    nodes: int
    workers: int
    rate: float
    partitions: int
    directory: Path
    report: Path | None
    only: tuple[str, ...]
    keep: bool

    @property
    def replay(self) -> str:
        """The command that does the same again."""
        parts = [f"make chaos MINUTES={self.minutes:g} SEED={self.seed} BROKER={self.broker} NODES={self.nodes}"]
        parts += [f"WORKERS={self.workers} RATE={self.rate:g} PARTITIONS={self.partitions}"]
        if self.only:
            parts.append('ARGS="' + " ".join(f"--only '{name}'" for name in self.only) + '"')
        return " ".join(parts)


def parse(arguments: list[str] | None = None) -> Options:
    """Read the command line; wrong use ends the process with code 2."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn: faults, their order, times and targets")
    parser.add_argument(
        "--broker", choices=("auto", "kafka", "embedded"), default="auto", help="auto: kafka if it is here"
    )
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=3, help="brokers of Apache Kafka")
    parser.add_argument("--workers", type=int, default=3, help="windows workers")
    parser.add_argument("--rate", type=float, default=RATE, help="events/s that are produced")
    parser.add_argument("--partitions", type=int, default=4, help="partitions a topic")
    parser.add_argument("--directory", type=Path, help="data and logs; a new one under the system's temporary files")
    parser.add_argument("--report", type=Path, help="write the report there (Markdown, and JSON beside it)")
    parser.add_argument("--only", action="append", default=[], help="only faults whose name contains this (repeatable)")
    parser.add_argument("--keep", action="store_true", help="keep data and logs of a run without violations too")
    given = parser.parse_args(arguments)
    if not (given.minutes > 0 and given.workers > 0 and given.rate > 0 and given.partitions > 0):
        parser.error("--minutes, --workers, --rate and --partitions must be above 0")
    broker = given.broker
    if broker == "auto":
        broker = "kafka" if shutil.which("java") and shutil.which("mvn") else "embedded"
    directory = given.directory or Path(tempfile.mkdtemp(prefix="streamproc-chaos-"))
    directory.mkdir(parents=True, exist_ok=True)
    return Options(
        given.minutes,
        given.seed,
        broker,
        given.nodes if broker == "kafka" else 1,
        given.workers,
        given.rate,
        given.partitions,
        directory.resolve(),
        given.report,
        tuple(given.only),
        given.keep,
    )
