"""Bronze: every record as it came but for sealed personal values, one insert a batch, and where the archive goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from schemas.personal import PERSONAL
from schemas.topics import BILLING_EVENTS, CHANGES, COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from streamproc.clock import monotonic
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import DATETIME_MS, Column, blobs, block, integers, same_integer, same_text, texts
from streamproc.sinks.sealing import Sealing, sealed_by
from streamproc.sinks.silver_changes import CHANGE_TABLES, PlacedChange, encode_changes

#: Contract topic -> bronze table.
TABLES: Final[dict[str, str]] = {
    USER_EVENTS: "bronze.user_events",
    VIDEO_STATUS: "bronze.video_status",
    COST_EVENTS: "bronze.cost_events",
    OPS_EVENTS: "bronze.ops_events",
    BILLING_EVENTS: "bronze.billing_events",
    **dict.fromkeys(CHANGES, "bronze.cdc"),
}

SILVER: Final[dict[str, str]] = {
    USER_EVENTS: "silver.user_activity",
    VIDEO_STATUS: "silver.video_status",
    COST_EVENTS: "silver.cost_events",
    OPS_EVENTS: "silver.ops_events",
    BILLING_EVENTS: "silver.billing",
    **CHANGE_TABLES,
}

COLUMNS: Final = ("topic", "partition", "log_id", "offset", "kafka_timestamp", "log_time", "key", "payload", "error")

#: Kafka keeps topics for 7 days: what came before cannot be read again, so the search for the last record ends here.
_RECENT_DAYS: Final = 9
#: The embedded broker begins a new log at every start; only the newest few can be the one that is there now.
_MAX_LOGS: Final = 3

#: The token travels in the URL: of many batches only its hash does.
_LONGEST_TOKEN: Final = 200


@dataclass(frozen=True, slots=True)
class BronzeBatch:
    """Records of one partition of one log, in offset order; the sequences are equally long and not empty.

    `timestamps` are Kafka's, epoch ms; a null key or value is b"". `errors` is empty if all records are valid,
    else one text a record ('' = valid). `changes` are the rows of silver that no view makes, of topics of changes. `owners`
    are the users whose records they are (0: nobody's, empty: all nobody's), of topics that hold personal data. `log_times` are the
    running maxima of the timestamps in the whole log (epoch ms; empty: the timestamps, where those only grow).
    """

    topic: str
    partition: int
    log_id: str
    offsets: Sequence[int]
    timestamps: Sequence[int]
    keys: Sequence[bytes]
    payloads: Sequence[bytes]
    errors: Sequence[str] = ()
    changes: Sequence[PlacedChange] = ()
    owners: Sequence[int] = ()
    log_times: Sequence[int] = ()

    @property
    def token(self) -> str:
        """Deduplication token: a retry of the same batch changes nothing, neither here nor behind the views."""
        return f"{self.topic}:{self.partition}:{self.log_id}:{self.offsets[0]}-{self.offsets[-1]}"

    def whose(self) -> set[int]:
        """Users whose keys seal this batch (0: nobody's)."""
        found = {change.change.id for change in self.changes}
        return found | {owner for owner in sealed_by(self.payloads, self.owners, self.errors) if owner is not None}

    def columns(self) -> tuple[Column, ...]:
        """The columns of COLUMNS."""
        rows = len(self.offsets)
        return (
            same_text("topic", self.topic, rows),
            same_integer("partition", "UInt32", self.partition, rows),
            same_text("log_id", self.log_id, rows),
            integers("offset", "UInt64", self.offsets),
            integers("kafka_timestamp", DATETIME_MS, self.timestamps),
            integers("log_time", DATETIME_MS, self.log_times or self.timestamps),
            blobs("key", self.keys),
            blobs("payload", self.payloads),
            texts("error", self.errors) if self.errors else ("error", "String", bytes(rows)),
        )


def encode(batches: Sequence[BronzeBatch]) -> bytes:
    """Batches of one topic as one Native block."""
    each = [batch.columns() for batch in batches]
    joined = [
        (columns[0][0], columns[0][1], b"".join(data for _, _, data in columns)) for columns in zip(*each, strict=True)
    ]
    return block(joined, sum(len(batch.offsets) for batch in batches))


@dataclass(frozen=True, slots=True)
class Condemned:
    """A record that was taken for valid, and turned out to end its readers: `error` is what is wrong with it."""

    topic: str
    partition: int
    log_id: str
    offset: int
    error: str


@dataclass(frozen=True, slots=True)
class RestorePoint:
    """Where the archive of one log stands: its last record as it lies in bronze, and the log time there (epoch ms).

    A crash can leave an insert in bronze that never reached silver, for parts of one insert are not written at once. So
    the archive goes on at `redo_from`, the first offset of the last insert; `redo_log_ms` is the log time before it
    (None: no record before it).
    """

    topic: str
    partition: int
    log_id: str
    offset: int
    timestamp_ms: int
    key: bytes
    payload: bytes
    max_timestamp_ms: int
    redo_from: int
    redo_log_ms: int | None


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


class BronzeSink:
    """Writes batches, and reads where to go on. The caller retries; a repeated or re-cut batch doubles nothing."""

    def __init__(self, clickhouse: ClickHouse, sealing: Sealing) -> None:
        self._clickhouse = clickhouse
        self._sealing = sealing

    async def write(self, batches: Sequence[BronzeBatch]) -> float:
        """One insert of batches of one topic (one a partition). An insert costs the server about 50 ms of CPU whatever
        its size (three parts, two views), so few and large ones: 1,000 rows 48 us a row, 50,000 rows 7 us. Changes are
        two inserts, repeated together: each table knows the token by itself. Personal values are sealed here, so that a
        store of keys that is away holds up nobody but this insert. Returns the seconds that the insert took, sealing aside.

        Raises:
            ValueError: no batch, or batches of several topics.
            KeyError: the topic has no bronze table.
            RetryableError, PermanentError: with a reason; the insert may have been applied all the same.
        """
        topics = {batch.topic for batch in batches}
        if len(topics) != 1:
            raise ValueError(f"one insert takes one topic, not {sorted(topics)}")
        token = ";".join(batch.token for batch in batches)
        if len(token) > _LONGEST_TOKEN:
            token = hashlib.sha256(token.encode()).hexdigest()
        topic = topics.pop()
        if topic in PERSONAL:
            # One round for all: new keys cost several statements, and one of them waits for the disk.
            await self._sealing.hold(set().union(*(batch.whose() for batch in batches)))
        sealed = [await self._sealed(batch) for batch in batches]
        began = monotonic()
        await self._clickhouse.insert(TABLES[topic], COLUMNS, encode(sealed), token)
        changes = [change for batch in sealed for change in batch.changes]
        if changes:
            # After bronze: whoever dies in between goes on with the last insert in bronze once more, and so inserts these.
            await self._clickhouse.insert(SILVER[topic], *encode_changes(topic, changes), token)
        return monotonic() - began

    async def _sealed(self, batch: BronzeBatch) -> BronzeBatch:
        if batch.topic not in PERSONAL:
            return batch
        payloads = await self._sealing.payloads(batch.topic, batch.payloads, batch.owners, batch.errors)
        changes = await self._sealing.changes(batch.topic, batch.changes) if batch.changes else ()
        return replace(batch, payloads=payloads, changes=changes)

    async def condemn(self, record: Condemned) -> None:
        """Mark a record that was archived already, and take it out of silver. Repeating it changes nothing.

        Raises:
            KeyError: the topic has no bronze table.
            RetryableError, PermanentError: with a reason; it may have been applied in part.
        """
        table = TABLES[record.topic]
        place = (
            f"topic = {_quoted(record.topic)} AND partition = {int(record.partition)}"
            f" AND log_id = {_quoted(record.log_id)} AND offset = {int(record.offset)}"
        )
        if not (await self._clickhouse.rows(f"SELECT count() FROM {table} FINAL WHERE {place} AND error = ''"))[0][0]:  # noqa: S608 (names of ours, values quoted)
            return
        # Silver first: a crash in between is followed by another attempt, as long as bronze shows no error.
        await self._clickhouse.command(f"DELETE FROM {SILVER[record.topic]} WHERE {place}")  # noqa: S608 (as above)
        names = ", ".join((*COLUMNS[:-1], "ingested_at"))
        await self._clickhouse.command(
            f"INSERT INTO {table} ({names}, error) SELECT {names}, {_quoted(record.error)} FROM {table} FINAL WHERE {place}"  # noqa: S608 (as above)
        )

    async def restore_points(self, topic: str, partition: int) -> list[RestorePoint]:
        """One point per log of this partition, the log written last first; empty if nothing was archived.

        Raises:
            KeyError: the topic has no bronze table.
            RetryableError, PermanentError: with a reason.
        """
        for condition in (f"AND ingested_at >= now() - INTERVAL {_RECENT_DAYS} DAY", ""):
            logs = await self._clickhouse.rows(
                f"""SELECT log_id, max(offset), toUnixTimestamp64Milli(max(kafka_timestamp)), max(ingested_at) AS newest
                    FROM {TABLES[topic]}
                    WHERE topic = {{topic:String}} AND partition = {{partition:UInt32}} {condition}
                    GROUP BY log_id ORDER BY newest DESC LIMIT {_MAX_LOGS}""",  # noqa: S608 (names of ours, values bound)
                {"topic": topic, "partition": partition},
            )
            if logs:
                return [await self._point(topic, partition, *log[:3]) for log in logs]
        return []

    async def _point(self, topic: str, partition: int, log_id: str, offset: int, max_ms: int) -> RestorePoint:
        found = await self._clickhouse.rows(
            f"""SELECT toUnixTimestamp64Milli(kafka_timestamp), key, payload FROM {TABLES[topic]}
                WHERE topic = {{topic:String}} AND partition = {{partition:UInt32}}
                  AND log_id = {{log_id:String}} AND offset = {{offset:UInt64}} LIMIT 1""",  # noqa: S608 (as above)
            {"topic": topic, "partition": partition, "log_id": log_id, "offset": offset},
            bytes_columns=("key", "payload"),
        )
        timestamp_ms, key, payload = found[0]
        redo_from, redo_ms = await self._redo(topic, partition, log_id)
        return RestorePoint(topic, partition, log_id, offset, timestamp_ms, key, payload, max_ms, redo_from, redo_ms)

    async def _redo(self, topic: str, partition: int, log_id: str) -> tuple[int, int | None]:
        """First offset of the insert written last (its rows share one `ingested_at`), and the log time before it."""
        of_log = f"FROM {TABLES[topic]} WHERE topic = {{topic:String}} AND partition = {{partition:UInt32}} AND log_id = {{log_id:String}}"
        values = {"topic": topic, "partition": partition, "log_id": log_id}
        last = f"SELECT min(offset) {of_log} AND ingested_at = (SELECT max(ingested_at) {of_log})"
        redo_from = int((await self._clickhouse.rows(last, values))[0][0])
        before = (
            f"SELECT count(), toUnixTimestamp64Milli(max(kafka_timestamp)) {of_log} AND offset < {{redo_from:UInt64}}"
        )
        count, max_ms = (await self._clickhouse.rows(before, {**values, "redo_from": redo_from}))[0]
        return redo_from, max_ms if count else None
