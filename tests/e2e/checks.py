"""What must be equal at the end of every fault test: windows, Redis and the archive against an independent truth."""

from __future__ import annotations

import base64
import json
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from tests.oracle.unseal import Unsealer
from tests.support.compare import differences, due
from tests.support.events import COST_EVENTS, OPS_EVENTS, USER_EVENTS, VIDEO_STATUS
from tests.support.stack import PATIENCE, Stack
from tests.support.truth import Key, Record, Truth, compute
from tests.support.workload import Workload

Message = tuple[str, bytes, bytes | None]

#: Dead letters are read by topic; silver by its table.
SILVER = {
    USER_EVENTS: "silver.user_activity",
    VIDEO_STATUS: "silver.video_status",
    COST_EVENTS: "silver.cost_events",
    OPS_EVENTS: "silver.ops_events",
}


def messages(seed: int, events: int) -> list[Message]:
    """A mixed workload whose event times end now."""
    return [(m.topic, m.key, m.value) for m in Workload(seed, events, int(time.time() * 1000), 0.1).messages()]


def settle(wrong: Callable[[], list[str]], timeout_s: float) -> None:
    """Wait until nothing is wrong any more, or fail with what is."""
    deadline = time.monotonic() + timeout_s * PATIENCE
    while True:
        found = wrong()
        if not found:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"{len(found)} differences, e.g.\n" + "\n".join(found[:15]))
        time.sleep(0.2)


def check_windows(stack: Stack, truth: Truth | None = None, timeout_s: float = 60.0, late: bool = True) -> Truth:
    """ClickHouse shows exactly what the log says."""
    found = compute(stack.log_records()) if truth is None else truth
    expected = found.windows | found.entities
    settle(lambda: differences(stack.windows(), expected, late=late), timeout_s)
    return found


def check_live(stack: Stack, truth: Truth, timeout_s: float = 20.0, sizes: Iterable[str] = ("5m", "1h", "1d")) -> None:
    """Redis holds every window of these sizes (as series) and every entity total."""
    wanted = {key: value for key, value in truth.windows.items() if key[1] in sizes} | truth.entities
    settle(lambda: differences(_live(stack, wanted), wanted, late=False), timeout_s)


def _live(stack: Stack, wanted: dict[Key, Any]) -> dict[Key, Any]:
    """What Redis holds of them, each with the status of its window in ClickHouse: a series holds values alone."""
    statuses = {key: value[3] for key, value in stack.windows().items()}
    keys = list(wanted)
    pipe = stack.redis.pipeline(transaction=False)
    for metric, size, start_ms, dimension, value in keys:
        if size == "all":
            pipe.hget(f"sp:entity:{metric}:{value}", "value")
        else:
            dim = f":{dimension}={value}" if dimension else ""
            pipe.hget(f"sp:series:{metric}:{size}{dim}", str(start_ms // 1000))
    texts = pipe.execute()
    return {
        key: (float(text) if text else None, *due(wanted[key], status)[1:], status)
        for key, text in zip(keys, texts, strict=True)
        for status in (statuses.get(key, "open"),)
        if text is not None
    }


def check_archive(stack: Stack, records: list[Record] | None = None, timeout_s: float = 60.0) -> None:
    """Bronze holds every record once, silver every valid id once, meta.dead_letters every dead letter once."""
    log = stack.log_records() if records is None else records
    settle(lambda: archive_differences(stack, log, compute(log)), timeout_s)


def archive_differences(stack: Stack, log: list[Record], truth: Truth) -> list[str]:
    """What is wrong in the archive, in words."""
    wrong: list[str] = []
    bronze: dict[tuple[str, int, int], tuple[str, bytes]] = {}
    unsealer = Unsealer(stack.query)
    tables = (
        "bronze.user_events",
        "bronze.video_status",
        "bronze.cost_events",
        "bronze.ops_events",
        "bronze.billing_events",
    )
    for table in tables:
        for topic, partition, offset, error, payload in stack.query(
            f"SELECT topic, partition, offset, error, base64Encode(payload) FROM {table} FINAL"
        ):
            if (topic, partition, offset) in bronze:
                wrong.append(f"{table} holds {topic}/{partition}/{offset} twice")
            bronze[topic, partition, offset] = (error, unsealer.record(base64.b64decode(payload)))
    ids: dict[str, set[str]] = {topic: set() for topic in SILVER}
    for topic, partition, offset, _, value in log:
        found = bronze.pop((topic, partition, offset), None)
        if found is None or found[1] != (value or b""):
            wrong.append(f"bronze of {topic}/{partition}/{offset} is {found}, wanted {value!r}")
        elif not found[0]:
            ids[topic].add(json.loads(value or b"")["event_id"].lower())
    wrong += [f"nobody produced {place}" for place in bronze]
    for topic, table in SILVER.items():
        silver = [str(row[0]) for row in stack.query(f"SELECT event_id FROM {table} FINAL")]
        wrong += [f"{table} lacks {each}" for each in ids[topic] - set(silver)]
        wrong += [f"{table} holds {each} too often" for each, n in (Counter(silver) - Counter(ids[topic])).items() if n]
    return wrong + _dead_differences(stack, tables, truth)


def _dead_differences(stack: Stack, tables: Iterable[str], truth: Truth) -> list[str]:
    dead = {
        (topic, reason): n
        for topic, reason, n in stack.query(
            "SELECT topic, reason, count() FROM meta.dead_letters FINAL GROUP BY topic, reason"
        )
    }
    errors = {
        (topic, reason): n
        for table in tables
        for topic, reason, n in stack.query(
            f"SELECT topic, splitByString(': ', error)[1] AS reason, count() FROM {table} FINAL WHERE error != ''"
            " GROUP BY topic, reason"
        )
    }
    wrong = [] if dead == truth.dead_by_topic else [f"meta.dead_letters: {dead}, truth says {truth.dead_by_topic}"]
    return wrong + ([] if errors == truth.dead_by_topic else [f"errors in bronze: {errors}"])
