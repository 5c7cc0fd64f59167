"""Keys of users: made once, destroyed for good, refused to another master key; and the file of the master key."""

from __future__ import annotations

import asyncio
import os
import threading
from base64 import b64encode
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from streamproc.config import Settings, load_settings
from streamproc.errors import ConfigError, PermanentError
from streamproc.personal import NOBODY, Named, Sealer, UserKey, unseal_text
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.key_store import Destruction, KeyStore
from streamproc.sinks.master_key import MasterKey, load_master_key
from tests.sinks.support import key_store, with_clickhouse
from tests.support.clickhouse import ClickHouseHandle

T = TypeVar("T")
Act = Callable[[ClickHouse], Awaitable[T]]


def seal(key: UserKey | None) -> str:
    return Sealer().text("a@b.org", "email", key)


def user(name: str) -> int:
    """A user of this test alone."""
    return 1_000_000 + int(name[1:]) * 100_000


def test_a_key_is_made_once_and_is_the_same_for_all_who_ask(clickhouse_server: ClickHouseHandle, name: str) -> None:
    first = user(name)
    users = range(first, first + 7_000)

    async def act(clickhouse: ClickHouse) -> None:
        one, other = key_store(clickhouse), key_store(clickhouse)
        keys = await one.keys_for(users)
        assert keys.keys() == set(users)
        again = await one.keys_for([first])
        assert again[first] is keys[first]
        assert {seal(key) for key in keys.values()} == {seal(key) for key in (await other.keys_for(users)).values()}
        assert len({seal(key) for key in keys.values()}) == len(users)
        count = f"SELECT count() FROM keys.user_keys WHERE user_id >= {first} AND user_id < {first + 7_000}"
        assert await clickhouse.rows(count) == [(7_000,)]
        stored = await clickhouse.rows(f"SELECT wrapped FROM keys.user_keys WHERE user_id = {first}")
        assert len(stored[0][0]) == 80  # base64 of nonce, 32 bytes and tag

    with_clickhouse(clickhouse_server.url, act)


def test_two_workers_that_race_can_both_be_read(clickhouse_server: ClickHouseHandle, name: str) -> None:
    first = user(name)

    async def act(clickhouse: ClickHouse) -> None:
        stores = [key_store(clickhouse) for _ in range(4)]
        await asyncio.gather(*(store.open() for store in stores))
        found = await asyncio.gather(*(store.keys_for(range(first, first + 50)) for store in stores))
        named = {Named(key.owner, key.key_id) for keys in found for key in keys.values() if key is not None}
        readable = await key_store(clickhouse).keys_named(named)
        assert readable.keys() == named
        for keys in found:
            for key in keys.values():
                assert unseal_text(seal(key), "email", readable) == "a@b.org"
        later = await key_store(clickhouse).keys_for([first])
        assert seal(later[first]) in {seal(keys[first]) for keys in found}

    with_clickhouse(clickhouse_server.url, act)


def test_few_keys_are_held(clickhouse_server: ClickHouseHandle, name: str) -> None:
    first = user(name)

    async def act(clickhouse: ClickHouse) -> None:
        store = key_store(clickhouse, remembered=10)
        keys = await store.keys_for(range(first, first + 30))
        assert len(keys) == 30
        assert len(store._held) == 10
        used = next(iter(store._held))
        assert (await store.keys_for([used]))[used] is not None
        await store.keys_for(range(first + 100, first + 109))
        assert used in store._held

    with_clickhouse(clickhouse_server.url, act)


def test_a_destroyed_key_is_gone_for_everybody_and_for_good(clickhouse_server: ClickHouseHandle, name: str) -> None:
    who, other = user(name), user(name) + 1

    async def act(clickhouse: ClickHouse) -> None:
        store = key_store(clickhouse, look_again_s=0.0)
        forgotten: list[int] = []
        store.on_destroyed = lambda: forgotten.append(1)
        key = (await store.keys_for([who, other]))[who]
        assert key is not None
        eraser = key_store(clickhouse)
        assert await eraser.destroy(who) == Destruction(keys=1, newly=True)
        assert await eraser.destroy(who) == Destruction(keys=0, newly=False)
        assert (await clickhouse.rows(f"SELECT count() FROM keys.destroyed WHERE user_id = {who}")) == [(1,)]
        assert (await store.keys_for([who, other]))[who] is None
        assert forgotten == [1]
        assert who not in store._held
        assert other in store._held
        assert await store.keys_named([Named(who, key.key_id)]) == {}
        # A worker that knows nothing of the user makes no new key either.
        assert (await key_store(clickhouse).keys_for([who]))[who] is None
        assert await clickhouse.rows(f"SELECT count() FROM keys.user_keys WHERE user_id = {who}") == [(0,)]
        with pytest.raises(ConfigError, match="user 0"):
            await eraser.destroy(NOBODY)

    with_clickhouse(clickhouse_server.url, act)


def test_who_comes_back_after_eight_days_gets_a_new_key(clickhouse_server: ClickHouseHandle, name: str) -> None:
    early, late = user(name), user(name) + 1

    async def act(clickhouse: ClickHouse) -> None:
        await key_store(clickhouse).open()
        await clickhouse.command(
            f"INSERT INTO keys.destroyed (user_id, destroyed_at) VALUES ({early}, now() - INTERVAL 190 HOUR),"
            f" ({late}, now() - INTERVAL 194 HOUR)"
        )
        keys = await key_store(clickhouse).keys_for([early, late])
        assert keys[early] is None
        assert keys[late] is not None

    with_clickhouse(clickhouse_server.url, act)


def test_another_master_key_is_refused_and_cannot_read(clickhouse_server: ClickHouseHandle, name: str) -> None:
    who = user(name)

    async def act(clickhouse: ClickHouse) -> None:
        await key_store(clickhouse).keys_for([who])
        stranger = KeyStore(clickhouse, MasterKey(os.urandom(32), "/elsewhere/master.key"))
        with pytest.raises(ConfigError, match=r"/elsewhere/master.key .*STREAMPROC_MASTER_KEY_FILE"):
            await stranger.open()
        stranger._opened = True
        with pytest.raises(PermanentError, match="key_unreadable"):
            await stranger.keys_for([who])

    with_clickhouse(clickhouse_server.url, act)


def without_key(directory: Path, **settings: object) -> Settings:
    return load_settings(data_dir=directory, **settings)


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMPROC_MASTER_KEY")


def test_the_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = without_key(tmp_path / "data")
    with pytest.raises(ConfigError, match=r"no master key at .*STREAMPROC_MASTER_KEY_FILE"):
        load_master_key(settings)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(load_master_key(settings, create=True).fingerprint))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    path = tmp_path / "data" / "master.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["master.key"]
    named = without_key(tmp_path / "other", master_key_file=path)
    assert load_master_key(named).fingerprint == found[0]
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=r"mode 640.*chmod 600"):
        load_master_key(named)
    path.chmod(0o600)
    path.write_text("short")
    with pytest.raises(ConfigError, match="base64 of 32 bytes"):
        load_master_key(named)
    with pytest.raises(ConfigError, match="MASTER_KEY_FILE"):
        load_master_key(without_key(tmp_path, master_key_file=tmp_path / "missing"), create=True)


def test_bad_settings_are_refused_without_being_shown(tmp_path: Path) -> None:
    good = b64encode(bytes(32)).decode()
    assert load_master_key(without_key(tmp_path, master_key=good)).origin == "STREAMPROC_MASTER_KEY"
    for bad in ("hush-hush", b64encode(bytes(31)).decode()):
        with pytest.raises(ConfigError, match=r"STREAMPROC_MASTER_KEY = .not shown.*32 bytes") as caught:
            without_key(tmp_path, master_key=bad)
        assert bad not in str(caught.value)
    with pytest.raises(ConfigError, match="both set") as caught:
        without_key(tmp_path, master_key=good, master_key_file=tmp_path)
    assert good not in str(caught.value)
