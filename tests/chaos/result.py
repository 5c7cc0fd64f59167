"""What a fault run found: counts, recoveries, violations; and the report as Markdown."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.chaos.recovery import PROMISED_S

_MB: Final = "MiB"
_GROWN_UP_S: Final = 15.0
#: Shorter runs are warming up in their second third.
_LONG_MINUTES: Final = 20.0
#: A worker remembers the last 50,000 alerts that are over: a storm of 6,000 of them took notify workers 13 %.
_MOST_GROWTH: Final = 1.2


@dataclass
class Struck:
    """One kind of fault: how often it was injected, and the recoveries after rounds that it was part of (seconds)."""

    ids: tuple[str, ...]
    injected: int = 0
    #: Tries that did not come to strike, for instance because the point of the code was not passed in time.
    missed: int = 0
    recoveries: list[float] = field(default_factory=list)


@dataclass
class Result:
    """Everything that the report says. `violations` empty: all promises held."""

    command: str
    seed: int
    minutes: float
    broker: str
    workers: int
    rate: float
    faults: dict[str, Struck] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    recoveries: list[float] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    kills: int = 0
    pauses: int = 0
    combined: int = 0
    produced: int = 0
    own_ends: Counter[str] = field(default_factory=Counter)
    memory: dict[str, Sequence[tuple[float, float, int, float]]] = field(default_factory=dict)
    oracle: dict[str, Any] = field(default_factory=dict)
    alerts: int = 0
    #: Load averages of a minute, the median and the most, and the cores that there are.
    load: tuple[float, float, int] = (0.0, 0.0, 1)
    seconds: float = 0.0

    def recovered(self, names: Iterable[str], seconds: float) -> None:
        """Note how long the service took after these faults."""
        self.recoveries.append(seconds)
        for name in names:
            self.faults[name].recoveries.append(seconds)
        if seconds > PROMISED_S:
            self.violations.append(
                f"I8: {seconds:.0f} s to recover after {' + '.join(names)} (at most {PROMISED_S:.0f})"
            )


def role_growth(result: Result) -> dict[str, tuple[float, float]]:
    """By role: median resident MiB of its processes in the second third of the run and in the last.

    Young processes are left out, since kills decide how many there are; a worker's own samples are too few to tell.
    """
    samples: dict[str, list[tuple[float, float]]] = {}
    for name, taken in result.memory.items():
        role = name.rpartition("-")[0]
        samples.setdefault(role, []).extend((at, memory) for at, memory, _, age in taken if age >= _GROWN_UP_S)
    length = max((at for taken in samples.values() for at, _ in taken), default=0.0)
    found = {}
    for role, taken in sorted(samples.items()):
        thirds = [
            [memory for at, memory in taken if part * length / 3 < at <= (part + 1) * length / 3] for part in (1, 2)
        ]
        if all(thirds):
            found[role] = statistics.median(thirds[0]), statistics.median(thirds[1])
    return found


def check_memory(result: Result) -> None:
    """I9: memory is flat: no role's processes are larger in the last third of a long run than in the second."""
    if result.minutes < _LONG_MINUTES:
        return
    for role, (second, last) in role_growth(result).items():
        if last > _MOST_GROWTH * second:
            result.violations.append(
                f"I9: memory of {role} workers grew from {second:.0f} to {last:.0f} {_MB} (median)"
            )


def percentile(values: Sequence[float], share: float) -> float:
    """Nearest rank; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def memory_growth(result: Result) -> dict[str, tuple[float, float, float]]:
    """By worker: resident MiB in the second third of the run and in the last (medians), and the most."""
    found = {}
    for name, samples in sorted(result.memory.items()):
        if third := len(samples) // 3:
            second = statistics.median(s[1] for s in samples[third : 2 * third])
            last = statistics.median(s[1] for s in samples[-third:])
            found[name] = second, last, max(s[1] for s in samples)
    return found


def as_json(result: Result) -> dict[str, Any]:
    """All figures of the report, for `tests.chaos.table`."""
    plain = (
        "command",
        "seed",
        "minutes",
        "broker",
        "workers",
        "rate",
        "kills",
        "pauses",
        "combined",
        "produced",
        "load",
    )
    return {
        **{
            name: getattr(result, name)
            for name in (*plain, "alerts", "seconds", "recoveries", "violations", "left_out")
        },
        "faults": {name: asdict(struck) for name, struck in sorted(result.faults.items())},
        "own_ends": dict(result.own_ends),
        "memory": memory_growth(result),
        "memory_by_role": role_growth(result),
        "oracle": result.oracle.get("invariants", []),
    }


def _span(values: Sequence[float]) -> str:
    if not values:
        return "– | – | –"
    return f"{percentile(values, 0.5):.1f} | {percentile(values, 0.99):.1f} | {max(values):.1f}"


def fault_table(result: Result) -> list[str]:
    """Counts and recovery times by kind of fault."""
    lines = [
        "| fault | matrix | injected | recovery p50 s | p99 s | max s |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for name, struck in sorted(result.faults.items(), key=lambda item: (item[1].ids, item[0])):
        if struck.injected:
            lines.append(f"| {name} | {', '.join(struck.ids)} | {struck.injected} | {_span(struck.recoveries)} |")
    lines.append(f"| all | | {sum(s.injected for s in result.faults.values())} | {_span(result.recoveries)} |")
    return lines


def memory_table(result: Result) -> list[str]:
    """Memory and descriptors by worker: the last third of the run beside the second shows growth."""
    lines = [
        f"| worker | samples | second third, median {_MB} | last third, median {_MB} | most {_MB} | most descriptors |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, (second, last, most) in memory_growth(result).items():
        samples = result.memory[name]
        open_files = max(s[2] for s in samples)
        lines.append(f"| {name} | {len(samples)} | {second:.0f} | {last:.0f} | {most:.0f} | {open_files} |")
    lines += [
        f"| all {role} | | {second:.0f} | {last:.0f} | | |" for role, (second, last) in role_growth(result).items()
    ]
    return lines


def markdown(result: Result) -> str:
    """The whole report."""
    verdict = "all promises held" if not result.violations else f"{len(result.violations)} violations"
    missing = sorted(name for name, struck in result.faults.items() if not struck.injected)
    lines = [
        f"### Fault run, seed {result.seed}: {verdict}",
        "",
        f"`{result.command}`",
        "",
        f"{result.minutes:g} minutes of faults on {result.broker}, {result.workers} windows workers, "
        f"{result.rate:g} events/s ({result.produced:,} records): {result.kills} kills and {result.pauses} pauses "
        f"({result.kills + result.pauses} in all), {result.combined} rounds with several faults at once, "
        f"{result.alerts} alert transitions; {result.seconds:.0f} s in all. Load average of the machine: "
        f"{result.load[0]:.1f} (median), {result.load[1]:.1f} (most) on {result.load[2]} cores.",
        "",
        *fault_table(result),
        "",
        *(f"- {line}" for line in oracle_lines(result)),
        "",
        *memory_table(result),
    ]
    if missed := {name: struck.missed for name, struck in result.faults.items() if struck.missed}:
        tries = ", ".join(f"{name} ({count})" for name, count in sorted(missed.items()))
        lines += ["", f"Tries that did not come to strike, and were made again: {tries}."]
    if result.own_ends:
        lines += ["", "Workers that ended by themselves and were started again:", ""]
        lines += [f"- {count} × {what}" for what, count in result.own_ends.most_common()]
    if missing:
        lines += ["", f"Not injected, for lack of time: {', '.join(missing)}."]
    for name, why in sorted(result.left_out.items()):
        lines += ["", f"Left out: {name} ({why})."]
    if result.violations:
        lines += ["", "**Violations**", "", *(f"- {text}" for text in result.violations)]
    return "\n".join(lines) + "\n"


def oracle_lines(result: Result) -> list[str]:
    """One line an invariant, as the oracle gave them."""
    found: list[dict[str, Any]] = result.oracle.get("invariants", [])
    return [
        f"{item['invariant']} {item['name']}: {item['checked']:,} checked, {item['violations']:,} wrong"
        for item in found
    ]
