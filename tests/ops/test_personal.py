"""`streamproc personal`: a user's values in clear, and that nobody can read them once the keys are destroyed."""

from __future__ import annotations

import itertools
import json
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from schemas.topics import CDC_USERS, USER_EVENTS
from streamproc.agents.archive_changes import change_batch
from streamproc.cli.main import build_app
from streamproc.config import Settings, load_settings
from streamproc.errors import ConfigError
from streamproc.sinks.bronze import BronzeBatch
from tests.cdc.envelopes import encoded, envelope
from tests.ops.archive import with_clickhouse
from tests.oracle.unseal import Unsealer
from tests.sinks.support import START, bronze_sink, user_event
from tests.support.clickhouse import ClickHouseHandle

_users = itertools.count(880_001)


class House:
    """One user's records in a warehouse that others use too, and the command line over it."""

    def __init__(self, clickhouse: ClickHouseHandle) -> None:
        self.settings: Settings = load_settings(clickhouse_url=clickhouse.url)
        self.user = next(_users)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return with_clickhouse(self.settings, lambda clickhouse: clickhouse.rows(sql))

    def add(self, first: int, address: str, email: str) -> None:
        """An event and a change, as the archive has them."""
        event = json.dumps(user_event(self.user * 1000 + first, user_id=self.user, ip_address=address)).encode()
        row = {"id": self.user, "email": email, "username": "somebody"}
        change = encoded(envelope("u", source={"lsn": first + 1, "ts_ms": START}, after=row))
        log = f"u{self.user}"
        batches = [
            BronzeBatch(USER_EVENTS, 0, log, [first], [START], [b""], [event], owners=[self.user]),
            change_batch(
                CDC_USERS, 0, log, [SimpleNamespace(offset=first, key=b"k", value=change, timestamp=START)], set()
            ),
        ]

        async def write(clickhouse: Any) -> None:
            for batch in batches:
                await bronze_sink(clickhouse).write([batch])

        with_clickhouse(self.settings, write)

    def stored(self) -> list[str]:
        """All that lies in bronze and silver of the user, as text."""
        log = f"u{self.user}"
        return [
            str(row[0])
            for sql in (
                f"SELECT payload FROM bronze.user_events FINAL WHERE log_id = '{log}'",
                f"SELECT payload FROM bronze.cdc FINAL WHERE log_id = '{log}'",
                f"SELECT ip_address FROM silver.user_activity FINAL WHERE log_id = '{log}'",
                f"SELECT concat(email, ' ', username) FROM silver.cdc_users FINAL WHERE log_id = '{log}'",
            )
            for row in self.rows(sql)
        ]

    def run(self, *words: str) -> Result:
        return CliRunner().invoke(build_app(), ["personal", *words, "--user", str(self.user)])

    def shown(self) -> dict[tuple[str, str], tuple[str | None, str]]:
        """(table, value) by what `show --json` says."""
        result = self.run("show", "--json")
        assert result.exit_code == 0, result.output
        held = json.loads(result.stdout)["held"]
        return {(each["table"], each["field"]): (each["value"], each["state"]) for each in held}


@pytest.fixture
def house(clickhouse: ClickHouseHandle, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setenv("STREAMPROC_CLICKHOUSE_URL", clickhouse.url)
    monkeypatch.setenv("COLUMNS", "200")
    return House(clickhouse)


def test_a_destroyed_key_makes_all_rows_unreadable_and_leaves_them_there(house: House) -> None:
    house.add(0, "192.0.2.77", "a.person@example.org")
    before = house.stored()
    assert len(before) == 4
    assert all("sealed:1:" in text for text in before)
    assert not any(secret in text for text in before for secret in ("192.0.2.77", "a.person", "somebody"))
    assert house.shown() == {
        ("silver.cdc_users", "email"): ("a.person@example.org", "sealed"),
        ("silver.cdc_users", "username"): ("somebody", "sealed"),
        ("silver.user_activity", "ip_address"): ("192.0.2.77", "sealed"),
    }
    assert "192.0.2.77" in house.run("show").output

    refused = house.run("destroy")
    assert isinstance(refused.exception, ConfigError)
    assert house.shown()["silver.user_activity", "ip_address"] == ("192.0.2.77", "sealed")

    done = house.run("destroy", "--yes")
    assert done.exit_code == 0, done.output
    assert "1 keys destroyed" in done.output
    assert house.stored() == before
    assert set(house.shown().values()) == {(None, "unreadable")}
    # Nor by the truth's own lines, which read every key that is left.
    unsealer = Unsealer(house.rows)
    assert [unsealer.record(text.encode()).decode() for text in before[:2]] == before[:2]
    assert unsealer.text(before[2], "ip_address") == before[2]
    assert "nothing was changed" in house.run("destroy", "--yes").output

    house.add(10, "192.0.2.78", "b.person@example.org")
    after = "\n".join(house.stored())
    assert "192.0.2.78" not in after
    assert "b.person" not in after
    sql = f"SELECT ip_address FROM silver.user_activity WHERE user_id = {house.user} ORDER BY offset"
    assert [row[0] for row in house.rows(sql)] == [before[2], "erased"]


def test_nobody_is_no_user(house: House) -> None:
    house.user = 0
    assert isinstance(house.run("destroy", "--yes").exception, ConfigError)


def test_values_from_before_there_was_sealing_are_shown_as_such(house: House) -> None:
    sql = f"""INSERT INTO silver.cdc_users (id, email, op, deleted, position, source_ts, snapshot, topic, partition, log_id, offset,
              kafka_timestamp) VALUES ({house.user}, 'old@example.org', 'c', 0, 1, now(), 0, '', 0, 'u{house.user}', 0, now())"""
    with_clickhouse(house.settings, lambda clickhouse: clickhouse.command(sql))
    assert house.shown() == {("silver.cdc_users", "email"): ("old@example.org", "clear")}
