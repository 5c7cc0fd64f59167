"""gold.daily_metrics, day by day: users, videos, costs and revenue; operations are in truth_ops."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from tests.warehouse.columns import COMPONENTS, Rows
from tests.warehouse.read import Silver
from tests.warehouse.truth_billing import MOVEMENTS, Book
from tests.warehouse.truth_ops import ops_metrics
from tests.warehouse.truth_videos import DAY_MS, costs_by_video, counted_statuses, day_of

#: (day number, metric, dimension, dimension_value, value); money in USD.
Metric = tuple[int, str, str, str, float | None]
_MONTHLY = ("mau", "arpu_usd", "clv_usd", "mrr_usd")


def days_of(silver: Silver) -> range:
    """Numbers of all days (since 1970) from the first to the last of any valid event; empty without events."""
    first = last = None
    for events in (silver.users, silver.videos, silver.costs, silver.ops, silver.billing):
        for event in events:
            first = event.at if first is None or event.at < first else first
            last = event.at if last is None or event.at > last else last
    return range(0) if first is None or last is None else range(first // DAY_MS, last // DAY_MS + 1)


def _ratio(above: int, below: int) -> float | None:
    return float(Fraction(above, below)) if below else None


def _usd(amount_e4: int) -> float:
    return amount_e4 / 10_000


def active_users(silver: Silver) -> dict[int, set[int]]:
    """Day number -> users with an event."""
    active: dict[int, set[int]] = defaultdict(set)
    for event in silver.users:
        active[event.at // DAY_MS].add(event.user_id)
    return active


def _months(days: range, active: dict[int, set[int]]) -> dict[int, int]:
    """Day number -> distinct users of the 30 days that end with it."""
    sizes: dict[int, int] = {}
    seen: Counter[int] = Counter()
    for day in days:
        seen.update(active.get(day, ()))
        for user in active.get(day - 30, ()):
            seen[user] -= 1
            if not seen[user]:
                del seen[user]
        sizes[day] = len(seen)
    return sizes


def _videos(days: range, silver: Silver) -> Iterator[Metric]:
    completed: dict[int, list[Any]] = defaultdict(list)
    for event in counted_statuses(silver.videos):
        if event.status == "completed":
            completed[event.at // DAY_MS].append(event)
    published = {event.video_id for event in silver.videos if event.status == "published"}
    spent = costs_by_video(silver.costs)
    for day in days:
        events = completed[day]
        videos = {event.video_id for event in events}
        took = sum(event.fields["completed_at"] - event.fields["requested_at"] for event in events)
        yield day, "video_generation_rate", "", "", float(len(events))
        yield day, "avg_generation_time_seconds", "", "", _ratio(took, 1000 * len(events))
        yield day, "video_success_rate", "", "", _ratio(100 * len(videos & published), len(videos))
        # YouTube's statistics come by another path: the month has none.
        yield day, "avg_views_per_video", "", "", None
        sums = {
            component: sum(spent[video][component] for video in videos if video in spent) for component in COMPONENTS
        }
        yield day, "cost_per_video_usd", "", "", _ratio(sum(sums.values()), 10_000 * len(videos))
        for component, amount in sums.items():
            yield day, "cost_per_video_usd", "component", component, _ratio(amount, 10_000 * len(videos))


def burned(silver: Silver) -> dict[int, Counter[str]]:
    """Day number -> component -> costs in 1/10000 USD."""
    costs: dict[int, Counter[str]] = defaultdict(Counter)
    for cost in silver.costs:
        costs[cost.at // DAY_MS][cost.component] += cost.amount
    return costs


def _money(days: range, silver: Silver, book: Book) -> Iterator[Metric]:
    costs = burned(silver)
    for day in days:
        total = sum(costs[day].values())
        yield day, "daily_burn_rate_usd", "", "", _usd(total)
        for component in COMPONENTS:
            yield day, "daily_burn_rate_usd", "component", component, _usd(costs[day][component])
        yield day, "cost_efficiency", "", "", _ratio(book.net(day, day), total) if total > 0 else None
        yield day, "mrr_usd", "", "", _usd(book.mrr(day))
        for name in MOVEMENTS:
            yield day, f"mrr_{name}_usd", "", "", _usd(book.movements[name][day])


def _lifetimes(days: range, active: dict[int, set[int]], book: Book) -> Iterator[Metric]:
    sizes = _months(days, active)
    customers = {day: book.customers(day) for day in days}
    nobody: set[int] = set()
    lost = {day: len(customers.get(day - 1, nobody) - customers[day]) for day in days}
    for day in days:
        yield day, "dau", "", "", float(len(active.get(day, ())))
        yield day, "mau", "", "", float(sizes[day])
        net = book.net(day - 29, day)
        yield day, "arpu_usd", "", "", _ratio(net, 10_000 * sizes[day])
        gone = sum(lost.get(number, 0) for number in range(day - 89, day + 1))
        could = sum(len(customers.get(day - back, nobody)) for back in (90, 60, 30))
        known = sizes[day] and gone and could
        yield day, "clv_usd", "", "", _ratio(net * could, 10_000 * sizes[day] * gone) if known else None


def _by_month(days: range, daily: Iterable[Metric]) -> Iterator[tuple[str, str, float | None]]:
    """(first of the month, metric, value of the month's last day) of those metrics that there are by month."""
    last: dict[str, int] = {}
    for day in days:
        last[day_of(day * DAY_MS)[:7]] = day
    ends = {day: f"{month}-01" for month, day in last.items()}
    for day, metric, dimension, _, value in daily:
        if metric in _MONTHLY and not dimension and day in ends:
            yield ends[day], metric, value


def daily_rows(silver: Silver, book: Book) -> Rows:
    """gold.daily_metrics, of days and of months."""
    days = days_of(silver)
    active = active_users(silver)
    metrics = [
        *_videos(days, silver),
        *_money(days, silver, book),
        *_lifetimes(days, active, book),
        *ops_metrics(days, silver),
    ]
    rows: Rows = {
        (day_of(day * DAY_MS), metric, "day", dimension, member): (value,)
        for day, metric, dimension, member, value in metrics
    }
    assert len(rows) == len(metrics)
    for month, metric, value in _by_month(days, metrics):
        rows[month, metric, "month", "", ""] = (value,)
    return rows
