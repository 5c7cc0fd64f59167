"""A seeded month of the whole company as files, one a topic: `python -m tests.warehouse.month --out DIR`.

Each line is one record: {"ts": Kafka's timestamp in epoch ms, "key": text or null, "value": text or null}, or with
"value_b64" where the value is no UTF-8. A file is in log order; timestamps never decrease in it.
"""

from __future__ import annotations

import argparse
import json
from datetime import date
from pathlib import Path

from tests.warehouse.month_billing import billing_events
from tests.warehouse.month_cdc import cdc_logs
from tests.warehouse.month_company import Company, Plan
from tests.warehouse.month_costs import cost_events
from tests.warehouse.month_ops import ops_events
from tests.warehouse.month_users import user_events
from tests.warehouse.month_videos import Statuses
from tests.warehouse.month_write import Census, Log

EVENT_TOPICS = ("user-events", "video-status", "cost-events", "ops-events", "billing-events")
CDC_TOPICS = ("cdc.app.users", "cdc.app.channels", "cdc.app.subscriptions")
#: Of all events, those that tell of operations, and costs of no single video.
_OPS, _OVERHEADS = 0.25, 0.01


def write_month(plan: Plan, directory: Path) -> Census:
    """Write all files into `directory` (made if needed); what was made how often, also as census.json there."""
    directory.mkdir(parents=True, exist_ok=True)
    census = Census()
    company = Company(plan, census)

    def put(log: Log) -> int:
        census[f"{log.topic}: records"] = len(log)
        log.write(directory)
        return len(log)

    statuses = Statuses(company, census)
    sent = put(statuses.log)
    sent += put(cost_events(company, statuses.videos, max(20, int(plan.events * _OVERHEADS)), census))
    sent += put(billing_events(company, census))
    sent += put(ops_events(company, int(plan.events * _OPS), census))
    put(user_events(company, max(plan.events - sent, plan.events // 10), census))
    for log in cdc_logs(company, census):
        put(log)
    (directory / "census.json").write_text(json.dumps(dict(sorted(census.items())), indent=1), encoding="utf-8")
    return census


def main() -> None:
    """The command."""
    default = Plan()
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("seed", "users", "videos", "events", "days"):
        parser.add_argument(f"--{name}", type=int, default=getattr(default, name))
    parser.add_argument("--begin", type=date.fromisoformat, default=default.begin, help="YYYY-MM-DD")
    parser.add_argument("--out", type=Path, required=True)
    given = vars(parser.parse_args())
    directory = given.pop("out")
    census = write_month(Plan(**given), directory)
    print(json.dumps({name: n for name, n in census.items() if name.endswith(": records")}))


if __name__ == "__main__":
    main()
