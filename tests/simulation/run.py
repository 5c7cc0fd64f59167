"""Many seeds, over processes; what failed is run again for its shortest failing prefix."""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing import get_context
from time import process_time

from tests.simulation.history import History
from tests.simulation.patches import simulated
from tests.simulation.plants import PLANTS

_CHUNK = 200
#: Garbage of so many histories is still in the processor's cache.
_COLLECTED = 40


@dataclass(slots=True)
class Failure:
    """A seed that failed, what was wrong, and after how many decisions it fails already."""

    seed: int
    problems: list[str]
    decisions: int
    plant: str = ""

    def command(self) -> str:
        """What replays it."""
        planted = f" --plant {self.plant}" if self.plant else ""
        return f"python -m tests.simulation --seed {self.seed} --most {self.decisions}{planted} --verbose"

    def text(self) -> str:
        """For a person."""
        lines = [f"seed {self.seed} fails after {self.decisions} decisions; replay: {self.command()}"]
        return "\n".join([*lines, *(f"    {problem}" for problem in self.problems[:6])])


@dataclass(slots=True)
class Tally:
    """What some histories were: `histories` is the number of interleavings, each of at least 30 decisions and a fault."""

    histories: int = 0
    faulty: int = 0
    decisions: int = 0
    events: int = 0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    contents: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Sum up."""
        self.histories += other.histories
        self.faulty += other.faulty
        self.decisions += other.decisions
        self.events += other.events
        self.cpu_s += other.cpu_s
        self.faults += other.faults
        self.contents += other.contents
        self.failures += other.failures

    def rate(self) -> float:
        """Interleavings a minute on one core."""
        return 60 * self.histories / self.cpu_s if self.cpu_s else 0.0

    def text(self) -> str:
        """One line of figures, one of faults."""
        each = f"{self.decisions / max(1, self.histories):.0f} decisions, {self.events / max(1, self.histories):.0f} events"
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in self.faults.most_common())
        contents = ", ".join(f"{kind} {count:,}" for kind, count in self.contents.most_common())
        return (
            f"{self.histories:,} interleavings ({each} each), {len(self.failures)} failed; "
            f"{self.rate():,.0f} a minute on one core\nfaults: {kinds}\nuntil rest: {contents}"
        )


def attempt(seed: int, most: int | None = None) -> tuple[list[str], History | None]:
    """Run one history; an exception of the simulator itself is a problem too."""
    history = None
    try:
        history = History(seed, most=most)
        return history.run(), history
    except Exception:
        return [traceback.format_exc()], history


def shortest(seed: int, problems: list[str], decisions: int, plant: str) -> Failure:
    """The first prefix that fails already (each prefix comes to rest and is checked like a whole history)."""
    for most in range(1, decisions):
        found, _ = attempt(seed, most)
        if found:
            return Failure(seed, found, most, plant)
    return Failure(seed, problems, decisions, plant)


def run_seeds(first: int, count: int, plant: str = "", stop_early: bool = False) -> Tally:
    """Run seeds in this process; the product's modules belong to the simulator meanwhile."""
    tally = Tally()
    with ExitStack() as stack:
        stack.enter_context(simulated())
        if plant:
            stack.enter_context(PLANTS[plant].plant())
        gc.collect()
        gc.freeze()  # what is there now need not be looked at again
        stack.callback(gc.unfreeze)
        began = process_time()
        for seed in range(first, first + count):
            problems, history = attempt(seed)
            tally.histories += 1
            if history is not None:
                world = history.world
                tally.faulty += bool(world.faults)
                tally.decisions += world.decisions
                tally.events += sum(len(log.everything) for log in world.broker.history if log.name[0] in world.sources)
                tally.faults += Counter(dict(world.faults))
                tally.contents += world.contents
            if problems:
                tally.failures.append(shortest(seed, problems, history.decisions if history else 1, plant))
                if stop_early:
                    break
            if seed % _COLLECTED == 0:
                gc.collect()
        tally.cpu_s = process_time() - began
        del history
        gc.collect()
    return tally


def run_many(first: int, count: int, jobs: int, plant: str = "") -> Iterator[Tally]:
    """Run seeds over processes; yields what each chunk of them was, as it is done."""
    chunks = [(start, min(_CHUNK, first + count - start)) for start in range(first, first + count, _CHUNK)]
    if jobs == 1:
        for start, size in chunks:
            yield run_seeds(start, size, plant)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(run_seeds, start, size, plant) for start, size in chunks]
        for done in as_completed(waiting):
            yield done.result()
