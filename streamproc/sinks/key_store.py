"""The keys of users in ClickHouse's database `keys`: made on demand, held for a while, destroyed for good."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.personal import NOBODY, Named, UserKey
from streamproc.personal.keys import KEY_BYTES
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.master_key import MasterKey
from streamproc.sinks.native_block import block, integers, texts

#: Kafka keeps records for 7 days: so long, and a day more, nobody who was erased is given a new key by records read again.
REPLAY_DAYS: Final = 8
#: A destroyed key leaves the memory of a worker within this time.
LOOK_AGAIN_S: Final = 10.0
_REMEMBERED: Final = 50_000
#: Ids in one statement, which may have 256 KB.
_AT_ONCE: Final = 5_000

# A key that is lost makes all unreadable that was sealed with it, so it must survive a power cut; and one that is destroyed
# must leave the disk soon: a part that was replaced is kept 8 minutes by default.
_SETTINGS: Final = (
    "SETTINGS non_replicated_deduplication_window = 10000, fsync_after_insert = 1, fsync_part_directory = 1, "
    "min_rows_to_fsync_after_merge = 1, old_parts_lifetime = 30"
)
_TABLES: Final = (
    "CREATE DATABASE IF NOT EXISTS keys",
    f"""CREATE TABLE IF NOT EXISTS keys.master
    (
        fingerprint  String COMMENT 'which master key has wrapped all keys',
        created_at   DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
    )
    ENGINE = ReplacingMergeTree ORDER BY (fingerprint, created_at) {_SETTINGS}""",
    f"""CREATE TABLE IF NOT EXISTS keys.user_keys
    (
        user_id      Int64 COMMENT '0: of what belongs to no known user',
        key_id       String COMMENT '8 hexadecimal digits, named by each token',
        wrapped      String COMMENT 'the key under the master key (AES-GCM), base64',
        created_at   DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
    )
    ENGINE = ReplacingMergeTree ORDER BY (user_id, key_id) {_SETTINGS}""",
    f"""CREATE TABLE IF NOT EXISTS keys.destroyed
    (
        user_id      Int64,
        destroyed_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
    )
    ENGINE = ReplacingMergeTree ORDER BY (user_id, destroyed_at) {_SETTINGS}""",
)
_LATELY: Final = f"destroyed_at > now() - INTERVAL {REPLAY_DAYS} DAY"


class Destruction(NamedTuple):
    """What `destroy` did: keys that were deleted, and whether the user counts as erased only since now."""

    keys: int
    newly: bool


def keys_clickhouse(settings: Settings, clickhouse: ClickHouse) -> ClickHouse:
    """The server of the keys: one of their own if the settings name it, else the given one."""
    return clickhouse if settings.keys_url is None else ClickHouse(settings.keys_url.get_secret_value())


class KeyStore:
    """Keys by user. Every method raises RetryableError or PermanentError with ClickHouse's reason; safe for concurrent use.

    `on_destroyed` is called when a key was found to be destroyed: whoever holds what was sealed with it lets go of it.
    """

    def __init__(
        self,
        clickhouse: ClickHouse,
        master: MasterKey,
        remembered: int = _REMEMBERED,
        look_again_s: float = LOOK_AGAIN_S,
    ) -> None:
        self._clickhouse = clickhouse
        self._master = master
        self._remembered = remembered
        self._look_again_s = look_again_s
        self._held: dict[int, UserKey] = {}
        self._destroyed: frozenset[int] = frozenset()
        self._looked_s: float | None = None
        self._opened = False
        self._lock = asyncio.Lock()
        self.on_destroyed: Callable[[], None] = lambda: None

    async def open(self) -> None:
        """Make the tables if they are missing, and see that they belong to our master key. Safe to call again.

        Raises:
            ConfigError: the keys there were wrapped under another master key.
        """
        if await self._is_ours():
            return
        for statement in _TABLES:
            await self._clickhouse.command(statement)
        if await self._first_fingerprint() is None:
            await self._insert("master", [texts("fingerprint", [self._master.fingerprint])], 1)
        if not await self._is_ours():
            raise RetryableError("master_missing", "the fingerprint of the master key cannot be read back")

    async def _is_ours(self) -> bool:
        """Whether the tables are there, and belong to our master key. Only reads: more is not everybody's right."""
        if self._opened:
            return True
        first = await self._first_fingerprint()
        if first is None:
            return False
        if first != self._master.fingerprint:
            raise ConfigError(
                f"the master key of {self._master.origin} (fingerprint {self._master.fingerprint}) is not the one that has "
                f"wrapped the keys in keys.master (fingerprint {first}): give this process that key, by "
                "STREAMPROC_MASTER_KEY_FILE or STREAMPROC_MASTER_KEY; another one cannot read what was sealed before"
            )
        self._opened = True
        return True

    async def _first_fingerprint(self) -> str | None:
        try:
            rows = await self._clickhouse.rows(
                "SELECT fingerprint FROM keys.master ORDER BY created_at, fingerprint LIMIT 1"
            )
        except PermanentError as error:
            if error.reason in ("unknown_table", "unknown_database"):
                return None
            raise
        return str(rows[0][0]) if rows else None

    async def count(self) -> int | None:
        """Users who have a key, None if the tables are not there yet. Changes nothing.

        Raises:
            ConfigError: the keys there were wrapped under another master key.
        """
        if not await self._is_ours():
            return None
        sql = f"SELECT uniqExact(user_id) FROM keys.user_keys WHERE user_id != {NOBODY}"  # noqa: S608 (a constant)
        return int((await self._clickhouse.rows(sql))[0][0])

    async def keys_for(self, owners: Iterable[int]) -> dict[int, UserKey | None]:
        """The key that seals what belongs to each owner, made if there is none; None: erased a short time ago."""
        async with self._lock:
            await self.open()
            await self.look_for_destroyed()
            keys: dict[int, UserKey | None] = {}
            unknown: list[int] = []
            for owner in set(owners):
                if owner in self._destroyed:
                    keys[owner] = None
                elif (key := self._held.pop(owner, None)) is not None:
                    # Last used, last to be let go.
                    keys[owner] = self._held[owner] = key
                else:
                    unknown.append(owner)
            for at in range(0, len(unknown), _AT_ONCE):
                keys |= await self._looked_up(unknown[at : at + _AT_ONCE])
            self._trim()
            return keys

    def _trim(self) -> None:
        excess = len(self._held) - self._remembered
        for owner in list(self._held)[: max(0, excess)]:
            del self._held[owner]

    async def _looked_up(self, owners: Sequence[int]) -> dict[int, UserKey | None]:
        found = await self._first_keys(owners)
        missing = [owner for owner in owners if owner not in found]
        if missing:
            await self._create(missing)
            # Read back: of two workers that made a key at once, both go on with the one made first. And somebody may have
            # been erased after we looked, so that no new key of theirs may be used.
            found |= await self._first_keys(missing)
            await self.look_for_destroyed(now=True)
        keys: dict[int, UserKey | None] = {}
        for owner in owners:
            if owner in self._destroyed:
                keys[owner] = None
            elif owner in found:
                keys[owner] = self._held[owner] = found[owner]
            else:
                raise RetryableError("key_missing", "a user's new key cannot be read back")
        return keys

    async def _first_keys(self, owners: Sequence[int]) -> dict[int, UserKey]:
        """The key of each owner that was made first."""
        listed = ", ".join(str(int(owner)) for owner in owners)
        rows = await self._clickhouse.rows(
            f"SELECT user_id, key_id, wrapped FROM keys.user_keys WHERE user_id IN ({listed})"  # noqa: S608 (integers)
            " ORDER BY user_id, created_at, key_id LIMIT 1 BY user_id"
        )
        return {user_id: self._opened_key(user_id, key_id, wrapped) for user_id, key_id, wrapped in rows}

    def _opened_key(self, user_id: int, key_id: str, wrapped: str) -> UserKey:
        return UserKey(user_id, key_id, self._master.unwrap(user_id, key_id, wrapped))

    async def _create(self, owners: Sequence[int]) -> None:
        ids = [os.urandom(4).hex() for _ in owners]
        wrapped = [
            self._master.wrap(owner, key_id, os.urandom(KEY_BYTES)) for owner, key_id in zip(owners, ids, strict=True)
        ]
        columns = [integers("user_id", "Int64", owners), texts("key_id", ids), texts("wrapped", wrapped)]
        await self._insert("user_keys", columns, len(owners))

    async def _insert(self, table: str, columns: list[tuple[str, str, bytes]], rows: int) -> None:
        await self._clickhouse.insert(f"keys.{table}", [name for name, _, _ in columns], block(columns, rows))

    async def look_for_destroyed(self, *, now: bool = False) -> None:
        """Let go of keys that somebody has destroyed; looks at most every `look_again_s` seconds unless told."""
        since = None if self._looked_s is None else monotonic() - self._looked_s
        if since is not None and since < self._look_again_s and not now:
            return
        began = monotonic()
        rows = await self._clickhouse.rows(f"SELECT DISTINCT user_id FROM keys.destroyed WHERE {_LATELY}")  # noqa: S608 (a constant)
        destroyed = frozenset(int(row[0]) for row in rows) - {NOBODY}
        if destroyed - self._destroyed:
            for owner in destroyed:
                self._held.pop(owner, None)
            self.on_destroyed()
        self._destroyed = destroyed
        self._looked_s = began

    async def keys_named(self, names: Iterable[Named]) -> dict[Named, UserKey]:
        """The keys that tokens name, to read what was sealed; those that are destroyed are left out."""
        keys: dict[Named, UserKey] = {}
        if not await self._is_ours():
            return keys
        wanted = sorted(set(names))
        for at in range(0, len(wanted), _AT_ONCE):
            asked = set(wanted[at : at + _AT_ONCE])
            listed = ", ".join(str(int(owner)) for owner in {name.owner for name in asked})
            rows = await self._clickhouse.rows(
                f"SELECT user_id, key_id, wrapped FROM keys.user_keys WHERE user_id IN ({listed})"  # noqa: S608 (integers)
            )
            for user_id, key_id, wrapped in rows:
                if (name := Named(user_id, key_id)) in asked:
                    keys[name] = self._opened_key(user_id, key_id, wrapped)
        return keys

    async def destroy(self, user_id: int) -> Destruction:
        """Destroy a user's keys: what was sealed with them cannot be read by anybody any more. A second call changes nothing.

        Raises:
            ConfigError: 0, the owner of what belongs to no known user.
            PermanentError: keys are still there afterwards.
        """
        if user_id == NOBODY:
            raise ConfigError("user 0 stands for what belongs to no known user: its key is not destroyed")
        await self.open()
        user = int(user_id)
        sql = f"SELECT count() FROM keys.destroyed WHERE user_id = {user} AND {_LATELY}"  # noqa: S608 (an integer)
        newly = not (await self._clickhouse.rows(sql))[0][0]
        if newly:
            # Before the keys go: no worker may make a new one for records that are read again.
            await self._insert("destroyed", [integers("user_id", "Int64", [user])], 1)
        keys = await self._count(user)
        if keys:
            await self._clickhouse.command(
                f"ALTER TABLE keys.user_keys DELETE WHERE user_id = {user} SETTINGS mutations_sync = 2"
            )
            if await self._count(user):
                raise PermanentError("keys_left", f"keys of user {user} are still there: run it again")
        self._held.pop(user, None)
        return Destruction(keys, newly)

    async def _count(self, user_id: int) -> int:
        sql = f"SELECT uniqExact(key_id) FROM keys.user_keys WHERE user_id = {user_id}"  # noqa: S608 (an integer)
        return int((await self._clickhouse.rows(sql))[0][0])
