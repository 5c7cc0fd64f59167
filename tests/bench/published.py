"""Whether ClickHouse and Redis show exactly the windows that a throughput run must lead to, and since when."""

from __future__ import annotations

import time
from collections import defaultdict

import clickhouse_connect

from tests.bench.userevents import UserEvents, expected_counts, expected_users
from tests.support.stack import Stack

_PAUSE_S = 0.1
#: As contracts have it: how many windows a series in Redis keeps.
_SERIES = {"1m": 120, "5m": 288, "1h": 168, "1d": 35}
_WINDOWS_SQL = (
    "SELECT metric, window, toUnixTimestamp(window_start), dimension_value, toInt64(value) FROM gold.windows FINAL"
    " WHERE metric IN ('user_events', 'active_users')"
)

#: (metric, window, activity type or '') -> {window_start in epoch s: value}.
Series = dict[tuple[str, str, str], dict[int, int]]


def require_alive(stack: Stack) -> None:
    """Raises:
    RuntimeError: a worker has ended, with what it said last: what it would have measured means nothing.
    """
    for worker in stack.workers:
        if worker.process.poll() is not None:
            raise RuntimeError(f"the {worker.role} worker ended: {worker.output()[-2000:]}")


class Published:
    """The expected series of `user_events` (in all and by type) and `active_users` (exact distinct users)."""

    def __init__(self, events: UserEvents) -> None:
        self.events = len(events)
        self.series: Series = defaultdict(dict)
        for (window, start, kind), number in expected_counts(events).items():
            self.series["user_events", window, kind][start] = number
        for (window, start), number in expected_users(events).items():
            self.series["active_users", window, ""][start] = number

    def wait(self, stack: Stack, begun: float, limit_s: float, bronze: bool) -> dict[str, float]:
        """Seconds since `begun` (monotonic) until each store was complete.

        Raises:
            RuntimeError: one is not within `limit_s` (the message says which), or a worker has ended.
        """
        client = clickhouse_connect.get_client(dsn=stack.clickhouse.url, autogenerate_session_id=False)
        checks = {"gold": lambda: self._in_gold(client), "redis": lambda: self._in_redis(stack)}
        if bronze:
            # Bronze keeps each record once per (topic, partition, log, offset); nothing is repeated in such a run.
            checks["bronze"] = lambda: self._rows(client, "bronze.user_events") >= self.events
            checks["silver"] = lambda: self._rows(client, "silver.user_activity") >= self.events
        complete: dict[str, float] = {}
        try:
            while len(complete) < len(checks):
                for name, check in checks.items():
                    if name not in complete and check():
                        complete[name] = time.monotonic() - begun
                require_alive(stack)
                if time.monotonic() > begun + limit_s:
                    raise RuntimeError(f"not complete after {limit_s:g} s: {sorted(set(checks) - set(complete))}")
                time.sleep(_PAUSE_S)
            if bronze and self._rows(client, "bronze.user_events FINAL") != self.events:
                raise RuntimeError("bronze holds other records than were sent")
        finally:
            client.close()
        return complete

    @staticmethod
    def _rows(client: clickhouse_connect.driver.Client, table: str) -> int:
        return int(client.query(f"SELECT count() FROM {table}").result_rows[0][0])

    def _in_gold(self, client: clickhouse_connect.driver.Client) -> bool:
        found: Series = defaultdict(dict)
        for metric, window, start, kind, value in client.query(_WINDOWS_SQL).result_rows:
            found[metric, window, kind][start] = value
        return found == self.series

    def _in_redis(self, stack: Stack) -> bool:
        names = list(self.series)
        pipe = stack.redis.pipeline(transaction=False)
        for metric, window, kind in names:
            pipe.hgetall(f"sp:series:{metric}:{window}" + (f":activity_type={kind}" if kind else ""))
        for name, reply in zip(names, pipe.execute(), strict=True):
            expected = dict(sorted(self.series[name].items())[-_SERIES[name[1]] :])
            if {int(start): value for start, value in reply.items()} != {s: str(v) for s, v in expected.items()}:
                return False
        return True
