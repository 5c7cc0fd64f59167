"""What goes to ClickHouse with its personal values sealed: records, rows of changes, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from schemas.changes import ROWS
from schemas.personal import PERSONAL, may_hold_personal
from streamproc.config import Settings
from streamproc.errors import PermanentError
from streamproc.personal import NOBODY, Sealer, Unsealable, UserKey, keys_in, may_hold_values, unseal_payload
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.key_store import KeyStore, keys_clickhouse
from streamproc.sinks.master_key import load_master_key
from streamproc.sinks.silver_changes import PlacedChange

#: Records sealed at once (about 5 ms): then others get their turn.
_SLICE: Final = 500


def sealed_by(payloads: Sequence[bytes], owners: Sequence[int], errors: Sequence[str]) -> list[int | None]:
    """By whose key each record is sealed (0: nobody's), None where there is nothing to seal: such a user needs no key yet.

    Arguments as of `Sealing.payloads`.
    """
    if not owners:
        return [NOBODY] * len(payloads)
    return [
        owner if owner == NOBODY or (errors and errors[place]) or may_hold_values(payload) else None
        for place, (owner, payload) in enumerate(zip(owners, payloads, strict=True))
    ]


class Sealing:
    """Seals with keys of a store. Every method raises RetryableError or PermanentError with ClickHouse's reason, and gives
    the same bytes whenever it is asked again, as long as nobody was erased."""

    def __init__(self, keys: KeyStore) -> None:
        self.keys = keys
        self._sealer = Sealer()
        keys.on_destroyed = self._sealer.forget

    async def hold(self, owners: Collection[int]) -> None:
        """Have the keys of all these users at hand, those of new ones made: what is sealed next asks for none of them."""
        await self.keys.keys_for(owners)

    async def payloads(
        self, topic: str, payloads: Sequence[bytes], owners: Sequence[int], errors: Sequence[str]
    ) -> Sequence[bytes]:
        """Records of one topic. Of one whose owner is known and which is valid, the personal fields are sealed; of any
        other nobody knows where personal data lies, so all of it is, by its user's key if that is known.

        `owners` has a user id a record (0: nobody's; none at all: all nobody's), `errors` a text a record or none at all.
        """
        if topic not in PERSONAL:
            return payloads
        whose = sealed_by(payloads, owners, errors)
        keys = await self.keys.keys_for(owner for owner in whose if owner is not None)
        sealed: list[bytes] = []
        for place, payload in enumerate(payloads):
            if place % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            owner = whose[place]
            if owner is None:
                sealed.append(payload)
            elif owner != NOBODY and not (errors and errors[place]):
                sealed.append(self._sealer.fields(payload, keys[owner]))
            else:
                sealed.append(self._sealer.whole(payload, keys[owner]))
        return sealed

    async def changes(self, topic: str, rows: Sequence[PlacedChange]) -> Sequence[PlacedChange]:
        """Rows of silver, with the tokens that their records in bronze hold."""
        places = [
            (place, field.name) for place, field in enumerate(ROWS[topic]) if field.name in PERSONAL.get(topic, ())
        ]
        if not places:
            return rows
        keys = await self.keys.keys_for(row.change.id for row in rows)
        sealed: list[PlacedChange] = []
        for count, row in enumerate(rows):
            if count % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            sealed.append(self._change(row, places, keys[row.change.id]))
        return sealed

    def _change(self, row: PlacedChange, places: list[tuple[int, str]], key: UserKey | None) -> PlacedChange:
        values = list(row.change.values)
        for place, field in places:
            value = values[place]
            if value is not None:
                values[place] = self._sealer.text(str(value), field, key)
        return row._replace(change=row.change.with_values(tuple(values)))

    async def letters(self, topics: Sequence[str], payloads: Sequence[bytes]) -> Sequence[bytes]:
        """Dead letters with the topics that they say they are of: those that may hold personal data are sealed whole."""
        if not any(map(may_hold_personal, topics)):
            return payloads
        key = (await self.keys.keys_for([NOBODY]))[NOBODY]
        return [
            self._sealer.whole(payload, key) if may_hold_personal(topic) else payload
            for topic, payload in zip(topics, payloads, strict=True)
        ]

    async def unsealed(self, payloads: Sequence[bytes]) -> list[bytes]:
        """Records as they came; tokens of destroyed keys stay. A token that was changed is a PermanentError."""
        names = {name for payload in payloads for name in keys_in(payload)}
        if not names:
            return list(payloads)
        keys = await self.keys.keys_named(names)
        try:
            return [unseal_payload(payload, keys) for payload in payloads]
        except Unsealable as error:
            raise PermanentError("unsealable", str(error)) from error


def unsealing(settings: Settings, clickhouse: ClickHouse) -> Callable[[Sequence[bytes]], Awaitable[list[bytes]]]:
    """`Sealing.unsealed` for commands: the master key is asked for (ConfigError) only once something sealed is met."""

    async def unsealed(payloads: Sequence[bytes]) -> list[bytes]:
        if not any(keys_in(payload) for payload in payloads):
            return list(payloads)
        keys = KeyStore(keys_clickhouse(settings, clickhouse), load_master_key(settings))
        return await Sealing(keys).unsealed(payloads)

    return unsealed
