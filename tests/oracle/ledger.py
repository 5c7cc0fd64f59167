"""The producers' ledger: what the broker acknowledged lies in the log exactly there, and nothing else does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from tests.oracle.report import Finding, count, of_query


def load(db: duckdb.DuckDBPyConnection, paths: Sequence[Path], prefix: str) -> None:
    """Ledgers as table `ledger` (topic, part, off, outcome, digest); a line cut off by a kill is left out."""
    db.execute(
        """
        CREATE TABLE ledger AS
        SELECT substring(topic, len($prefix) + 1) AS topic, partition AS part, "offset" AS off, outcome,
               -- As log.first_8: 8 bytes of the hash as a little-endian number, here from its hexadecimal text.
               list_reduce(list_transform(range(0, 8), lambda i: ('0x' || sha256[15 - 2 * i:16 - 2 * i])::UBIGINT),
                           lambda a, b: a * 256 + b) AS digest
        FROM read_json($files, format = 'newline_delimited', ignore_errors = true, columns = {event_id: 'VARCHAR',
             topic: 'VARCHAR', partition: 'BIGINT', "offset": 'BIGINT', outcome: 'VARCHAR', sha256: 'VARCHAR'})
        WHERE outcome IS NOT NULL""",
        {"files": [str(path) for path in paths], "prefix": prefix},
    )


def check(db: duckdb.DuckDBPyConnection, only_these: bool) -> list[Finding]:
    """Compare table `ledger` with `rec`. `only_these`: nobody else has produced."""
    outcomes = db.execute("SELECT outcome, count(*) FROM ledger GROUP BY ALL ORDER BY ALL").fetchall()
    kept = of_query(
        db,
        "ledger",
        "what was acknowledged lies in the log, there",
        count(db, "SELECT count(*) FROM ledger WHERE outcome = 'acked'"),
        """
        SELECT l.topic, l.part, l.off, CASE WHEN n IS NULL THEN 'is not in the log' ELSE 'holds another record' END AS how
        FROM ledger l LEFT JOIN (SELECT topic, part, off, list(digest) AS found, count(*) AS n FROM rec GROUP BY ALL) r
             USING (topic, part, off)
        WHERE l.outcome = 'acked' AND (n IS NULL OR NOT list_contains(found, l.digest)) ORDER BY ALL""",
        "{topic}/{part}/{off} was acknowledged, and {how}",
        ", ".join(f"{outcome} {n:,}" for outcome, n in outcomes),
    )
    strangers = of_query(
        db,
        "ledger",
        "the log holds nothing that no producer sent",
        count(db, "SELECT count(*) FROM rec"),
        f"""
        SELECT topic, part, off FROM rec ANTI JOIN ledger USING (topic, part, digest)
        WHERE {only_these} ORDER BY ALL""",
        "{topic}/{part}/{off} is in no ledger",
    )
    # A record that is there more often than it was sent was appended again by a client's retry: allowed, and counted once.
    return [kept, strangers]
