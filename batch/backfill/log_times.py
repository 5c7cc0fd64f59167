"""Log times that bronze does not know: of records from before the column, and of those that an older release brought."""

from __future__ import annotations

from dataclasses import dataclass

from batch.backfill.slices import Slice
from streamproc.sinks.bronze import TABLES
from streamproc.sinks.clickhouse_client import ClickHouse


@dataclass(frozen=True, slots=True)
class RaisedRows(Slice):
    """The records of bronze that a table names, of whatever day."""

    found: str = ""

    def select(self, columns: str = "*") -> str:
        """Its rows; of a record that was inserted twice the newest."""
        return (
            f"SELECT {columns} FROM {self.table} FINAL WHERE topic = '{self.topic}'"
            f" AND (partition, log_id, offset) IN (SELECT partition, log_id, offset FROM {self.found})"
        )


class LogTimes:
    """Where a record's log time is in a later minute than bronze says: found once a topic, in one pass over narrow columns.

    Only then does it make another version. With Kafka's own clock (LogAppendTime) there are nearly none.
    """

    def __init__(self, clickhouse: ClickHouse, topic: str, table: str) -> None:
        """`table`: a name for what is found, to be created here."""
        self._clickhouse = clickhouse
        self._topic = topic
        self._table = table
        self._some = False

    async def find(self) -> None:
        """Read how high Kafka's times had risen in each log at each record.

        Raises:
            RetryableError, PermanentError: ClickHouse's reason.
        """
        await self._clickhouse.command(
            f"CREATE TABLE {self._table} (partition UInt32, log_id String, offset UInt64,"
            " found DateTime64(3, 'UTC')) ENGINE = Memory"
        )
        # A record that was inserted twice lies here twice, which changes no maximum.
        await self._clickhouse.command(f"""
            INSERT INTO {self._table}
            SELECT partition, log_id, offset, max(found) FROM (
                SELECT partition, log_id, offset, log_time,
                       max(kafka_timestamp) OVER (PARTITION BY partition, log_id ORDER BY offset) AS found
                FROM {TABLES[self._topic]} WHERE topic = '{self._topic}')
            WHERE toStartOfMinute(found) > toStartOfMinute(log_time) GROUP BY partition, log_id, offset""")
        self._some = bool((await self._clickhouse.rows(f"SELECT count() FROM {self._table}"))[0][0])

    def raised(self) -> RaisedRows | None:
        """What was found, to be derived before anything else: with a log time too low a row keeps others out of silver."""
        return RaisedRows(TABLES[self._topic], self._topic, 0, 1, 0, 0, self._table) if self._some else None

    def corrected(self, piece: Slice) -> str:
        """A query for the rows of a slice, with the log times that were found."""
        if not self._some:
            return piece.select()
        return f"""SELECT rows.* REPLACE (greatest(rows.log_time, times.found) AS log_time) FROM ({piece.select()}) AS rows
            LEFT JOIN {self._table} AS times USING (partition, log_id, offset)"""

    async def drop(self) -> None:
        """Remove what was found."""
        await self._clickhouse.command(f"DROP TABLE IF EXISTS {self._table}")
