"""Command line of the fuzzer."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.fuzz.findings import load, problem
from tests.fuzz.runner import Report, fuzz
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS


def chosen(name: str) -> list[Target]:
    """`all`, one target, or all whose name begins so."""
    found = [target for target in TARGETS.values() if name == "all" or target.name == name]
    return found or [target for target in TARGETS.values() if target.name.startswith(f"{name}-")]


def replay(path: Path) -> int:
    """Check the input of a corpus file; its folder names the target."""
    target = TARGETS[path.resolve().parent.name]
    value = load(path)
    print(f"{target.name}: {len(value)} bytes: {value[:200]!r}", flush=True)
    with target.open() as check:
        error = problem(check, value)
    if error is None:
        print("no finding")
        return 0
    raise error


def _say(report: Report, seed: int) -> None:
    rate = report.runs / report.seconds if report.seconds else 0.0
    print(
        f"{report.target:24} {report.runs:>10,} inputs {report.seconds:8.1f} s {rate:>9,.0f}/s {len(report.findings)} findings"
    )
    for finding, number in report.findings:
        path = finding.save()
        print(f"  {finding.kind}: {finding.text[:600]}")
        print(f"    seed {seed}, batch {number}, input {path}")
        print(f"    again: python -m tests.fuzz --replay {path}", flush=True)


def main() -> int:
    """Exit code 0 without findings, 1 with, 2 for wrong use."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz what reads the inputs of others.")
    parser.add_argument("--target", default="all", help=f"all, or one of {', '.join(TARGETS)} (or how names begin)")
    parser.add_argument("--runs", type=int, default=100_000, help="inputs a target")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="check one file of the corpus")
    parser.add_argument("--list", action="store_true", help="what the targets are")
    options = parser.parse_args()
    if options.replay:
        return replay(options.replay)
    targets = chosen(options.target)
    if not targets:
        parser.error(f"no target {options.target!r}; there are: {', '.join(TARGETS)}")
    if options.list:
        for target in targets:
            print(f"{target.name:24} {target.says}")
        return 0
    found = 0
    columns = (TextColumn("{task.description:24}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    for target in targets:
        with Progress(*columns, transient=True) as bar:
            task = bar.add_task(target.name, total=options.runs)
            report = fuzz(
                target, options.seed, options.runs, lambda now, bar=bar, task=task: bar.update(task, completed=now.runs)
            )
        _say(report, options.seed)
        found += len(report.findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
