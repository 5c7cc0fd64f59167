"""One slice of bronze derived again into silver: rows that differ are written, rows that follow no more are deleted."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from batch.backfill.log_times import LogTimes
from batch.backfill.slices import Slice
from schemas.personal import PERSONAL
from schemas.topics import CHANGES
from streamproc.decode.changes import decode_changes
from streamproc.errors import PermanentError
from streamproc.personal import ERASED, keys_in
from streamproc.sinks.bronze import SILVER
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.sealing import Sealing
from streamproc.sinks.silver_changes import PlacedChange, encode_changes

_PREFIX: Final = "staging_"
_PLACE: Final = "partition, log_id, offset"
_ERASED: Final = f'"{ERASED}"'.encode()
#: When a row came says nothing about what it is: a record inserted twice has two times. What of log_time matters is in the version.
_BESIDE: Final = ("ingested_at", "log_time")


@dataclass(slots=True)
class Derived:
    """Rows of silver that were written, and deleted."""

    written: int = 0
    deleted: int = 0


class Deriver:
    """Derives slices of one topic through a staging table of its own. Use as an async context manager."""

    def __init__(self, clickhouse: ClickHouse, topic: str, sealing: Callable[[], Sealing]) -> None:
        """`sealing` is asked for only where personal data lies in changes."""
        self._clickhouse = clickhouse
        self._sealing = sealing
        self._topic = topic
        self._silver = SILVER[topic]
        self._staging = f"meta.{_PREFIX}{uuid.uuid4().hex[:12]}"
        self._places = f"{self._staging}_places"
        self._log_times = LogTimes(clickhouse, topic, f"{self._staging}_times")
        self._columns: list[str] = []
        self._key = ""
        self._made = ""
        self._rejects = ""

    async def __aenter__(self) -> Deriver:
        await self._clickhouse.command(f"CREATE TABLE {self._staging} AS {self._silver} ENGINE = Memory")
        await self._clickhouse.command(
            f"CREATE TABLE {self._places} (partition UInt32, log_id String, offset UInt64) ENGINE = Memory"
        )
        database, table = self._silver.split(".")
        rows = await self._clickhouse.rows(
            "SELECT name FROM system.columns WHERE database = {d:String} AND table = {t:String}"
            " AND default_kind NOT IN ('MATERIALIZED', 'ALIAS') ORDER BY position",
            {"d": database, "t": table},
        )
        self._columns = [name for (name,) in rows]
        found = await self._clickhouse.rows(
            "SELECT sorting_key FROM system.tables WHERE database = {d:String} AND name = {t:String}",
            {"d": database, "t": table},
        )
        self._key = found[0][0]
        if self._topic not in CHANGES:
            self._made = await self._view(f"{table}_from_bronze")
            self._rejects = await self._view(f"{table}_rejected")
            await self._log_times.find()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._log_times.drop()
        for table in (self._places, self._staging):
            await self._clickhouse.command(f"DROP TABLE IF EXISTS {table}")

    async def _view(self, name: str) -> str:
        """The query of a view of silver, as ClickHouse has it now: it is what the stream derives by."""
        rows = await self._clickhouse.rows(
            "SELECT as_select FROM system.tables WHERE database = 'silver' AND name = {name:String}", {"name": name}
        )
        if not rows or not rows[0][0]:
            raise PermanentError("no_view", f"silver.{name} is not there; has `streamproc migrate` run?")
        return str(rows[0][0])

    async def derive(self, piece: Slice) -> Derived:
        """Derive one slice. Repeating it changes nothing.

        Raises:
            RetryableError, PermanentError: ClickHouse's reason; it may have been done in part, and may be repeated.
        """
        for table in (self._places, self._staging):
            await self._clickhouse.command(f"TRUNCATE TABLE {table}")
        # First which records there are: what the stream brings from now on is staged or not, and must not be deleted.
        await self._clickhouse.command(f"INSERT INTO {self._places} {piece.select(_PLACE)}")
        await self._stage(piece)
        done = Derived(deleted=await self._delete())
        done.written = await self._write()
        if self._rejects:
            await self._reject(piece)
        return done

    async def derive_raised(self) -> Derived:
        """Derive what has a wrong log time, of all days; to be done before the slices, in every run.

        Raises:
            RetryableError, PermanentError: as `derive`.
        """
        piece = self._log_times.raised()
        return Derived() if piece is None else await self.derive(piece)

    async def _stage(self, piece: Slice) -> None:
        names = ", ".join(self._columns)
        if self._topic in CHANGES:
            await self._stage_changes(piece)
            return
        await self._clickhouse.command(
            f"INSERT INTO {self._staging} ({names}) SELECT {names} FROM ({_over(self._made, piece, self._log_times.corrected(piece))})"
        )

    async def _stage_changes(self, piece: Slice) -> None:
        """Changes are decoded here as the archive does: no view makes them."""
        columns = "partition, log_id, offset, toUnixTimestamp64Milli(kafka_timestamp), key, payload"
        rows = await self._clickhouse.rows(
            f"SELECT * FROM ({piece.select(columns + ', error')}) WHERE error = ''", bytes_columns=("key", "payload")
        )
        payloads = [row[5] for row in rows]
        clear = await self._sealing().unsealed(payloads) if self._topic in PERSONAL else payloads
        decoded = decode_changes(self._topic, [row[4] or None for row in rows], [payload or None for payload in clear])
        placed = [PlacedChange(change, *rows[place][:4]) for place, change in decoded.rows]
        if self._topic in PERSONAL:
            sealed = await self._sealing().changes(self._topic, placed)
            # What nobody can open any more, or was erased before it came, stays as it lies in bronze.
            placed = [
                before if keys_in(clear[place]) or _ERASED in payloads[place] else after
                for (place, _), before, after in zip(decoded.rows, placed, sealed, strict=True)
            ]
        if placed:
            await self._clickhouse.insert(self._staging, *encode_changes(self._topic, placed))

    async def _write(self) -> int:
        """Rows that silver has not, or otherwise; not those of which silver has a newer version (an earlier offset)."""
        key = self._key.strip("()")
        content = ", ".join(name for name in self._columns if name not in _BESIDE)
        # Of a tuple: a NULL among arguments would make the hash NULL, and a changed row look like the same.
        better = f"""
            SELECT staged.* FROM (SELECT *, first_wins AS fw, cityHash64(tuple({content})) AS hash FROM {self._staging}
                                  ORDER BY first_wins DESC LIMIT 1 BY {key}) AS staged
            LEFT JOIN (SELECT {key}, first_wins AS fw, cityHash64(tuple({content})) AS hash FROM {self._silver} FINAL
                       WHERE ({key}) IN (SELECT {key} FROM {self._staging})) AS there USING ({key})
            WHERE there.hash = 0 OR there.fw < staged.fw OR (there.fw = staged.fw AND there.hash != staged.hash)"""
        count = int((await self._clickhouse.rows(f"SELECT count() FROM ({better})"))[0][0])
        if count:
            names = ", ".join(self._columns)
            await self._clickhouse.command(f"INSERT INTO {self._silver} ({names}) SELECT {names} FROM ({better})")
        return count

    async def _delete(self) -> int:
        """Rows of records from which nothing follows any more, or with another version: a higher one would stay for ever."""
        gone = (
            f"({_PLACE}) IN (SELECT {_PLACE} FROM {self._places})"
            f" AND ({_PLACE}, first_wins) NOT IN (SELECT {_PLACE}, first_wins FROM {self._staging})"
        )
        count = int((await self._clickhouse.rows(f"SELECT count() FROM {self._silver} FINAL WHERE {gone}"))[0][0])
        if count:
            await self._clickhouse.command(f"DELETE FROM {self._silver} WHERE {gone}")
        return count

    async def _reject(self, piece: Slice) -> None:
        place = "topic, partition, log_id, offset"
        names = f"{place}, kafka_timestamp, ingested_at, reason, payload"
        await self._clickhouse.command(
            f"INSERT INTO silver.rejected ({names}) SELECT {names} FROM ({_over(self._rejects, piece, piece.select())})"
            f" WHERE ({place}) NOT IN (SELECT {place} FROM silver.rejected)"
        )


def _over(view: str, piece: Slice, rows: str) -> str:
    """A view's query over the rows of a slice instead of over what is inserted."""
    query = view.replace(f"{piece.table}.", "slice.").replace(f"FROM {piece.table}", f"FROM ({rows}) AS slice")
    if ") AS slice" not in query:
        raise PermanentError("unknown_view", f"a view of silver does not read {piece.table}: {view[-200:]}")
    return query


async def drop_old_staging(clickhouse: ClickHouse) -> None:
    """Staging tables that a killed run left behind a day ago or earlier."""
    rows = await clickhouse.rows(
        f"SELECT name FROM system.tables WHERE database = 'meta' AND startsWith(name, '{_PREFIX}')"
        " AND metadata_modification_time < now() - INTERVAL 1 DAY"
    )
    for (name,) in rows:
        await clickhouse.command(f"DROP TABLE IF EXISTS meta.{name}")
