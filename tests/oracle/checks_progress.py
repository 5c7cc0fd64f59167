"""I5 and I6: the service's own progress against the ends of the logs, and committed offsets against progress."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import duckdb
import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from tests.oracle.log import SOURCES
from tests.oracle.report import Finding, count, of_query, of_words
from tests.oracle.stores import write


class ProgressTable:
    """Records of `window-progress` (MessagePack maps) as table `progress` (kind, topic, part, log_id, off, place)."""

    def __init__(self, db: duckdb.DuckDBPyConnection) -> None:
        self._db = db
        db.execute("""
            CREATE OR REPLACE TABLE progress (kind VARCHAR, topic VARCHAR, part BIGINT, log_id VARCHAR, off BIGINT, place VARCHAR)
            """)
        self._rows: list[tuple[Any, ...]] = []

    def add(self, records: Iterable[Any]) -> None:
        """Take records of the topic; stage 2's own (`merge`) and notes beside the sources speak of something else."""
        for record in records:
            item = msgspec.msgpack.decode(record.value)
            place = f"window-progress/{record.partition}/{record.offset}"
            if item["kind"] != "merge" and item["topic"] in SOURCES:
                self._rows.append(
                    (item["kind"], item["topic"], item["partition"], item["log_id"], item["offset"], place)
                )

    def close(self) -> None:
        """Write what was taken."""
        write(self._db, "progress", self._rows)


async def committed(bootstrap: str, group: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
    """Committed offsets of a consumer group: (topic, partition) -> next offset to read, where there is one.

    Asked by a consumer that assigns itself nothing: the embedded broker does not understand the admin client's request.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap.split(","), group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        consumer.assign([TopicPartition(*place) for place in places])
        found = {tuple(tp): await consumer.committed(tp) for tp in consumer.assignment()}
        return {(topic, part): offset for (topic, part), offset in found.items() if offset is not None}
    finally:
        await consumer.stop()


def check(db: duckdb.DuckDBPyConnection, committed_by: dict[str, dict[tuple[str, int], int]]) -> list[Finding]:
    """`committed_by`: role -> committed offsets; windows answers to progress records, archive to bronze."""
    reached = of_query(
        db,
        "I6",
        "own progress is the end of every log",
        count(db, "SELECT count(DISTINCT (topic, part)) FROM rec"),
        """
        SELECT topic, part, e.last, p.off FROM (SELECT topic, part, max(off) AS last FROM rec WHERE log = 0 GROUP BY ALL) e
        FULL JOIN (SELECT topic, part, max(off) AS off FROM progress p
                   LEFT JOIN log_ids l USING (topic, part, log_id) WHERE coalesce(l.log, 0) = 0 GROUP BY ALL) p
        USING (topic, part) WHERE e.last IS DISTINCT FROM p.off ORDER BY ALL""",
        "{topic}/{part}: progress {off}, the last record is {last}",
    )
    identity = of_query(
        db,
        "I6",
        "a log keeps its identity",
        count(db, "SELECT count(DISTINCT (topic, part, log_id)) FROM progress"),
        """
        SELECT topic, part, count(DISTINCT log_id) AS ids, any_value(logs) AS logs
        FROM (SELECT topic, part, log_id FROM progress UNION SELECT topic, part, log_id FROM bronze) p
        JOIN (SELECT topic, part, count(DISTINCT log) AS logs FROM rec GROUP BY ALL) r USING (topic, part)
        GROUP BY topic, part HAVING count(DISTINCT log_id) > any_value(logs)""",
        "{topic}/{part}: {ids} log ids for {logs} logs",
    )
    return [reached, identity, _committed(db, committed_by)]


def _committed(db: duckdb.DuckDBPyConnection, committed_by: dict[str, dict[tuple[str, int], int]]) -> Finding:
    wrong: list[str] = []
    checked = 0
    for role, table in (("windows", "progress"), ("archive", "bronze")):
        own = {
            (topic, part): off
            for topic, part, off in db.execute(f"""
                SELECT topic, part, max(off) FROM {table} LEFT JOIN log_ids USING (topic, part, log_id)
                WHERE coalesce(log, 0) = 0 GROUP BY ALL""").fetchall()
        }
        for (topic, part), offset in sorted(committed_by.get(role, {}).items()):
            checked += 1
            if offset > own.get((topic, part), -1) + 1:
                wrong.append(f"{role} {topic}/{part}: committed {offset}, own progress {own.get((topic, part))}")
    return of_words("I5", "committed <= own progress + 1", checked, wrong)
