"""`python -m tests.oracle` reads every topic from offset 0, applies the written rules, and judges all stores by them.

One line an invariant is printed. Exit code 0: nothing is wrong; 1: something is; 2: wrong use, or a server is away.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
from aiokafka.errors import KafkaError

from tests.oracle import (
    checks_alerts,
    checks_archive,
    checks_losses,
    checks_progress,
    checks_redis,
    checks_run,
    checks_windows,
    ledger,
)
from tests.oracle.expect import expect
from tests.oracle.log import SOURCES, RecordTable, Unreachable, add_earlier, read_topics, save_log
from tests.oracle.report import Finding, as_json
from tests.oracle.stores import ClickHouse, DeadLetterTable, Redis

_INTERNAL = ("dead-letters", "alerts", "window-progress")


def _lost(text: str) -> tuple[str, int, int, int, str]:
    text, _, file = text.partition("@")
    place, _, offsets = text.partition(":")
    topic, _, part = place.rpartition("/")
    first, _, after = offsets.partition("-")
    return topic, int(part), int(first), int(after), file


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle", description=__doc__)
    add = parser.add_argument
    add("--bootstrap", required=True, help="host:port, several with commas")
    add("--clickhouse", help="http://[user:password@]host:port")
    add("--redis", help="redis://host:port")
    add("--ledger", type=Path, action="append", default=[], help="of tests.oracle.producer; may be repeated")
    add("--only-ledger", action="store_true", help="nobody else has produced: other records in the log are wrong")
    add("--json", type=Path, help="the whole report as JSON")
    add("--topic-prefix", default="", help="before each topic's name")
    add("--redis-prefix", default="sp:", help="before each key")
    add("--app-id", default="streamproc", help="consumer groups are APP_ID-windows and APP_ID-archive")
    add("--slack", type=Path, help="what the webhook received: JSON (lines) with `status` and `ids` each")
    add("--samples", type=Path, help="memory and descriptors of workers: JSON lines with worker, pid, rss_mb, fds")
    add("--rss-cap-mb", type=float, default=500, help="the most that a sampled process may take")
    add("--logs", type=Path, action="append", default=[], help="log file, or a directory of *.log; may be repeated")
    says = "TOPIC/PARTITION:FIRST-AFTER deleted before it was read; @NAME of the saved log that has it, if that is an older one"
    add("--lost", type=_lost, action="append", default=[], help=says)
    add("--earlier", type=Path, action="append", default=[], help="a log saved before, the newest first")
    add("--save-log", type=Path, help="only write the log as it is now to this file (Parquet), and end")
    add("--dead-letters-again", action="store_true", help="workers were killed: that topic may hold one twice")
    add("--wait", type=float, default=0.0, help="judge again for so many seconds until nothing is wrong")
    add("--memory-mb", type=int, default=1500, help="of DuckDB")
    args = parser.parse_args(argv)
    if args.save_log is None and not (args.clickhouse and args.redis):
        parser.error("--clickhouse and --redis are needed to judge")
    return args


async def read_sources(db: duckdb.DuckDBPyConnection, bootstrap: str, prefix: str) -> int:
    """The event topics as table `rec`; returns the number of records."""
    table = RecordTable(db)
    async for topic, part, records in read_topics(bootstrap, [prefix + name for name in SOURCES]):
        table.add(topic.removeprefix(prefix), part, records)
    table.close()
    return table.count


async def read_internal(db: duckdb.DuckDBPyConnection, bootstrap: str, prefix: str) -> None:
    """Dead letters, alerts and progress as tables."""
    tables: dict[str, Any] = dict(
        zip(
            _INTERNAL,
            (DeadLetterTable(db), checks_alerts.AlertTable(db), checks_progress.ProgressTable(db)),
            strict=True,
        )
    )
    async for topic, _, records in read_topics(bootstrap, [prefix + name for name in _INTERNAL]):
        tables[topic.removeprefix(prefix)].add(records)
    for table in tables.values():
        table.close()


def judge(db: duckdb.DuckDBPyConnection, args: argparse.Namespace) -> list[Finding]:
    """Read all stores as they are now and compare them with the expected tables."""
    asyncio.run(read_internal(db, args.bootstrap, args.topic_prefix))
    clickhouse, store = ClickHouse(args.clickhouse), Redis(args.redis, args.redis_prefix)
    checks_windows.load(db, clickhouse)
    checks_archive.load(db, clickhouse)
    checks_alerts.load(db, clickhouse)
    prefix = args.topic_prefix
    places = db.execute("SELECT DISTINCT topic, part FROM rec").fetchall()
    groups = {}
    for role in ("windows", "archive"):
        wanted = [(prefix + topic, part) for topic, part in places]
        found = asyncio.run(checks_progress.committed(args.bootstrap, f"{args.app_id}-{role}", wanted))
        groups[role] = {(topic.removeprefix(prefix), part): offset for (topic, part), offset in found.items()}
    findings = checks_windows.check(db) + checks_redis.check(db, store)
    findings += checks_archive.check(db, args.dead_letters_again) + checks_progress.check(db, groups)
    findings += checks_alerts.check(db, store, args.slack)
    if args.samples:
        findings += checks_run.bounded(args.samples, args.rss_cap_mb, clickhouse)
    if args.logs:
        findings.append(checks_run.hygiene(args.logs))
    findings += [checks_losses.check(db, clickhouse), checks_run.errors_in_words(db)]
    findings.append(checks_run.sealed(clickhouse))
    if args.ledger:
        findings += ledger.check(db, args.only_ledger)
    return sorted(findings, key=lambda each: (len(each.invariant), each.invariant))


def run(db: duckdb.DuckDBPyConnection, args: argparse.Namespace) -> tuple[list[Finding], dict[str, Any]]:
    """All findings, and facts about the run."""
    began = time.monotonic()
    records = asyncio.run(read_sources(db, args.bootstrap, args.topic_prefix))
    read_s = time.monotonic() - began
    if args.save_log:
        save_log(db, args.save_log)
        return [], {"records": records, "read_s": round(read_s, 1)}
    logs = {path.name: add_earlier(db, path) for path in args.earlier}
    expect(
        db,
        [(topic, part, logs[file][topic, part] if file else 0, *offsets) for topic, part, *offsets, file in args.lost],
    )
    if args.ledger:
        ledger.load(db, args.ledger, args.topic_prefix)
    expect_s = time.monotonic() - began - read_s
    until = time.monotonic() + args.wait
    while True:
        findings = judge(db, args)
        if not any(each.violations for each in findings) or time.monotonic() > until:
            break
        time.sleep(1.0)
    facts = {
        "records": records,
        "read_s": round(read_s, 1),
        "rules_s": round(expect_s, 1),
        "seconds": round(time.monotonic() - began, 1),
    }
    return findings, facts


def main(argv: list[str] | None = None) -> int:
    """Judge, print and write the report."""
    args = arguments(argv)
    with tempfile.TemporaryDirectory(prefix="oracle-") as folder, duckdb.connect(f"{folder}/oracle.duckdb") as db:
        db.execute(f"SET threads = 1; SET memory_limit = '{args.memory_mb}MB'; SET TimeZone = 'UTC'")
        db.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
        try:
            findings, facts = run(db, args)
        except (Unreachable, KafkaError, OSError) as error:
            print(f"cannot judge: {error}", file=sys.stderr)
            return 2
    for each in findings:
        print(each.line)
        for text in each.shown:
            print(f"          {text}")
    report = as_json(findings, facts)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1), encoding="utf-8")
    verdict = "nothing is wrong" if report["ok"] else f"{report['violations']:,} VIOLATIONS"
    print(f"{facts['records']:,} records in {facts.get('seconds', facts['read_s'])} s: {verdict}")
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
