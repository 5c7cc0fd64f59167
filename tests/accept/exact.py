"""`python -m tests.accept.exact`: measures "exact through every fault", one line an item, on Apache Kafka.

Exit code 0 only if all that was asked for holds. Everything takes about three hours and wants the machine for itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.accept.exact", description=__doc__)
    parser.add_argument("--only", default="1,2,3,4,5,6", help="items to measure, e.g. 3,4")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka", help="of items 3 and 4")
    parser.add_argument("--chaos-minutes", type=float, default=30.0, help="of item 1; below 30 its line says short")
    parser.add_argument("--seeds", default="1,2,3", help="of item 1")
    parser.add_argument("--away-minutes", type=float, default=5.0, help="of item 4; below 5 its line says short")
    parser.add_argument("--fuzz-runs", type=int, default=1_000_000, help="of item 5, a target")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the exit code."""
    arguments = _arguments()
    # Fixtures read it when they start a broker.
    os.environ["STREAMPROC_TEST_BROKER"] = arguments.broker
    from streamproc.logs import setup_logs
    from tests.accept.commands import chaos_item, ci_item, fuzz_item, simulator_item
    from tests.accept.outage import outage_item
    from tests.accept.restart import restart_item
    from tests.accept.result import Line, measure

    setup_logs(level="warning")
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    items: dict[int, Callable[[], Line]] = {
        1: lambda: chaos_item(arguments.chaos_minutes, seeds),
        2: simulator_item,
        3: restart_item,
        4: lambda: outage_item(arguments.away_minutes),
        5: lambda: fuzz_item(arguments.fuzz_runs),
        6: ci_item,
    }
    return measure(items, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
