"""Every stored sample of a version that is read means today what it meant when its version was released."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from schemas.policy import formers
from schemas.released import load
from schemas.topics import SOURCES
from schemas.upcasters import CONTRACT
from schemas.versions import parse_version
from streamproc.decode import decode_batch, explain
from streamproc.sinks.bronze import TABLES
from streamproc.sinks.clickhouse_client import ClickHouse
from tests.decode.test_against_oracle import rows
from tests.oracle.unseal import Unsealer
from tests.schemas.samples import SAMPLES, Rows, records, silver_rows, stored
from tests.sinks.support import with_clickhouse
from tests.support.clickhouse import ClickHouseHandle
from tests.support.migrated import start_migrated
from tests.warehouse.clickhouse import ClickHouse as Reader

VERSIONS = [str(version) for version in formers(CONTRACT, load())]
EACH = pytest.mark.parametrize(("version", "topic"), list(product(VERSIONS, SOURCES)))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHandle]:
    """A migrated ClickHouse."""
    handle = start_migrated(tmp_path_factory.mktemp("clickhouse"))
    yield handle
    handle.stop()


def assert_same(found: Rows, expected: Rows, what: str) -> None:
    """What was stored is found again; columns that came later are beside it."""
    assert len(found) == len(expected), what
    for place, (row, wanted) in enumerate(zip(found, expected, strict=True)):
        assert {name: row.get(name, "(no such column)") for name in wanted} == wanted, f"{what}, sample {place}"


@EACH
def test_decoder(version: str, topic: str) -> None:
    values = records(SAMPLES / version, topic)
    assert [explain(topic, value) for value in values] == [None] * len(values)
    found = decode_batch(topic, values)
    assert found.dead == []
    assert_same(rows(found), stored(SAMPLES / version, topic, "columns"), f"{topic} {version}")


@EACH
def test_bronze_and_silver(server: ClickHouseHandle, version: str, topic: str) -> None:
    """Through a real ClickHouse; bronze has every byte, fields that nobody knows among them."""
    values = records(SAMPLES / version, topic)
    log_id = f"samples-{version}"
    assert_same(silver_rows(server.url, log_id, topic, values), stored(SAMPLES / version, topic, "silver"), topic)

    async def payloads(clickhouse: ClickHouse) -> list[bytes]:
        found = await clickhouse.rows(
            f"SELECT base64Encode(payload) FROM {TABLES[topic]} WHERE log_id = '{log_id}' ORDER BY offset"
        )
        return [base64.b64decode(text) for (text,) in found]

    unsealer = Unsealer(Reader(server.url).rows)
    assert [unsealer.record(payload) for payload in with_clickhouse(server.url, payloads)] == values


@EACH
def test_samples_are_of_every_kind(version: str, topic: str) -> None:
    """Every value of an enumeration, every field there and every optional one absent or null."""
    found = stored_events(SAMPLES / version, topic)
    schema = load().schemas[parse_version(version)][topic]
    for name, field in schema["properties"].items():
        values = [event.get(name) for event in found]
        assert any(value is not None for value in values), name
        assert name in schema["required"] or None in values, name
        assert set(field.get("enum", ())) <= set(values), name
    assert any(event.keys() - schema["properties"].keys() for event in found), "none with an unknown field"


def stored_events(folder: Path, topic: str) -> Rows:
    """The samples as dictionaries."""
    return [json.loads(value or b"") for value in records(folder, topic)]


def test_there_are_samples_of_every_version_that_is_read() -> None:
    """Whoever releases a version stores them: `python -m tests.schemas.samples VERSION`."""
    assert VERSIONS
    missing = [
        f"{version}/{topic}.{what}"
        for version, topic, what in product(VERSIONS, SOURCES, ("jsonl", "columns.jsonl", "silver.jsonl"))
        if not (SAMPLES / version / f"{topic}.{what}").exists()
    ]
    assert not missing
