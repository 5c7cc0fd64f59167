"""I9 and I10, from what the run has left: samples of memory and descriptors, parts in ClickHouse, and log files."""

from __future__ import annotations

import re
import statistics
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import orjson

from tests.oracle.report import Finding, count, of_query, of_words
from tests.oracle.stores import ClickHouse

_PARTS = 300
#: What producers put into payloads (tests/oracle/traffic.py, breakers.py) and what nobody may print.
_SECRETS = (
    ("a canary of a payload", re.compile(r"canary")),
    ("an e-mail address", re.compile(r"[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+\.[A-Za-z]{2,}")),
    # Loopback and wildcard are our own; four dotted numbers after `version`, a letter, dash or dot are versions.
    (
        "an IP address",
        re.compile(
            r"(?<!version )(?<![\w.-])(?!127\.|0\.0\.0\.0)(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3}(?![\w.-])"
        ),
    ),
    ("a webhook's secret", re.compile(r"/services/T\w+/B\w+/\w+")),
)


def bounded(samples: Path, cap_mb: float, clickhouse: ClickHouse) -> list[Finding]:
    """Memory and descriptors of each process (JSON lines: worker, pid, age_s, rss_mb, fds), and parts of ClickHouse."""
    by_process: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in samples.read_bytes().splitlines():
        sample = orjson.loads(line)
        by_process[sample["worker"], sample["pid"]].append(sample)
    wrong: list[str] = []
    for (worker, pid), rows in by_process.items():
        highest = max(row["rss_mb"] for row in rows)
        if highest > cap_mb:
            wrong.append(f"{worker} ({pid}) took {highest:.0f} MB, more than {cap_mb:.0f}")
        third = len(rows) // 3
        if third >= 20:
            middle, last = (
                statistics.median(row["fds"] for row in part) for part in (rows[third:-third], rows[-third:])
            )
            if last > 1.5 * middle + 20:
                wrong.append(f"{worker} ({pid}) went from {middle:.0f} to {last:.0f} descriptors")
    parts = clickhouse.rows(
        "SELECT database, table, partition, count() AS n FROM system.parts WHERE active"
        " AND database IN ('bronze', 'silver', 'gold', 'meta') GROUP BY ALL ORDER BY n DESC"
    )
    crowded = [f"{d}.{t} partition {p} has {n} parts" for d, t, p, n in parts if int(n) >= _PARTS]
    return [
        of_words("I9", f"memory below {cap_mb:.0f} MB, descriptors stable", sum(map(len, by_process.values())), wrong),
        of_words("I9", f"fewer than {_PARTS} parts a partition", len(parts), crowded),
    ]


def hygiene(files: Sequence[Path]) -> Finding:
    """No payload, e-mail address, IP address or secret in any log file (directories are searched for *.log)."""
    paths = [p for path in files for p in (sorted(path.rglob("*.log")) if path.is_dir() else [path])]
    wrong: list[str] = []
    checked = 0
    for path in paths:
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, 1):
                checked += 1
                for what, pattern in _SECRETS:
                    if found := pattern.search(line):
                        wrong.append(
                            f"{path.name}:{number} has {what}: …{line[max(found.start() - 40, 0) : found.end()][:120]}"
                        )
    return of_words("I10", "no payload, address or secret in logs", checked, wrong, f"{len(paths)} files")


#: Where what producers put into personal fields could lie: SQL that is true of it in clear (tests/oracle/traffic.py).
_CLEAR = "(position({0}, '203.0.113.') > 0 OR position({0}, '@example.com') > 0)"
_PERSONAL_PLACES = (
    ("bronze.user_events", "payload"),
    ("silver.user_activity", "ip_address"),
    ("silver.rejected", "payload"),
    ("meta.dead_letters", "payload"),
)


def sealed(clickhouse: ClickHouse) -> Finding:
    """No e-mail or IP address of a user lies in ClickHouse in clear."""
    wrong: list[str] = []
    checked = 0
    for table, column in _PERSONAL_PLACES:
        clear = _CLEAR.format(f"ifNull({column}, '')")
        # What other topics hold is not personal by their contract.
        sql = f"SELECT count(), countIf({clear}), anyIf(offset, {clear}) FROM {table} WHERE topic = 'user-events'"
        rows, in_clear, offset = (int(each) for each in clickhouse.rows(sql)[0])
        checked += rows
        if in_clear:
            wrong.append(f"{table} holds {in_clear} personal values in clear, e.g. at offset {offset}")
    return of_words("I10", "personal values lie in ClickHouse sealed", checked, wrong)


def errors_in_words(db: duckdb.DuckDBPyConnection) -> Finding:
    """The reasons of dead letters are for people: they quote no payload."""
    return of_query(
        db,
        "I10",
        "errors of dead letters quote no payload",
        count(db, "SELECT count(*) FROM dead_stored"),
        "SELECT topic, part, off, error FROM dead_stored WHERE error LIKE '%canary%' OR error LIKE '%@example.com%'",
        "{topic}/{part}/{off}: {error}",
    )
