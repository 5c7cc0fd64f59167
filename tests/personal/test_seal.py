"""Sealing in bytes: what was sealed comes back to the byte, and of what was sealed nothing is left in clear."""

from __future__ import annotations

import json
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.personal import FIELDS
from streamproc.personal import (
    ERASED,
    Named,
    Sealer,
    Unsealable,
    UserKey,
    alike,
    keys_in,
    may_hold_values,
    unseal_payload,
    unseal_text,
)
from streamproc.personal.values import find_values

KEY = UserKey(7, "0a1b2c3d", bytes(range(32)))
OTHER = UserKey(8, "0a1b2c3d", bytes(range(1, 33)))
KEYS = {Named(7, "0a1b2c3d"): KEY, Named(8, "0a1b2c3d"): OTHER}

_TEXTS = st.text(max_size=12) | st.sampled_from(
    ["a@b.org", 'say "ip_address": "1.2.3.4"', "\\", 'end\\"', "sealed:1:7:0a1b2c3d:AAAA"]
)
_NAMES = st.sampled_from([*FIELDS, "user_id", "field", "ip_address ", "x"]) | st.text(max_size=4)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=12,
)


class Pairs(list[tuple[str, Any]]):
    """An object whose keys may repeat."""


def _escaped(text: str, how: int) -> str:
    """A JSON string, with as many escapes as it can have, or as few."""
    if how == 0:
        return json.dumps(text, ensure_ascii=False)
    if how == 1:
        return json.dumps(text)
    return '"' + "".join(f"\\u{unit:04x}" for unit in _units(text)) + '"'


def _units(text: str) -> list[int]:
    raw = text.encode("utf-16-be", "surrogatepass")
    return [int.from_bytes(raw[at : at + 2], "big") for at in range(0, len(raw), 2)]


@st.composite
def _json_texts(draw: st.DrawFn) -> str:
    """JSON with white space, escapes in keys and values, and repeated keys."""
    space = st.sampled_from(["", " ", "\n\t "])

    def write(value: Any) -> str:
        if isinstance(value, dict):
            items = [(key, inner) for key, inner in value.items() for _ in range(draw(st.integers(1, 2)))]
            parts = [
                f"{draw(space)}{text(key)}{draw(space)}:{draw(space)}{write(inner)}{draw(space)}"
                for key, inner in items
            ]
            return "{" + ",".join(parts) + "}"
        if isinstance(value, list):
            return "[" + ",".join(write(inner) for inner in value) + "]"
        return text(value) if isinstance(value, str) else json.dumps(value)

    def text(value: str) -> str:
        return _escaped(value, draw(st.integers(0, 2)))

    return write(draw(st.dictionaries(_NAMES, _VALUES, max_size=5)))


def _meanings(value: Any) -> Any:
    """What Python's own reader makes of a text, with every pair of an object, and personal values replaced by a mark."""
    if isinstance(value, Pairs):
        return [(k, "*" if k in FIELDS and v is not None else _meanings(v)) for k, v in value]
    return [_meanings(item) for item in value] if isinstance(value, list) else value


def _personal(value: Any) -> list[Any]:
    """All values at personal positions, by Python's own reader."""
    if isinstance(value, Pairs):
        return [x for k, v in value for x in ([v] if k in FIELDS and v is not None else _personal(v))]
    return [x for item in value for x in _personal(item)] if isinstance(value, list) else []


def _parsed(text: bytes) -> Any:
    return json.loads(text.decode("utf-8", "surrogatepass"), object_pairs_hook=Pairs)


@settings(deadline=None)
@given(_json_texts())
def test_every_personal_value_is_sealed_and_nothing_else_is_touched(text: str) -> None:
    came = text.encode("utf-8", "surrogatepass")
    sealed = Sealer().fields(came, KEY)
    assert _meanings(_parsed(sealed)) == _meanings(_parsed(came))
    assert all(
        isinstance(value, str) and value.startswith("sealed:1:7:0a1b2c3d:") for value in _personal(_parsed(sealed))
    )
    assert len(_personal(_parsed(sealed))) == len(_personal(_parsed(came)))
    assert unseal_payload(sealed, KEYS) == came
    assert Sealer().fields(came, KEY) == sealed
    assert alike(sealed, came)
    erased = Sealer().fields(came, None)
    assert all(value == ERASED for value in _personal(_parsed(erased)))
    assert alike(erased, came)


@settings(deadline=None)
@given(
    st.binary(max_size=300) | _json_texts().map(lambda text: text.encode("utf-8", "surrogatepass")), st.integers(0, 300)
)
def test_any_bytes_are_taken_and_come_back(came: bytes, cut: int) -> None:
    came = came[:cut]
    sealer = Sealer()
    assert unseal_payload(sealer.whole(came, KEY), KEYS) == came
    assert alike(sealer.whole(came, KEY), came)
    assert alike(came, came)
    assert not came or not alike(sealer.whole(came, KEY), came + b" ")
    assert may_hold_values(came) or sealer.fields(came, KEY) == came
    sealer.fields(came, KEY)
    unseal_payload(came, {})
    keys_in(came)


@settings(deadline=None)
@given(st.text(string.ascii_letters + string.digits + "@.", min_size=4), st.text(max_size=20))
def test_a_sealed_whole_shows_nothing_but_the_event_id(secret: str, noise: str) -> None:
    event_id = "6f1e7c1e-0f0e-4b8e-9a51-1c5c0f2b7a10"
    came = json.dumps({"event_id": event_id, "email": secret, "more": noise}).encode()[:-1]
    sealed = Sealer().whole(came, OTHER)
    assert json.loads(sealed).keys() == {"event_id", "sealed"}
    assert json.loads(sealed)["event_id"] == event_id
    assert json.loads(sealed)["sealed"].startswith("sealed:1:8:0a1b2c3d:")
    assert keys_in(sealed) == {Named(8, "0a1b2c3d")}


def test_tokens_differ_by_user_field_and_value_and_are_equal_otherwise() -> None:
    tokens = [
        Sealer().text(value, field, key)
        for key in (KEY, OTHER)
        for field in ("email", "username")
        for value in ("a@b.org", "a@b.orh", "")
    ]
    assert len(set(tokens)) == len(tokens)
    assert Sealer().text("a@b.org", "email", KEY) == tokens[0]
    assert f'"email":"{tokens[0]}"'.encode() in Sealer().fields(b'{"email":"a@b.org"}', KEY)


@pytest.mark.parametrize("value", ["", "ü€😀", 'say "hi"\\', "\0"])
def test_texts_of_columns_are_read_in_clear(value: str) -> None:
    sealed = Sealer().text(value, "username", KEY)
    assert unseal_text(sealed, "username", KEYS) == value
    came = json.dumps({"username": value}).encode()
    inside = json.loads(Sealer().fields(came, KEY))["username"]
    assert unseal_text(inside, "username", KEYS) == value


def test_what_has_no_key_stays_and_what_was_changed_is_an_error() -> None:
    token = Sealer().text("a@b.org", "email", KEY)
    assert unseal_text(token, "email", {}) == token
    assert unseal_text("a@b.org", "email", KEYS) == "a@b.org"
    sealed = Sealer().fields(b'{"email":"a@b.org"}', KEY)
    assert unseal_payload(sealed, {}) == sealed
    for place in (22, 40, len(token) - 2):
        changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
        with pytest.raises(Unsealable, match="owner 7 was changed"):
            unseal_text(changed, "email", KEYS)
    with pytest.raises(Unsealable, match="another field than username"):
        unseal_text(token, "username", KEYS)
    with pytest.raises(Unsealable, match="too short"):
        unseal_text("sealed:1:7:0a1b2c3d:AAAA", "email", KEYS)
    as_of_other = token.replace("sealed:1:7:", "sealed:1:8:")
    with pytest.raises(Unsealable):
        unseal_text(as_of_other, "email", KEYS)


def test_two_logs_are_told_apart_by_what_is_not_personal() -> None:
    sealed = Sealer().fields(b'{"n":1,"email":"a"}', KEY)
    assert alike(sealed, b'{"n":1,"email":"another"}')
    assert not alike(sealed, b'{"n":2,"email":"a"}')
    assert alike(b'{"n":1,"email":"a"}', b'{"n":1,"email":"a"}')


def test_hostile_bytes_take_linear_time() -> None:
    for came in (
        b'"\\' * 500_000,
        b'"ip_address":' * 100_000,
        b'{"ip_address":' * 100_000 + b'"\\"',
        b'\\"email":[' * 90_000,
    ):
        assert list(find_values(came, FIELDS)) is not None


def test_what_is_remembered_is_bounded() -> None:
    sealer = Sealer(remembered=10)
    for number in range(100):
        sealer.fields(b'{"email":"%d@b.org"}' % number, KEY)
        sealer.fields(b'{"email":"%s"}' % (b"x" * 100_000), KEY)
        assert len(sealer._tokens) <= 10
        assert all(len(plain) <= 256 for _, _, plain in sealer._tokens)
    sealer.forget()
    assert not sealer._tokens
