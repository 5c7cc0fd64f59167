"""`python -m tests.bench`: throughput against naive Faust, latency, CPU and memory; the last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import time

from streamproc.logs import setup_logs
from tests.bench.latency import Latency, measure_latency
from tests.bench.report import Rounds, figures, latency_table, machine, run_line, throughput_table
from tests.bench.throughput import naive_faust, whole_path, windows_only
from tests.bench.userevents import make_user_events

PARTS = ("throughput", "latency")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round of few events, ten seconds of latency")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (default 3)")
    parser.add_argument("--events", type=int, help="events of our runs (default 400,000)")
    parser.add_argument("--faust-events", type=int, help="events of naive Faust's runs (default 20,000)")
    parser.add_argument("--seconds", type=float, help="of latency after a warm-up of 10 s (default 60)")
    parser.add_argument("--only", choices=PARTS, help="measure one part")
    found = parser.parse_args()
    found.rounds = found.rounds or (1 if found.quick else 3)
    found.events = found.events or (100_000 if found.quick else 400_000)
    found.faust_events = found.faust_events or (4_000 if found.quick else 20_000)
    found.seconds = found.seconds or (10.0 if found.quick else 60.0)
    return found


def say(text: str) -> None:
    """A line of progress, at once."""
    print(text, flush=True)


def measure_throughput(rounds: int, events: int, faust_events: int) -> Rounds:
    """Interleaved rounds: naive Faust, decode + windows, whole path; each on new, empty servers."""
    found: Rounds = {"faust": [], "windows": [], "whole": []}
    for number in range(1, rounds + 1):
        say(f"round {number} of {rounds}")
        now_ms = int(time.time() * 1000)
        found["faust"].append(naive_faust(make_user_events(faust_events, now_ms, seed=number)))
        say(run_line("naive Faust", found["faust"][-1]))
        for name, run in (("windows", windows_only), ("whole", whole_path)):
            # Drawn anew: their times must lie before the clock's when they are produced, and today.
            found[name].append(run(make_user_events(events, int(time.time() * 1000), seed=number)))
            say(run_line(name, found[name][-1]))
    return found


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    setup_logs(level="warning")
    about = machine()
    say(f"{about['cores']} cores, Python {about['python']}, {about['versions']}")
    rounds: Rounds | None = None
    latency: Latency | None = None
    if arguments.only != "latency":
        rounds = measure_throughput(arguments.rounds, arguments.events, arguments.faust_events)
    if arguments.only != "throughput":
        say(f"latency: 10 s warm-up and {arguments.seconds:g} s at 2,000 events/s")
        latency = measure_latency(seconds=arguments.seconds)
    for line in (throughput_table(rounds) if rounds else []) + (latency_table(latency) if latency else []):
        say(line)
    say("")
    say(json.dumps(figures(rounds, latency)))


if __name__ == "__main__":
    main()
