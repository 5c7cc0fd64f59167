"""The doctor's checks of what the roles `archive` and `intake` need beside the servers: the keys of users, the Redis Streams."""

from __future__ import annotations

from streamproc.cli.doctor_checks import Finding, note, ok, problem
from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError, RetryableError

_KEYS = "keys of users"
_READ_IT = "start one that reads it: streamproc worker --role intake"


async def check_keys(settings: Settings) -> list[Finding]:
    """Whether the archive can seal personal data: its master key, and whether the keys that are there belong to it."""
    from streamproc.sinks.clickhouse_client import ClickHouse
    from streamproc.sinks.key_store import KeyStore, keys_clickhouse
    from streamproc.sinks.master_key import load_master_key

    is_default = settings.master_key is None and settings.master_key_file is None
    try:
        master = load_master_key(settings)
    except ConfigError as error:
        if is_default and not (settings.data_dir / "master.key").exists():
            return [note("master key", "there is none yet", "the first archive worker makes it; keep a copy of it")]
        return [problem("master key", str(error), "see the message")]
    findings = [ok("master key", f"{master.origin}, fingerprint {master.fingerprint}")]
    main = ClickHouse.of(settings)
    clickhouse = keys_clickhouse(settings, main)
    try:
        count = await KeyStore(clickhouse, master).count()
    except ConfigError as error:
        return [*findings, problem(_KEYS, str(error), "give the workers the key that the message names")]
    except (RetryableError, PermanentError) as error:
        if settings.keys_url is None:
            return [*findings, note(_KEYS, "not seen: ClickHouse does not answer", "see ClickHouse above")]
        return [*findings, problem(_KEYS, f"{error.reason}: {error}", "start it, or correct STREAMPROC_KEYS_URL")]
    finally:
        await clickhouse.close()
        if clickhouse is not main:
            await main.close()
    if count is None:
        return [*findings, note(_KEYS, "none yet", "the first archive worker makes their tables")]
    return [*findings, ok(_KEYS, f"{count:,}, under this master key")]


async def check_intake(settings: Settings) -> list[Finding]:
    """Each Redis Stream that the settings name: whether somebody reads it, and how much waits. Nothing if none is named."""
    from streamproc.agents.redis_streams import NoGroupError, RedisStream, intake_client

    findings: list[Finding] = []
    client = intake_client(settings) if settings.intake_streams else None
    try:
        for name, topic in settings.intake_streams.items():
            what = f"Redis Stream {name}"
            stream = RedisStream(client, name, f"{settings.app_id}-intake", "doctor")
            try:
                found = await stream.backlog()
                readers = await stream.readers(settings.intake_claim_after_s)
            except NoGroupError:
                findings.append(note(what, f"nobody has read it for {topic} yet", _READ_IT))
                continue
            except (RetryableError, PermanentError) as error:
                return [*findings, problem(what, f"{error.reason}: {error}", "start Redis, or correct its URL")]
            lag = "an unknown number" if found.lag is None else f"{found.lag:,}"
            text = f"{readers} read it for {topic}; {found.pending:,} in hand, {lag} waiting"
            findings.append(ok(what, text) if readers else problem(what, text, _READ_IT))
    finally:
        if client is not None:
            await client.aclose()
    return findings
