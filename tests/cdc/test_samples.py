"""What Debezium's connector really sent (recorded by tests/cdc/record.py) is read, in every mode, to what the tables held."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from schemas.changes import ROWS
from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS
from streamproc.decode.changes import Change, decode_change
from tests.cdc.record import DECIMALS, TIMES, main, missing
from tests.cdc.samples import Message, load, modes, newest, operation, problems, tables

WHOLE = [mode for mode in modes() if mode.endswith("-adaptive")]
PARTS = [mode for mode in modes() if mode not in WHOLE]


def decoded(messages: list[Message], topic: str) -> list[Change]:
    """The changes of one topic."""
    texts = [(each.key, each.value) for each in messages if each.topic == topic]
    found = [decode_change(topic, *(None if text is None else text.encode() for text in pair)) for pair in texts]
    return [change for change in found if isinstance(change, Change)]


def test_every_mode_was_recorded() -> None:
    """Decimals with and without the schema part, and all modes of times."""
    assert len(WHOLE) == 2 * len(DECIMALS)
    assert len(PARTS) == 2 * (len(TIMES) - 1)


@pytest.mark.parametrize("mode", WHOLE)
def test_what_is_left_is_what_the_tables_held(mode: str) -> None:
    """Every record, with a transaction, a new key, deletes, a truncate, a message and two snapshots among them."""
    assert problems(load(mode), tables()) == []
    kinds = {operation(each) for each in load(mode)}
    assert kinds >= {"c", "u", "d", "r", "t", "m", "BEGIN", "END", "heartbeat", "tombstone"}


@pytest.mark.parametrize("mode", [mode for mode in WHOLE if not mode.startswith("precise-plain")])
def test_decimals_do_not_depend_on_the_mode(mode: str) -> None:
    """The same rows in the same order, but for what each connector's own snapshots say of their time."""
    for topic in ROWS:
        wanted = [(change.id, change.op, change.values) for change in decoded(load("string-schema-adaptive"), topic)]
        assert [(change.id, change.op, change.values) for change in decoded(load(mode), topic)] == wanted
        assert wanted


@pytest.mark.parametrize("mode", PARTS)
def test_times_do_not_depend_on_the_mode(mode: str) -> None:
    """Of each kind of change the first."""
    for topic in ROWS:
        wanted = decoded(load("string-schema-adaptive"), topic)
        for change in decoded(load(mode), topic):
            values = [other.values for other in wanted if (other.id, other.op) == (change.id, change.op)]
            assert change.values in values, topic


def test_precise_without_the_schema_part_is_refused() -> None:
    """Its scale is nowhere in the record; numbers with a scale of their own can be read."""
    refused = [
        decode_change(each.topic, None, (each.value or "").encode())
        for each in load("precise-plain-adaptive")
        if each.topic == CDC_USERS and each.value
    ]
    words = {found[1] for found in refused if isinstance(found, tuple)}
    assert len(words) == 1
    assert words.pop().startswith("after.monthly_budget: not an amount")
    assert {change.values[3] for change in decoded(load("precise-plain-adaptive"), CDC_SUBSCRIPTIONS)} >= {299_000, 0}


def test_positions_order_snapshots_and_changes() -> None:
    """Rows of the signalled snapshot lie behind the changes before it, although their lsn is null."""
    changes = decoded(load("string-schema-adaptive"), CDC_USERS)
    positions = [change.position for change in changes]
    assert positions == sorted(positions)
    assert [change.snapshot for change in changes].count(True) == 6
    assert len({(change.id, change.position) for change in changes}) == len(changes)
    assert set(newest(changes)) == {2, 4}


def test_a_key_that_was_changed_is_a_delete_and_a_create() -> None:
    """At one position, with two ids."""
    changes = decoded(load("string-schema-adaptive"), CDC_USERS)
    gone = next(change for change in changes if change.op == "d" and change.id == 1)
    assert [change.id for change in changes if change.position == gone.position and change.op == "c"] == [4]


def test_of_a_deleted_row_whose_key_alone_was_logged_nothing_is_known() -> None:
    """Debezium fills in 0 and '', which never were the row's."""
    gone = [change for change in decoded(load("double-plain-adaptive"), CDC_CHANNELS) if change.deleted]
    assert [change.values for change in gone] == [(None,) * 8]


def said(mode: str) -> dict[str, Counter[tuple[object, ...]]]:
    """What the changes of one mode say, by topic; positions and times of the log are each recording's own."""
    return {
        topic: Counter((change.id, change.op, change.values) for change in decoded(load(mode), topic)) for topic in ROWS
    }


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_recording_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """PostgreSQL, Debezium and Kafka here and now, in two of the modes, say what was recorded then."""
    if lacks := missing():
        pytest.skip(f"there is no {lacks} on this machine")
    mode = "string-plain-adaptive"
    wanted = said(mode)
    monkeypatch.setattr("tests.cdc.samples.SAMPLES", tmp_path)
    monkeypatch.setattr("sys.argv", ["record", mode, "double-plain-connect"])
    main()
    assert [path.name for path in tmp_path.glob("*.ndjson")] == [f"{mode}.ndjson"], (
        "the other is of no kind that is kept"
    )
    assert said(mode) == wanted
