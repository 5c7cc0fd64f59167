"""What silver and gold hold of one user in clear: for whoever has the master key and may read the keys."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from schemas.personal import STORED
from streamproc.errors import PermanentError
from streamproc.personal import ERASED, Unsealable, keys_in, unseal_text
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.key_store import KeyStore

State = Literal["sealed", "clear", "erased", "unreadable"]

#: What a state means, for people.
STATES: Final[dict[State, str]] = {
    "sealed": "sealed, and read with the user's key",
    "clear": "stored in clear, before values were sealed",
    "erased": "came after the user was erased: it was never stored",
    "unreadable": "sealed, and its key is destroyed: nobody can read it",
}


class Held(NamedTuple):
    """A value that a table holds of a user in `rows` rows; None if nobody can read it."""

    table: str
    field: str
    value: str | None
    rows: int
    state: State


async def held_of(clickhouse: ClickHouse, keys: KeyStore, user_id: int) -> list[Held]:
    """Every personal value of a user, by table and field; tables that are not there yet are left out.

    Raises:
        RetryableError, PermanentError: ClickHouse's reason, or a token that was changed.
    """
    there = dict(
        await clickhouse.rows(
            "SELECT database || '.' || name, if(engine LIKE 'Replacing%', 'FINAL', '') FROM system.tables"
            " WHERE database IN ('silver', 'gold')"
        )
    )
    found: list[tuple[str, str, str, int]] = []
    for table, user, fields in STORED:
        for field in fields if table in there else ():
            rows = await clickhouse.rows(
                f"SELECT {field}, count() FROM {table} {there[table]} WHERE {user} = {int(user_id)} AND {field} IS NOT NULL"  # noqa: S608 (names of ours, an integer)
                f" GROUP BY {field} ORDER BY {field}"
            )
            found += [(table, field, str(value), int(count)) for value, count in rows]
    names = {name for _, _, value, _ in found for name in keys_in(value.encode("utf-8", "replace"))}
    known = await keys.keys_named(names) if names else {}
    held = []
    for table, field, value, count in found:
        try:
            clear = unseal_text(value, field, known)
        except Unsealable as error:
            raise PermanentError("unsealable", f"{table}.{field} of user {user_id}: {error}") from error
        held.append(_held(table, field, value, clear, count))
    return held


def _held(table: str, field: str, stored: str, clear: str, rows: int) -> Held:
    if clear != stored:
        return Held(table, field, clear, rows, "sealed")
    if stored == ERASED:
        return Held(table, field, None, rows, "erased")
    if keys_in(stored.encode("utf-8", "replace")):
        return Held(table, field, None, rows, "unreadable")
    return Held(table, field, clear, rows, "clear")
