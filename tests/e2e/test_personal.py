"""Personal data with real workers: sealed before bronze, restarts that know their log by sealed records, a foreign master key."""

from __future__ import annotations

import base64
import time
from typing import Any

from schemas.topics import CDC_USERS, USER_EVENTS
from tests.cdc.envelopes import encoded, envelope
from tests.oracle.unseal import Unsealer
from tests.support.events import encode, user_event
from tests.support.stack import Stack, wait_for

USERS = 7


def messages(first: int, count: int) -> list[tuple[str, bytes, bytes]]:
    """Events with addresses, some of them refused, and changes of users."""
    made: list[tuple[str, bytes, bytes]] = []
    now = int(time.time() * 1000)
    for n in range(first, first + count):
        user = n % USERS + 1
        address = f"203.0.113.{n % 250}"
        event: dict[str, Any] = user_event(now, user_id=user, ip_address=address, email=f"{n}@example.com")
        made.append((USER_EVENTS, b"%d" % user, encode(event) if n % 9 else encode(event)[:-1]))
        row = {"id": user, "email": f"{user}@example.com", "username": f"name-{user}@example.com"}
        change = envelope("u", source={"lsn": n + 1, "ts_ms": now}, after=row)
        made.append((CDC_USERS, b"%d" % user, encoded(change) if n % 9 else b'{"email":"%d@example.com"' % n))
    return made


def check(stack: Stack, count: int) -> None:
    """Bronze has the log to the byte for whoever has the keys, and nothing personal lies in clear."""
    unsealer = Unsealer(stack.query)
    sql = "SELECT topic, partition, offset, base64Encode(payload) FROM {} FINAL"
    tables = ("bronze.user_events", "bronze.cdc")

    def all_there() -> bool:
        return sum(stack.query(f"SELECT count() FROM {table} FINAL")[0][0] for table in tables) == 2 * count

    wait_for("all in bronze", all_there, 120)
    stored = [base64.b64decode(row[3]) for table in tables for row in stack.query(sql.format(table))]
    assert not [payload for payload in stored if b"203.0.113." in payload or b"@example.com" in payload]
    log = {record.value for record in stack.log_records() if record.topic == USER_EVENTS}
    events = {unsealer.record(base64.b64decode(row[3])) for row in stack.query(sql.format(tables[0]))}
    assert events == log
    # One token a user, though each change was another record: no versions in gold of an e-mail that did not change.
    tokens = stack.query("SELECT id, groupUniqArray(email) FROM silver.cdc_users FINAL GROUP BY id")
    assert {user: [unsealer.text(token, "email") for token in found] for user, found in tokens} == {
        user: [f"{user}@example.com"] for user in range(1, USERS + 1)
    }
    (clear,) = stack.query("SELECT countIf(ip_address NOT LIKE 'sealed:1:%') FROM silver.user_activity")
    assert clear == (0,)


def test_what_lies_in_the_warehouse_is_sealed_and_a_restart_goes_on(running: Stack) -> None:
    stack = running
    first = stack.worker("archive")
    stack.produce(messages(0, 300))
    check(stack, 300)
    first.kill()
    stack.cli("personal", "destroy", "--user", "1", "--yes")
    second = stack.worker("archive")
    wait_for("it goes on", second.ready, 60)
    # Bronze's last records are known again though they are sealed, some of them by a key that nobody has any more.
    assert second.metric("streamproc_new_logs_total") == 0
    assert "the log is a new one" not in second.output()
    stack.produce(messages(300, 100))
    tables = "(SELECT offset FROM bronze.user_events FINAL UNION ALL SELECT offset FROM bronze.cdc FINAL)"
    wait_for("the rest", lambda: stack.query(f"SELECT count() FROM {tables}") == [(800,)], 120)
    late = "SELECT countIf(ip_address = 'erased'), countIf(ip_address NOT LIKE 'sealed:1:%') FROM silver.user_activity"
    # A view's rows are seen a little later than those of bronze.
    valid = sum(n % 9 > 0 for n in range(400))
    wait_for("silver", lambda: stack.query("SELECT count() FROM silver.user_activity FINAL") == [(valid,)], 30)
    erased, clear = stack.query(f"{late} WHERE user_id = 1")[0]
    assert erased == clear > 0
    assert second.stop() == 0


def test_another_master_key_ends_the_start(running: Stack) -> None:
    stack = running
    stack.worker("archive").kill()
    key = base64.b64encode(bytes(32)).decode()
    stranger = stack.worker("archive", wait=False, master_key=key)
    wait_for("its end", lambda: stranger.process.poll() is not None, 60)
    assert stranger.process.returncode == 2
    assert "STREAMPROC_MASTER_KEY" in stranger.output()
    assert "is not the one that has wrapped the keys" in stranger.output()
    assert key not in stranger.output()
