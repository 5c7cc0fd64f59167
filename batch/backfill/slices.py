"""Bronze in pieces of bounded size, each of which is derived in one go."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from streamproc.sinks.clickhouse_client import ClickHouse

#: Rows of bronze at once: some seconds' work, and memory for the rows derived of them.
MAX_ROWS: Final = 200_000


@dataclass(frozen=True, slots=True)
class Slice:
    """An hour of ingestion (epoch s) of one bronze table and topic, or one of `parts` shares of it."""

    table: str
    topic: str
    hour_s: int
    parts: int
    part: int
    rows: int

    @property
    def name(self) -> str:
        """The same as long as the hour is cut alike: a run that goes on knows by it what is done."""
        return f"{self.topic}/{self.hour_s}/{self.part}of{self.parts}"

    def select(self, columns: str = "*") -> str:
        """Its rows; of a record that was inserted twice the newest."""
        share = "" if self.parts == 1 else f" AND cityHash64(partition, offset) % {self.parts} = {self.part}"
        return (
            f"SELECT {columns} FROM {self.table} FINAL WHERE topic = '{self.topic}'"
            f" AND ingested_at >= toDateTime({self.hour_s}, 'UTC') AND ingested_at < toDateTime({self.hour_s + 3600}, 'UTC'){share}"
        )


async def slices_of(clickhouse: ClickHouse, table: str, topic: str, first: date, last: date) -> list[Slice]:
    """What was ingested from the first day to the last (both included), oldest first.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason.
    """
    hours = await clickhouse.rows(
        f"SELECT toUnixTimestamp(toStartOfHour(toDateTime(ingested_at, 'UTC'))) AS hour, count() FROM {table}"
        " WHERE topic = {topic:String} AND ingested_at >= toDateTime({first:String}, 'UTC')"
        " AND ingested_at < toDateTime({after:String}, 'UTC') GROUP BY hour ORDER BY hour",
        {"topic": topic, "first": f"{first} 00:00:00", "after": f"{last + timedelta(days=1)} 00:00:00"},
    )
    found = []
    for hour, rows in hours:
        parts = -(-rows // MAX_ROWS)
        found += [Slice(table, topic, hour, parts, part, rows // parts) for part in range(parts)]
    return found
