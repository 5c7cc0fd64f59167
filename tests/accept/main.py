"""`python -m tests.accept.main`: measures what the main job promises ("What must hold"), one line an item.

Exit code 0 only if all that was asked for holds. Everything takes about an hour and wants the machine for itself.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from streamproc.logs import setup_logs
from tests.accept.alert import alert_item
from tests.accept.fresh import fresh_item
from tests.accept.memory import MINUTES, memory_item
from tests.accept.result import Line, measure
from tests.accept.speed import latency_item, speed_item
from tests.accept.truth import truth_item


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.accept.main", description=__doc__)
    parser.add_argument("--only", default="1,2,3,4,5,6,7", help="items to measure, e.g. 2,3")
    parser.add_argument("--events", type=int, default=200_000, help="of items 2 and 3")
    parser.add_argument("--seed", type=int, default=1, help="of items 2 and 3")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of item 6; below 20 its line says short")
    parser.add_argument("--skip-make-test", action="store_true", help="item 1 without `make test`: its line says short")
    parser.add_argument("--quick", action="store_true", help="items 4 and 5 with the benchmark's --quick")
    return parser.parse_args()


def main() -> int:
    """Measure and print; the exit code."""
    arguments = _arguments()
    setup_logs(level="warning")
    quick = ("--quick",) if arguments.quick else ()
    items: dict[int, Callable[[], Line]] = {
        1: lambda: fresh_item(arguments.skip_make_test),
        2: lambda: truth_item(2, arguments.events, arguments.seed, chaos=False),
        3: lambda: truth_item(3, arguments.events, arguments.seed + 1, chaos=True),
        4: lambda: speed_item(*quick),
        5: lambda: latency_item(*quick),
        6: lambda: memory_item(arguments.minutes),
        7: alert_item,
    }
    return measure(items, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
