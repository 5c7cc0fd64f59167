"""`python -m tests.chaos.table a.json b.json`: the reports of several fault runs as one page of Markdown."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.chaos.result import percentile

Report = dict[str, Any]


def runs_table(reports: Sequence[Report]) -> list[str]:
    """One column a run."""
    rows: list[tuple[str, list[str]]] = [
        ("minutes of faults", [f"{each['minutes']:g}" for each in reports]),
        ("records", [f"{each['produced']:,}" for each in reports]),
        ("kills + pauses", [f"{each['kills']} + {each['pauses']}" for each in reports]),
        ("faults injected, kinds", [_kinds(each) for each in reports]),
        ("recovery p50, p99, longest (s)", [_recovery(each["recoveries"]) for each in reports]),
        ("load average: median, most", [f"{each['load'][0]:.0f}, {each['load'][1]:.0f}" for each in reports]),
        ("alert transitions", [f"{each['alerts']:,}" for each in reports]),
        ("memory of a worker, most (MiB)", [f"{_most(each):.0f}" for each in reports]),
        ("growth from the second third to the last (MiB)", [f"{_growth(each):+.0f}" for each in reports]),
        ("workers that ended by themselves", [f"{sum(each['own_ends'].values())}" for each in reports]),
        ("checked by the oracle", [f"{sum(item['checked'] for item in each['oracle']):,}" for each in reports]),
        ("wrong", [f"{sum(item['violations'] for item in each['oracle'])}" for each in reports]),
        ("violations in all", [str(len(each["violations"])) for each in reports]),
    ]
    head = ["| | " + " | ".join(f"seed {each['seed']}" for each in reports) + " |"]
    head.append("| --- |" + " ---: |" * len(reports))
    return head + [f"| {name} | {' | '.join(cells)} |" for name, cells in rows]


def invariants_table(reports: Sequence[Report]) -> list[str]:
    """What the oracle checked by invariant: checked and wrong, a column a run."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in reports:
        for item in each["oracle"]:
            name = item["invariant"], item["name"]
            found.setdefault(name, []).append(f"{item['checked']:,}, {item['violations']:,} wrong")
    lines = ["| invariant | " + " | ".join(f"seed {each['seed']}" for each in reports) + " |"]
    lines.append("| --- |" + " ---: |" * len(reports))
    return lines + [f"| {' '.join(name)} | {' | '.join(cells)} |" for name, cells in sorted(found.items())]


def faults_table(reports: Sequence[Report]) -> list[str]:
    """How often each kind was injected in all runs, and the recoveries after rounds that it was part of."""
    lines = ["| fault | matrix | injected | recovery p50 s | p99 s |", "| --- | --- | ---: | ---: | ---: |"]
    names = sorted({(tuple(f["ids"]), name) for each in reports for name, f in each["faults"].items()})
    for ids, name in names:
        struck = [each["faults"][name] for each in reports if name in each["faults"]]
        counts = " + ".join(str(each["injected"]) for each in struck)
        times = [seconds for each in struck for seconds in each["recoveries"]]
        span = f"{percentile(times, 0.5):.1f} | {percentile(times, 0.99):.1f}" if times else "– | –"
        lines.append(f"| {name} | {', '.join(ids)} | {counts} | {span} |")
    return lines


def _kinds(each: Report) -> str:
    struck = [fault["injected"] for fault in each["faults"].values()]
    return f"{sum(struck)}, {sum(1 for count in struck if count)} of {len(struck) + len(each['left_out'])}"


def _recovery(times: list[float]) -> str:
    return f"{percentile(times, 0.5):.1f}, {percentile(times, 0.99):.1f}, {max(times, default=0.0):.1f}"


def _most(each: Report) -> float:
    return max((most for _, _, most in each["memory"].values()), default=0.0)


def _growth(each: Report) -> float:
    return max((last - second for second, last in each["memory_by_role"].values()), default=0.0)


def main() -> None:
    """Print the page."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.table", description=__doc__)
    parser.add_argument("report", type=Path, nargs="+", help="JSON that `make chaos REPORT=x.md` wrote beside x.md")
    reports = [json.loads(path.read_text()) for path in parser.parse_args().report]
    for lines in (runs_table(reports), invariants_table(reports), faults_table(reports)):
        print("\n".join(lines), end="\n\n")
    for each in reports:
        for text in each["violations"]:
            print(f"- seed {each['seed']}: {text}")


if __name__ == "__main__":
    main()
