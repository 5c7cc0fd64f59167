"""Changes through the archive: bronze has every record once, silver every change once, whatever dies in between."""

from __future__ import annotations

import asyncio
import base64
import json
import random
from decimal import Decimal
from typing import Any

from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS, CHANGES
from tests.cdc.envelopes import encoded, envelope, precise, schema_of
from tests.e2e.checks import Message, settle
from tests.oracle.unseal import Unsealer
from tests.support.stack import Stack, read_all, wait_for

SILVER = {topic: "silver.cdc_" + topic.rpartition(".")[2] for topic in CHANGES}


def changes(seed: int, count: int) -> list[Message]:
    """Changes of all tables in the order of their positions, some sent twice, with tombstones, heartbeats and poison."""
    rng = random.Random(seed)
    made: list[Message] = []
    decimal = {"type": "bytes", "name": "org.apache.kafka.connect.data.Decimal", "parameters": {"scale": "4"}}
    schema = schema_of({"mrr_usd": decimal})
    for n in range(count):
        position, number = seed * 1_000_000 + n, rng.randrange(40)
        source = {"lsn": position, "ts_ms": 1_772_323_200_000 + n}
        op = rng.choice("ccuuuudr")
        row: dict[str, Any] = {"id": number, "email": f"{position}@example.org", "user_id": number, "is_active": True}
        topic = rng.choice([*CHANGES])
        key = str(number).encode()
        sides = {"before": {"id": number}} if op == "d" else {"after": row}
        if topic == CDC_SUBSCRIPTIONS:
            row["mrr_usd"] = precise(Decimal(n) / 10_000, 4)
        value = encoded(envelope(op, source=source, **sides), schema if topic == CDC_SUBSCRIPTIONS else None)
        made.append((topic, key, value))
        if op == "d":
            made.append((topic, key, None))
        if rng.random() < 0.1:
            made.append((topic, key, value))
        if rng.random() < 0.05:
            made.append((topic, key, rng.choice((b"{", b'{"op":"u"}', b"\xff", encoded({"op": "x"})))))
        if rng.random() < 0.05:
            made.append((topic, key, encoded({"ts_ms": 1_772_323_200_000})))
    return made


def judged(value: bytes | None) -> tuple[int, int, bool] | tuple[()] | None:
    """Id, position and whether it is deleted; () if there is no row in it, None if it is a dead letter."""
    try:
        whole = json.loads(value) if value is not None else {}
        payload = whole.get("payload", whole)
        if set(payload) <= {"ts_ms"}:
            return ()
        row = payload["before"] if payload["op"] == "d" else payload["after"]
        return (row["id"], payload["source"]["lsn"], payload["op"] == "d")
    except (ValueError, LookupError, AttributeError, TypeError):
        return None


def differences(stack: Stack) -> list[str]:
    """What is wrong in bronze, silver and the dead letters: judged from the log, apart from the decoder."""
    wrong: list[str] = []
    places: dict[tuple[str, int, int], bool] = {}
    rows: dict[str, set[tuple[int, int, bool]]] = {topic: set() for topic in CHANGES}
    for record in asyncio.run(read_all(stack.broker.bootstrap, [*CHANGES])):
        verdict = judged(record.value)
        places[record.topic, record.partition, record.offset] = verdict is None
        if verdict:
            rows[record.topic].add(verdict)
    bronze = stack.query("SELECT topic, partition, offset, error != '' FROM bronze.cdc FINAL")
    if sorted(bronze) != sorted((*place, dead) for place, dead in places.items()):
        wrong.append(f"bronze has {len(bronze)} records, the log {len(places)}")
    for topic, table in SILVER.items():
        found = stack.query(f"SELECT id, position, deleted FROM {table} FINAL")
        if sorted(found) != sorted(rows[topic]):
            wrong.append(f"{table} has {len(found)} rows, {len(set(found) ^ rows[topic])} differ")
    letters = stack.query("SELECT topic, partition, offset FROM meta.dead_letters FINAL WHERE reason = 'malformed'")
    if sorted(letters) != sorted(place for place, dead in places.items() if dead):
        wrong.append(f"{len(letters)} dead letters, wanted {sum(places.values())}")
    return wrong


def test_killed_archive_and_killed_clickhouse_lose_and_double_nothing(running: Stack) -> None:
    """kill -9 of the archive worker, then of ClickHouse, in the middle of the stream; changes alone, and no windows worker."""
    stack, made = running, changes(1, 3000)
    first = stack.worker("archive")
    stack.produce(made[:1000])
    wait_for("first records in bronze", lambda: first.metric("streamproc_archived_records_total") > 200)
    first.kill()
    second = stack.worker("archive", wait=False)
    stack.produce(made[1000:2000])
    second.wait_ready()
    wait_for("more records in bronze", lambda: second.metric("streamproc_archived_records_total") > 200)
    stack.kill_clickhouse()
    stack.produce(made[2000:])
    wait_for("the archive notices", lambda: second.get("ready")[0] == 503)
    stack.restart_clickhouse()
    settle(lambda: differences(stack), 60)
    assert second.stop() == 0
    amounts = stack.query("SELECT countIf(isNull(mrr_e4)) = countIf(deleted) FROM silver.cdc_subscriptions FINAL")
    assert amounts == [(True,)]


def test_an_insert_that_never_reached_silver_is_done_again(running: Stack) -> None:
    """A crash between the two inserts: here silver's tables are away while bronze takes the last one."""
    stack, made = running, changes(2, 1500)
    archive = stack.worker("archive")
    stack.produce(made[:700])
    wait_for("first part", lambda: not differences(stack), 60)
    assert archive.stop() == 0
    for table in SILVER.values():
        stack.query(f"RENAME TABLE {table} TO {table}_away")
    stack.produce(made[700:])
    held = stack.query("SELECT count() FROM bronze.cdc FINAL")[0][0]
    torn = stack.worker("archive", wait=False)
    wait_for("more in bronze", lambda: stack.query("SELECT count() FROM bronze.cdc FINAL")[0][0] > held, 60)
    wait_for(
        "silver refuses", lambda: torn.get("ready")[0] == 503 and "ClickHouse does not take" in torn.get("ready")[1]
    )
    torn.kill()
    for table in SILVER.values():
        stack.query(f"RENAME TABLE {table}_away TO {table}")
    stack.worker("archive")
    settle(lambda: differences(stack), 60)


def test_a_restart_does_not_send_dead_letters_again(running: Stack) -> None:
    """What is in bronze was queued after its dead letters were acknowledged."""
    stack = running
    poison = [(CDC_USERS, b"1", b"poison %d" % n) for n in range(50)] + [(CDC_CHANNELS, b"1", b"[]")]
    first = stack.worker("archive")
    stack.produce(poison)
    # Empty partitions too have a lag that is known: whoever waits until all is read asks for it.
    wait_for(
        "lags", lambda: all(len(first.samples("streamproc_lag_records", topic=t)) == stack.partitions for t in CHANGES)
    )
    settle(lambda: differences(stack), 60)
    assert first.stop() == 0
    second = stack.worker("archive")
    stack.produce([(CDC_USERS, b"1", b"one more")])
    settle(lambda: differences(stack), 60)
    assert second.stop() == 0
    letters = asyncio.run(read_all(stack.broker.bootstrap, ["dead-letters"]))
    assert len(letters) == len(poison) + 1


def test_a_dead_letter_is_what_the_windows_worker_sends_of_events(running: Stack) -> None:
    """Original bytes and key, and the reason in words; bronze has the same."""
    stack = running
    stack.worker("archive")
    stack.produce([(CDC_USERS, b"the key", b'{"op":"u","source":{"lsn":1,"ts_ms":1}}')])
    found = wait_for(
        "the letter",
        lambda: stack.query("SELECT topic, reason, error, key, base64Encode(payload) FROM meta.dead_letters FINAL"),
    )
    sealed = base64.b64decode(found[0][4])
    assert sealed.startswith(b"sealed:1:0:")
    found = [(*found[0][:4], Unsealer(stack.query).record(sealed).decode())]
    words = "after: required field is missing (op u)"
    assert found == [(CDC_USERS, "malformed", words, "the key", '{"op":"u","source":{"lsn":1,"ts_ms":1}}')]
    assert stack.query("SELECT error FROM bronze.cdc") == [(f"malformed: {words}",)]
