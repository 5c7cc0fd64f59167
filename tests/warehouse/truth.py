"""What the warehouse must make of a month's files, computed by the written definitions alone: `compute(directory)`.

Times are epoch ms, days ISO text, money 1/10000 USD in facts and USD (float) in daily metrics. Imports nothing of the
product: an error shared by both sides would otherwise stay unseen.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.warehouse.cdc import read_changes
from tests.warehouse.columns import ACTIVITY, DIM_CHANNEL, DIM_USER, FINANCIAL, METRICS, RETENTION, VIDEOS, Rows
from tests.warehouse.read import EVENT_TOPICS, Silver, read_silver
from tests.warehouse.truth_billing import Book, keep_book
from tests.warehouse.truth_daily import burned, daily_rows, days_of
from tests.warehouse.truth_dims import channel_rows, user_rows
from tests.warehouse.truth_videos import DAY_MS, activity_rows, day_of, video_facts, video_rows


@dataclass
class Truth:
    """What is due.

    `gold`: table name -> its rows (see columns.py). `silver`: topic -> event_id -> (occurred_at, Kafka's timestamp) of the
    record that won. `changes`: CDC topic -> (id, position) of every change. `counts`: (topic, word) -> records, the word
    being valid, duplicate or a dead letter's reason. `days`: the first and the last day, None without events.
    """

    gold: dict[str, Rows] = field(default_factory=dict)
    silver: dict[str, dict[str, tuple[int, int]]] = field(default_factory=dict)
    changes: dict[str, set[tuple[int, int]]] = field(default_factory=dict)
    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    days: tuple[str, str] | None = None

    def metric(self, day: str, metric: str, dimension: str = "", member: str = "", grain: str = "day") -> float | None:
        """One value of daily_metrics; KeyError if there is no such row."""
        value = self.gold[METRICS.name][day, metric, grain, dimension, member][0]
        return None if value is None else float(value)


def retention_rows(silver: Silver) -> Rows:
    """gold.retention_weekly. 1970-01-01 was a Thursday: weeks that begin on Monday begin 3 days before day 0."""
    days = days_of(silver)
    weeks: dict[int, set[int]] = defaultdict(set)
    for event in silver.users:
        weeks[event.user_id].add((event.at // DAY_MS + 3) // 7)
    cohorts: dict[int, list[set[int]]] = defaultdict(list)
    for seen in weeks.values():
        cohorts[min(seen)].append(seen)
    rows: Rows = {}
    for first, users in cohorts.items():
        for week in range(first, (days[-1] + 3) // 7 + 1):
            returning = sum(week in seen for seen in users)
            monday = day_of((7 * first - 3) * DAY_MS)
            rows[monday, week - first] = (len(users), returning, 100 * returning / len(users))
    return rows


def financial_rows(silver: Silver, book: Book) -> Rows:
    """gold.financial_daily; YouTube's revenue is 0, for the month has none."""
    costs = burned(silver)
    return {
        (day_of(day * DAY_MS),): (book.payments[day], book.refunds[day], 0, sum(costs[day].values()))
        for day in days_of(silver)
    }


def compute(directory: Path | str) -> Truth:
    """Everything, from the files of a month; a topic without a file has no records."""
    directory = Path(directory)
    silver = read_silver(directory)
    users = read_changes(directory / "cdc.app.users.ndjson")
    channels = read_changes(directory / "cdc.app.channels.ndjson")
    subscriptions = read_changes(directory / "cdc.app.subscriptions.ndjson")
    facts = video_facts(silver.videos, silver.costs)
    book = keep_book(silver.billing)
    days = days_of(silver)
    truth = Truth(counts=silver.counts)
    truth.gold = {
        VIDEOS.name: video_rows(facts),
        ACTIVITY.name: activity_rows(silver.users),
        DIM_USER.name: user_rows(users, silver.users, silver.costs, facts),
        DIM_CHANNEL.name: channel_rows(channels, facts),
        METRICS.name: daily_rows(silver, book),
        RETENTION.name: retention_rows(silver),
        FINANCIAL.name: financial_rows(silver, book),
    }
    truth.silver = {
        topic: {event.event_id: (event.at, event.log_ms) for event in silver.of(topic)} for topic in EVENT_TOPICS
    }
    truth.changes = {
        f"cdc.app.{table}": {(change.id, change.lsn) for history in histories.values() for change in history}
        for table, histories in (("users", users), ("channels", channels), ("subscriptions", subscriptions))
    }
    truth.days = (day_of(days[0] * DAY_MS), day_of(days[-1] * DAY_MS)) if days else None
    return truth
