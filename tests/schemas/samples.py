"""Stored samples: records of each released version, and what decoder and silver made of them when it was released.

`python -m tests.schemas.samples 1.0.0` writes those of the current version, once, in the commit that releases it:

    samples/1.0.0/user-events.jsonl           records, one a line, as producers send them
    samples/1.0.0/user-events.columns.jsonl   columns of each, by the independent reader of tests/decode/oracle.py
    samples/1.0.0/user-events.silver.jsonl    silver's row of each, by ClickHouse

They never change. Every later release that reads the version must find the same (columns that came later are left out).
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

from schemas.export import json_schema
from schemas.topics import SOURCES
from schemas.versions import CURRENT, parse_version
from streamproc.config import Settings
from streamproc.migrate import migrate
from streamproc.sinks.bronze import SILVER
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.decode.oracle import judge
from tests.oracle.unseal import Unsealer
from tests.schemas.test_examples import EXAMPLES
from tests.sinks.support import batch, bronze_sink, with_clickhouse
from tests.support.clickhouse import start_clickhouse
from tests.warehouse.clickhouse import ClickHouse as Reader

SAMPLES: Final = Path(__file__).parent / "samples"
#: Where a record lies says nothing of what it says.
_PLACES: Final = "topic, partition, log_id, offset, kafka_timestamp, ingested_at"
_ID: Final = re.compile(rb"3f2b8c1e-6a4d-4e5b-9c7f-0d1e2f3a4b5c", re.IGNORECASE)

Rows = list[dict[str, Any]]


def records(folder: Path, topic: str) -> list[bytes | None]:
    """The stored records of a topic."""
    return list((folder / f"{topic}.jsonl").read_bytes().splitlines())


def stored(folder: Path, topic: str, what: str) -> Rows:
    """What was stored of them: `columns` or `silver`."""
    return [json.loads(line) for line in (folder / f"{topic}.{what}.jsonl").read_text(encoding="utf-8").splitlines()]


def silver_rows(url: str, log_id: str, topic: str, values: list[bytes | None]) -> Rows:
    """Records into bronze as the archive writes them, and silver's rows in their order."""

    async def act(clickhouse: ClickHouse) -> Rows:
        await bronze_sink(clickhouse).write([batch(log_id, list(range(len(values))), values, topic)])
        found = await clickhouse.rows(
            f"SELECT formatRow('JSONEachRow', * EXCEPT ({_PLACES})) FROM {SILVER[topic]} WHERE log_id = '{log_id}' ORDER BY offset"
        )
        return [json.loads(row) for (row,) in found]

    rows = with_clickhouse(url, act)
    unsealer = Unsealer(Reader(url).rows)
    for row in rows:
        if row.get("ip_address") is not None:
            row["ip_address"] = unsealer.text(row["ip_address"], "ip_address")
    return rows


def _made(topic: str, version: str) -> list[bytes]:
    """Samples of the current version: the valid examples that say it, and every value of every enumeration."""
    texts = [path.read_bytes() for path in sorted((EXAMPLES / topic / "valid").glob("*.json"))]
    texts = [text for text in texts if re.search(rb'"schema_version": *"' + version.encode() + b'"', text)]
    every = (EXAMPLES / topic / "valid" / "every-field.json").read_bytes()
    for name, field in json_schema(topic)["properties"].items():
        for value in field.get("enum", ()):
            if not any(re.search(f'"{name}": *"{value}"'.encode(), text) for text in texts):
                texts.append(re.sub(f'"{name}": *"[^"]*"'.encode(), f'"{name}": "{value}"'.encode(), every))
    number = parse_version(version)
    texts.append(every.replace(version.encode(), f"{number.major}.{number.minor}.7-rc.1+build.5".encode()))

    def own_id(number: int, text: bytes) -> bytes:
        # Silver keeps one row an id. A line break is white space to JSON (within a text it must be escaped).
        text = _ID.sub(lambda found: found.group()[:-4] + b"%04d" % number, text)
        return b" ".join(text.split(b"\n")).replace(b"  ", b" ").strip()

    return [own_id(number, text) for number, text in enumerate(texts)]


def main(version: str) -> None:
    """Write the samples of the current version, and what becomes of them."""
    folder = SAMPLES / version
    if version != CURRENT or folder.exists():
        raise SystemExit(f"{version}: {'is not the current version' if version != CURRENT else 'has its samples'}")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as data:
        server = start_clickhouse(data)
        try:
            migrate(Settings(clickhouse_url=server.url))
            for topic in SOURCES:
                values: list[bytes | None] = list(_made(topic, version))
                verdicts = [judge(topic, value) for value in values]
                assert all(verdict == "ok" for verdict, _ in verdicts), topic
                rows = silver_rows(server.url, "samples", topic, values)
                assert len(rows) == len(values), topic
                (folder / f"{topic}.jsonl").write_bytes(b"".join((value or b"") + b"\n" for value in values))
                for what, found in (("columns", [row for _, row in verdicts]), ("silver", rows)):
                    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in found)
                    (folder / f"{topic}.{what}.jsonl").write_text(lines, encoding="utf-8")
        finally:
            server.stop()


if __name__ == "__main__":
    main(sys.argv[1])
