"""`python -m tests.accept.warehouse`: measures the warehouse's list "What must hold", one line an item, on Apache Kafka.

A seeded month of the whole company goes through Kafka and the archive worker to gold, and every table is compared with a
truth from the files alone. Exit code 0 only if all that was asked for holds. About 15 minutes for the whole month.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from datetime import date, timedelta
from pathlib import Path


def main() -> int:
    """Measure and print; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.accept.warehouse", description=__doc__)
    parser.add_argument("--only", default="1,2,3,4", help="items to measure, e.g. 1,3 (2 to 4 need 1)")
    parser.add_argument("--broker", choices=("kafka", "embedded"), default="kafka")
    parser.add_argument("--users", type=int, default=1000, help="below 1,000 the line of item 1 says short")
    parser.add_argument("--videos", type=int, default=3000, help="below 3,000 it says short")
    parser.add_argument("--events", type=int, default=2_000_000, help="below 2,000,000 it says short")
    parser.add_argument("--days", type=int, default=35, help="lifetime value needs more than 30")
    parser.add_argument("--directory", type=Path, help="keep files and servers' data there")
    arguments = parser.parse_args()
    # Fixtures read it when they start a broker.
    os.environ["STREAMPROC_TEST_BROKER"] = arguments.broker
    from streamproc.logs import setup_logs
    from tests.accept.result import measure
    from tests.accept.warehouse_month import Month
    from tests.warehouse.month import Plan

    setup_logs(level="warning")
    begin = (date.today() - timedelta(days=arguments.days + 30)).replace(day=1)
    plan = Plan(1, arguments.users, arguments.videos, arguments.events, arguments.days, begin)
    with tempfile.TemporaryDirectory() as scratch, Month(plan, arguments.directory or Path(scratch)) as month:
        items = {1: month.equals_the_truth, 2: month.repeated, 3: month.queries, 4: month.keeps_up}
        return measure(items, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
