"""`python -m tests.simulation`: run many seeds with a progress bar, or one with every step written out."""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.simulation.history import History
from tests.simulation.patches import simulated
from tests.simulation.plants import PLANTS
from tests.simulation.run import Tally, run_many


def main() -> int:
    """Returns 1 if a history failed (0 if one was planted and found: that is what was asked for)."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="first seed (default 1)")
    parser.add_argument("--count", type=int, default=1, help="number of seeds, one history each (default 1)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    parser.add_argument("--most", type=int, help="end the history after so many decisions")
    parser.add_argument("--verbose", action="store_true", help="write out every step of one history")
    parser.add_argument("--plant", choices=sorted(PLANTS), default="", help="plant this mistake in the product")
    options = parser.parse_args()
    if options.verbose or options.count == 1:
        return _one(options.seed, options.most, options.plant, options.verbose)
    return _many(options.seed, options.count, options.jobs, options.plant)


def _one(seed: int, most: int | None, plant: str, verbose: bool) -> int:
    with ExitStack() as stack:
        stack.enter_context(simulated())
        if plant:
            stack.enter_context(PLANTS[plant].plant())
        history = History(seed, _write if verbose else None, most)
        problems = history.run()
    _write(f"seed {seed}: {history.world.decisions} decisions, {len(problems)} problems")
    for problem in () if verbose else problems:
        _write(f"    {problem}")
    return 1 if problems else 0


def _many(first: int, count: int, jobs: int, plant: str) -> int:
    total = Tally()
    columns = (TextColumn("simulate"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]} failed"))
    console = Console(stderr=True)
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("simulate", total=count, failed=0)
        for tally in run_many(first, count, jobs, plant):
            total.add(tally)
            for failure in tally.failures:
                console.print(failure.text(), markup=False, highlight=False, soft_wrap=True)
            bar.update(task, completed=total.histories, failed=len(total.failures))
    _write(total.text())
    return 1 if total.failures else 0


def _write(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
