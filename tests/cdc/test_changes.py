"""Decoding of changes: every form of amounts and times, every kind of record, and nothing that raises."""

from __future__ import annotations

import datetime
import json
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import INT64_MAX, INT64_MIN
from schemas.outcomes import MAX_EVENT_BYTES, DeadReason
from schemas.topics import CDC_CHANNELS, CDC_SUBSCRIPTIONS, CDC_USERS, CHANGES
from streamproc.decode.changes import Change, decode_change, decode_changes
from streamproc.decode.times import MAX_MS
from tests.cdc.envelopes import CONNECT, DEBEZIUM, TIMES, encoded, envelope, instant, precise, schema_of

#: From when on micros and nanos are told apart from coarser units without a schema part.
TOLD_APART_MS = 4_294_967_296

FORMS = st.sampled_from(sorted(TIMES))
MONEY = st.decimals(-(10**13), 10**13, allow_nan=False, places=7)


def e4(amount: Decimal) -> int:
    with localcontext() as context:
        context.prec = 200
        return int(amount.quantize(Decimal("0.0001"), ROUND_HALF_EVEN).scaleb(4))


def amount(text: Any, column: dict[str, Any] | None = None) -> Any:
    """What is read of `mrr_usd`; a text if it is refused."""
    schema = None if column is None else schema_of({"mrr_usd": column})
    value = encoded(envelope(after={"id": 1, "mrr_usd": text}), schema)
    found = decode_change(CDC_SUBSCRIPTIONS, None, value)
    return found.values[3] if isinstance(found, Change) else found and found[1]


def time(value: Any, column: dict[str, Any] | None = None) -> Any:
    """What is read of `started_at`; a text if it is refused."""
    schema = None if column is None else schema_of({"started_at": column})
    made = encoded(envelope(after={"id": 1, "started_at": value}), schema)
    found = decode_change(CDC_SUBSCRIPTIONS, None, made)
    return found.values[4] if isinstance(found, Change) else found and found[1]


@settings(deadline=None)
@given(MONEY, st.integers(7, 60))
def test_amounts_of_every_form(money: Decimal, scale: int) -> None:
    """The same number from all of Debezium's modes."""
    decimal = {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": str(scale)}}
    with localcontext() as context:
        context.prec = 200
        coded = precise(money, scale)
    wanted = e4(money)
    assert amount(f"{money:f}") == wanted
    assert amount(f"{money:f}", {"type": "string"}) == wanted
    assert amount(coded, decimal) == wanted
    variable = {"type": "struct", "name": "io.debezium.data.VariableScaleDecimal"}
    assert amount({"scale": scale, "value": coded}, variable) == wanted
    assert amount({"scale": scale, "value": coded}) == wanted


@settings(deadline=None)
@given(st.floats(-1e11, 1e11))
def test_doubles(money: float) -> None:
    """A double is the decimal that is written."""
    wanted = e4(Decimal(repr(money)))
    assert amount(money) == wanted
    assert amount(money, {"type": "double"}) == wanted
    # Connect's converter writes Decimals as numbers if it is told to.
    assert amount(money, {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": "2"}}) == wanted


@settings(deadline=None)
@given(st.integers(-(2**80), 2**80), st.integers(-60, 60))
def test_any_scale_is_exact_or_refused(unscaled: int, scale: int) -> None:
    """Negative scales and overflows too; half to even."""
    size = unscaled.bit_length() // 8 + 1
    import base64

    coded = base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()
    wanted = e4(Decimal(unscaled).scaleb(-scale)) if abs(scale) < 45 or unscaled == 0 else None
    found = amount({"scale": scale, "value": coded})
    if wanted is not None:
        fits = INT64_MIN <= wanted <= INT64_MAX
        assert found == wanted if fits else "not an amount" in found
    else:
        assert found == 0 if scale > 0 else "not an amount" in found


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("ATFA", None),
        ("ATFA", {"type": "bytes", "name": CONNECT + "Decimal"}),
        ("", {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": "2"}}),
        ("AT", {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": "2"}}),
        ("A*TF", {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": "2"}}),
        ("ATFA", {"type": "bytes", "name": CONNECT + "Decimal", "parameters": {"scale": "99999"}}),
        ({"scale": 1}, None),
        ({"scale": 10**30, "value": "AQ=="}, None),
        ({"scale": 10**6, "value": "AQ=="}, None),
        ("NaN", None),
        (True, None),
        ([1], None),
        (10**15, None),
    ],
)
def test_what_is_no_amount(text: Any, column: dict[str, Any] | None) -> None:
    """In words, without the value."""
    assert amount(text, column) == (
        "after.mrr_usd: not an amount (a JSON number, a string of one, or base64 with its scale) that fits into 64 bits"
        " of 1/10000 USD"
    )


@settings(deadline=None)
@given(st.integers(0, MAX_MS), FORMS, st.integers(0, 999))
def test_instants_of_every_form_with_the_schema_part(ms: int, form: str, extra_us: int) -> None:
    """Cut to milliseconds."""
    name, kind = TIMES[form]
    assert time(instant(ms, form, extra_us), {"type": kind, "name": name}) == ms


@settings(deadline=None)
@given(st.integers(TOLD_APART_MS, MAX_MS), FORMS, st.integers(0, 999))
def test_instants_of_every_form_without(ms: int, form: str, extra_us: int) -> None:
    """By magnitude."""
    assert time(instant(ms, form, extra_us)) == ms


@settings(deadline=None)
@given(st.dates(datetime.date(1970, 1, 1), datetime.date(2105, 12, 31)))
def test_dates(day: datetime.date) -> None:
    """A date is its first instant."""
    days = (day - datetime.date(1970, 1, 1)).days
    for name in (CONNECT + "Date", DEBEZIUM + "Date"):
        assert time(days, {"type": "int32", "name": name}) == days * 86_400_000
    assert time(days) == days * 86_400_000
    assert time(f"{day}Z", {"type": "string", "name": DEBEZIUM + "IsoDate"}) == days * 86_400_000
    assert time(f"{day}Z") == days * 86_400_000


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (-1, ""),
        (2**63 - 1, ""),
        (1.5, ""),
        (True, ""),
        ("yesterday", ""),
        ("2026-03-01 00:00:00", ""),
        ("2026-03-01", ""),
        ("2026-02-30Z", ""),
        ("2026-03-01T00:00:00Z", DEBEZIUM + "MicroTimestamp"),
        (MAX_MS + 1, CONNECT + "Timestamp"),
        (50_000, CONNECT + "Date"),
        (1, DEBEZIUM + "ZonedTimestamp"),
    ],
)
def test_what_is_no_instant(value: Any, name: str) -> None:
    """Out of range, or of another form than its type says."""
    column = {"type": "int64", "name": name} if name else None
    assert time(value, column).startswith("after.started_at: not a time")


def test_a_time_of_day_is_no_instant() -> None:
    """The type is named, if it can be spelt."""
    found = time(1, {"type": "int64", "name": DEBEZIUM + "MicroTime"})
    assert found == "after.started_at: io.debezium.time.MicroTime is no type of an instant"
    assert time(1, {"type": "int64", "name": "<b>"}) == "after.started_at: its type is no type of an instant"


def test_every_field_of_every_table() -> None:
    """In the order of the contract; other columns are ignored, absent ones are null."""
    user = {"id": 7, "email": "a@b", "username": "ü", "subscription_tier": "pro", "channels_limit": 3}
    user |= {"daily_video_limit": None, "monthly_budget": "9.99", "created_at": "2026-01-01T00:00:00Z", "other": [1]}
    found = decode_change(CDC_USERS, b"7", encoded(envelope("c", after=user)))
    values = ("a@b", "ü", "pro", 3, None, 99_900, 1_767_225_600_000, None)
    assert found == Change(7, "c", 4711, 1_772_323_200_123, False, values)
    channel = {"id": 8, "user_id": 7, "channel_name": "n", "niche": "x", "youtube_channel_id": "UC", "is_active": True}
    channel |= {"auto_publish": False, "created_at": 1_767_225_600_000, "updated_at": 1_767_225_600_000_000}
    found = decode_change(CDC_CHANNELS, b"8", encoded(envelope("r", after=channel, source={"snapshot": "last"})))
    values_of_channel = (7, "n", "x", "UC", True, False, 1_767_225_600_000, 1_767_225_600_000)
    assert found == Change(8, "r", 4711, 1_772_323_200_123, True, values_of_channel)


@pytest.mark.parametrize("snapshot", ["true", "first", "last", "incremental", True, "first_in_data_collection"])
def test_snapshots(snapshot: Any) -> None:
    """Whatever Debezium calls them; `r` alone is enough."""
    for op, said in (("c", snapshot), ("r", None), ("r", "false")):
        found = decode_change(CDC_USERS, None, encoded(envelope(op, after={"id": 1}, source={"snapshot": said})))
        assert isinstance(found, Change) and found.snapshot


@pytest.mark.parametrize(
    ("before", "key"),
    [
        ({"id": 9, "plan": "x", "mrr_usd": "not logged", "user_id": ""}, None),
        (None, b'{"id": 9}'),
        (None, b'{"schema": {"type": "struct"}, "payload": {"id": 9}}'),
        (None, b"9"),
        ({"id": None}, b' {"payload": 9} '),
        ({"plan": "x"}, b'{"id": 9}'),
        ({"id": 9}, b"\xff not read"),
    ],
)
def test_deletes(before: Any, key: bytes | None) -> None:
    """The id is in `before` or in the key, and what else cannot be read keeps nobody from knowing that the row is gone."""
    found = decode_change(CDC_SUBSCRIPTIONS, key, encoded(envelope("d", before=before)))
    assert isinstance(found, Change) and found.deleted and found.id == 9
    assert found.values == (None, before.get("plan") if before else None, None, None, None, None)


def test_what_debezium_fills_in_of_a_deleted_row_is_not_a_value() -> None:
    """Only the key was logged, and columns that may not be null hold nothing that was ever there."""
    before = {"id": 9, "user_id": 0, "channel_name": "", "niche": None, "is_active": False, "created_at": 0}
    found = decode_change(CDC_CHANNELS, None, encoded(envelope("d", before=before)))
    assert isinstance(found, Change) and found.values == (None,) * 8
    found = decode_change(CDC_CHANNELS, None, encoded(envelope("d", before=before | {"user_id": 1})))
    assert isinstance(found, Change) and found.values == (1, "", None, None, False, None, 0, None)


@pytest.mark.parametrize(
    ("sequence", "position"),
    [
        ('["22580040","22580041"]', 22580041),
        ('[null, "5"]', 5),
        ("[null,null]", None),
        ("5", None),
        (None, None),
        (5, None),
    ],
)
def test_rows_of_an_incremental_snapshot_have_the_position_of_its_watermark(
    sequence: Any, position: int | None
) -> None:
    """Their lsn is null."""
    source = {"lsn": None, "sequence": sequence, "snapshot": "incremental"}
    found = decode_change(CDC_USERS, None, encoded(envelope("r", after={"id": 1}, source=source)))
    assert (found.position if isinstance(found, Change) else None) == position


@pytest.mark.parametrize("key", [None, b"", b"{}", b"null", b'{"id": "x"}', b'"9"', b"[9]", b"\xff", b"{" * 5000])
def test_deletes_of_nobody(key: bytes | None) -> None:
    """Without an id it is nobody's change."""
    found = decode_change(CDC_USERS, key, encoded(envelope("d")))
    assert isinstance(found, tuple) and found[0] is DeadReason.MALFORMED and found[1]


@pytest.mark.parametrize("schema", [None, schema_of({})], ids=["plain", "schema"])
@pytest.mark.parametrize(
    "payload",
    [
        None,
        {"ts_ms": 1_772_323_200_123},
        {"ts_ms": 1, "ts_us": 1, "ts_ns": 1},
        {"status": "BEGIN", "id": "571:53195829", "ts_ms": 1, "event_count": None, "data_collections": None},
        {
            "status": "END",
            "id": "571",
            "event_count": 1,
            "data_collections": [{"data_collection": "a", "event_count": 1}],
        },
        envelope("t"),
        {"op": "m", "ts_ms": 1, "source": {}, "message": {"prefix": "p", "content": "AA=="}},
    ],
)
def test_records_that_carry_no_row(payload: Any, schema: dict[str, Any] | None) -> None:
    """Tombstones, heartbeats, transactions, truncates and messages are no dead letters."""
    assert decode_change(CDC_USERS, b"1", encoded(payload, schema)) is None
    assert decode_change(CDC_USERS, b"1", None) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", "empty value (a tombstone's is null)"),
        (b"{", "not strict JSON: Input data was truncated"),
        (b"\xff", "not UTF-8: invalid start byte (byte 0)"),
        (b"[" * 1000 + b"]" * 1000, "nested deeper than 256 levels"),
        (b"[]", "expected object | null, got array"),
        (b'{"id": 1}', "op: required field is missing (the whole envelope is read, not a row taken out of it)"),
        (encoded(envelope("x")), "op: not one of c, u, d, r, t, m"),
        (encoded(envelope(5)), "op: expected str, got int"),  # type: ignore[arg-type]
        (encoded({"op": "c"}), "source: required field is missing"),
        (encoded(envelope("c")), "after: required field is missing (op c)"),
        (encoded(envelope(after=[])), "after: expected object | null, got array"),
        (encoded(envelope(after={})), "after.id: required field is missing"),
        (encoded(envelope(after={"id": "1"})), "after.id: not an integer of 64 bits"),
        (encoded(envelope(after={"id": True})), "after.id: not an integer of 64 bits"),
        (
            encoded(envelope(after={"id": 1}, source={"lsn": None})),
            "source.lsn: no position in it, nor in source.sequence",
        ),
        (encoded(envelope(after={"id": 1}, source={"lsn": "5"})), "source.lsn: expected int | null, got str"),
        (encoded(envelope(after={"id": 1}, source={"lsn": -1})), "source.lsn: expected int >= 0"),
        (encoded(envelope(after={"id": 1, "email": 5})), "after.email: not a text"),
        (encoded(envelope(after={"id": 1, "channels_limit": "5"})), "after.channels_limit: not an integer of 64 bits"),
        (
            encoded(envelope(after={"id": 1, "email": "__debezium_unavailable_value"})),
            "after.email: the value was not logged (a long text that did not change): set REPLICA IDENTITY FULL",
        ),
        (encoded({"schema": 5, "payload": envelope(after={"id": 1})}), "schema: not a schema of Kafka Connect"),
        (encoded({"schema": None, "payload": 5}), "payload: expected object | null, got int"),
    ],
)
def test_dead_letters_say_why(value: bytes, reason: str) -> None:
    """The field's path and what is wrong, never the value."""
    assert decode_change(CDC_USERS, b"1", value) == (DeadReason.MALFORMED, reason)


def test_too_large() -> None:
    """As for events."""
    found = decode_change(CDC_USERS, None, b" " * (MAX_EVENT_BYTES + 1))
    assert found == (DeadReason.TOO_LARGE, f"{MAX_EVENT_BYTES + 1} bytes; at most {MAX_EVENT_BYTES} are taken")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["schema", "payload", "op", "source", "lsn", "ts_ms", "before", "after", "id", "fields", "field", "type", "name",
         "parameters", "scale", "value", "email", "monthly_budget", "created_at", "status", "snapshot"]), inner, max_size=6),
    max_leaves=40,
)  # fmt: skip


@settings(deadline=None)
@given(JSON, JSON, st.sampled_from([*CHANGES]))
def test_any_json_gets_one_outcome(key: Any, value: Any, topic: str) -> None:
    """Nothing raises."""
    _one_outcome(topic, json.dumps(key).encode(), json.dumps(value).encode())


@settings(deadline=None)
@given(JSON, st.sampled_from("cudrtm"), JSON, JSON)
def test_any_envelope_gets_one_outcome(schema: Any, op: str, row: Any, source: Any) -> None:
    """Deeper inside."""
    made = {"op": op, "before": row, "after": row, "source": source}
    _one_outcome(CDC_USERS, None, json.dumps({"schema": schema, "payload": made}).encode())
    _one_outcome(CDC_USERS, None, json.dumps(envelope(op, before=row, after=row)).encode())


@settings(deadline=None)
@given(st.binary(max_size=200), st.binary(max_size=400))
def test_any_bytes_get_one_outcome(key: bytes, value: bytes) -> None:
    """Nothing raises."""
    _one_outcome(CDC_CHANNELS, key, value)


def _one_outcome(topic: str, key: bytes | None, value: bytes | None) -> None:
    alone = decode_changes(topic, [key], [value])
    assert len(alone.rows) + len(alone.dead) <= 1
    for _, reason, text in alone.dead:
        assert reason in (DeadReason.MALFORMED, DeadReason.TOO_LARGE)
        assert 0 < len(text) < 200
    twice = decode_changes(topic, [None, key], [None, value])
    assert [row for _, row in twice.rows] == [row for _, row in alone.rows]
    for _, change in alone.rows:
        assert INT64_MIN <= change.id <= INT64_MAX
        assert all(
            isinstance(value, (str, bool)) or value is None or INT64_MIN <= value <= INT64_MAX
            for value in change.values
        )
