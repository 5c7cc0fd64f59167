"""Items 4 and 5: ratios to naive Faust and latency, from one run of the benchmark."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import Any

from tests.accept.result import Line, say

WINDOWS_RATIO, WHOLE_RATIO = 50.0, 25.0
P50_MS, P99_MS = 400.0, 1000.0
_LIMIT_S = 2400.0


@cache
def _bench(part: str, *options: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.bench", "--only", part, *options]
    say(f"{' '.join(command[1:])} ...")
    lines: list[str] = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line.rstrip())
            if line.strip() and not line.startswith("{"):
                say(f"  {line.rstrip()}")
        if process.wait(_LIMIT_S):
            raise RuntimeError(f"the benchmark ended with {process.returncode}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def speed_item(*options: str) -> Line:
    """Events a second against Faust's documented way, median of interleaved rounds."""
    found = _bench("throughput", *options)
    windows, whole = found["windows_vs_faust"], found["whole_path_vs_faust"]
    measured = (
        f"{windows:.1f} x ({found['events_per_s_windows']:,.0f}/s) and {whole:.1f} x ({found['events_per_s']:,.0f}/s) of "
        f"{found['events_per_s_faust']:,.0f}/s; rounds {found['windows_vs_faust_rounds']} and {found['whole_path_vs_faust_rounds']}; "
        f"CPU s/million {found['cpu_s_per_million_windows']:.1f} and {found['cpu_s_per_million']:.1f}; peak {found['rss_mb']:.0f} MB"
    )
    wanted = f"at least {WINDOWS_RATIO:.0f} x (decode + windows) and {WHOLE_RATIO:.0f} x (whole path) naive Faust"
    return Line(4, "speed", wanted, measured, windows >= WINDOWS_RATIO and whole >= WHOLE_RATIO)


def latency_item(*options: str) -> Line:
    """Produce to Redis at 2,000 events/s: windows and entity totals must each hold."""
    found = _bench("latency", *options)
    pairs = {
        kind: (found[f"latency_{kind}_p50_ms"], found[f"latency_{kind}_p99_ms"]) for kind in ("windows", "entities")
    }
    measured = "; ".join(f"{kind} p50 {p50:.0f} ms, p99 {p99:.0f} ms" for kind, (p50, p99) in pairs.items())
    ok = all(p50 < P50_MS and p99 < P99_MS for p50, p99 in pairs.values())
    wanted = f"p50 below {P50_MS:.0f} ms, p99 below {P99_MS:.0f} ms"
    return Line(5, "latency at 2,000 events/s", wanted, f"{measured} ({found['latency_probes']} probes)", ok)
