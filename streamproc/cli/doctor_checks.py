"""The doctor's checks of Redis, ClickHouse, migrations, clocks and settings: each returns findings and never raises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import aiohttp
import orjson
import redis.asyncio as aioredis
from redis.exceptions import AuthenticationError, RedisError

from streamproc.clock import now_ms
from streamproc.config import Settings
from streamproc.errors import StreamprocError
from streamproc.logs import redact

CLOCK_TOLERANCE_MS = 1000
CHECK_TIMEOUT_S = 20.0
_MIGRATIONS_WAIT_S = 5.0
_HTTP_TIMEOUT = aiohttp.ClientTimeout(total=5.0)


class Verdict(StrEnum):
    """`note` is worth knowing and no fault: something is optional, or a server lacks what we can do without."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor's table; `advice` says what to do."""

    what: str
    verdict: Verdict
    found: str
    advice: str = ""


Check = Callable[[Settings], Awaitable[list[Finding]]]


def ok(what: str, found: str) -> Finding:
    """All is well."""
    return Finding(what, Verdict.OK, found)


def note(what: str, found: str, advice: str = "") -> Finding:
    """Worth knowing, no fault."""
    return Finding(what, Verdict.NOTE, found, advice)


def problem(what: str, found: str, advice: str) -> Finding:
    """Something to be repaired."""
    return Finding(what, Verdict.PROBLEM, redact(found), advice)


async def guarded(name: str, check: Check, settings: Settings) -> list[Finding]:
    """Run a check in bounded time; an error that it does not explain itself becomes a finding."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await check(settings)
    except TimeoutError:
        return [problem(name, f"no answer within {CHECK_TIMEOUT_S:.0f} s", "see whether the server is overloaded")]
    except StreamprocError as error:
        return [problem(name, str(error), "see the message")]


async def check_redis(settings: Settings) -> list[Finding]:
    """Connection, version, scripts, eviction, clock."""
    client: aioredis.Redis = aioredis.Redis.from_url(
        settings.redis_url.get_secret_value(), decode_responses=True, socket_timeout=3.0, socket_connect_timeout=3.0
    )
    try:
        info: dict[str, Any] = await client.info("server")
        memory: dict[str, Any] = await client.info("memory")
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.eval("return 1", 0)
            scripts: list[Any] = await pipeline.execute()
        before = now_ms()
        seconds, micros = await client.time()
        clock = _clock("clock of Redis", int(seconds) * 1000 + int(micros) // 1000, before, now_ms())
    except AuthenticationError as error:
        return [problem("Redis", f"refuses the login: {error}", "correct user and password in STREAMPROC_REDIS_URL")]
    except (RedisError, OSError) as error:
        return [problem("Redis", f"{type(error).__name__}: {error}", "start it, or correct STREAMPROC_REDIS_URL")]
    finally:
        await client.aclose()
    name = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info.get("redis_version", "?")
    findings = [ok("Redis", f"{name} {version} answers"), clock]
    if scripts != [1]:
        findings.append(
            problem("Redis scripts", "EVAL does not work", "allow scripts: live values are written by them")
        )
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if policy.startswith("allkeys"):
        findings.append(
            problem("Redis eviction", f"maxmemory-policy {policy} may drop live values", "use noeviction or volatile-*")
        )
    return findings


async def _clickhouse(settings: Settings, sql: str) -> list[list[Any]]:
    async with (
        aiohttp.ClientSession(timeout=_HTTP_TIMEOUT) as session,
        session.post(settings.clickhouse_url.get_secret_value(), data=f"{sql} FORMAT JSONCompact") as response,
    ):
        body = await response.read()
        if response.status != 200:
            raise ClickHouseRefusedError(response.status, body.decode("utf-8", "replace").strip()[:200])
        rows: list[list[Any]] = orjson.loads(body)["data"]
        return rows


class ClickHouseRefusedError(StreamprocError):
    """ClickHouse answered with an error."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(f"HTTP {status}: {text}")
        self.status = status


async def check_clickhouse(settings: Settings) -> list[Finding]:
    """Connection, version, clock, and the state of the migrations."""
    try:
        before = now_ms()
        rows = await _clickhouse(settings, "SELECT version(), toUnixTimestamp64Milli(now64(3)), timezone()")
        after = now_ms()
    except ClickHouseRefusedError as error:
        advice = "correct user and password" if error.status in (401, 403) else "see the message"
        return [problem("ClickHouse", str(error), f"{advice} (STREAMPROC_CLICKHOUSE_URL)")]
    except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError, KeyError) as error:
        what = f"{type(error).__name__}: {error}"
        return [problem("ClickHouse", what, "start it, or correct STREAMPROC_CLICKHOUSE_URL")]
    version, server_ms, timezone = rows[0]
    return [
        ok("ClickHouse", f"{version} answers (time zone {timezone})"),
        _clock("clock of ClickHouse", int(server_ms), before, after),
        *await _migrations(settings),
        *await _losses(settings),
    ]


async def _migrations(settings: Settings) -> list[Finding]:
    from streamproc.migrate import status

    try:
        states = await asyncio.to_thread(status, settings, _MIGRATIONS_WAIT_S)
    except StreamprocError as error:
        return [problem("migrations", str(error), "see the message")]
    missing = [state.name for state in states if not state.applied_at]
    if missing:
        return [problem("migrations", f"not applied: {', '.join(missing)}", "run: streamproc migrate")]
    return [ok("migrations", f"all {len(states)} applied, the newest at {states[-1].applied_at[:19]} UTC")]


async def _losses(settings: Settings) -> list[Finding]:
    """Records of the last week that a broker deleted before they were read. They cannot come back: a note, not a problem."""
    try:
        rows = await _clickhouse(
            settings,
            "SELECT topic, reason, sum(last + 1 - first), toString(max(found_at)) FROM meta.lost_offsets FINAL"
            " WHERE found_at > now() - INTERVAL 7 DAY GROUP BY topic, reason ORDER BY topic, reason",
        )
    except ClickHouseRefusedError as error:
        if "UNKNOWN_TABLE" in str(error) or "UNKNOWN_DATABASE" in str(error):
            return []  # The migrations' own line says so.
        return [problem("lost records", str(error), "see the message")]
    except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError, KeyError) as error:
        return [problem("lost records", f"{type(error).__name__}: {error}", "run the doctor again")]
    if not rows:
        return [ok("lost records", "none in 7 days")]
    who = {"deleted_before_counted": "by windows", "deleted_before_archived": "by the archive"}
    return [
        note(
            "lost records",
            f"{topic}: {count} were deleted before they were read {who.get(reason, reason)}, last at {found[:19]} UTC",
            "longer retention; the ranges are in meta.lost_offsets",
        )
        for topic, reason, count, found in rows
    ]


def _clock(what: str, server_ms: int, before_ms: int, after_ms: int) -> Finding:
    """Compare with the middle of the request; half of its duration is the uncertainty."""
    ours = (before_ms + after_ms) // 2
    off_ms = server_ms - ours
    if abs(off_ms) > CLOCK_TOLERANCE_MS + (after_ms - before_ms) // 2:
        return problem(
            what,
            f"{abs(off_ms) / 1000:.1f} s {'ahead of' if off_ms > 0 else 'behind'} this machine",
            "run NTP on both: windows are judged final by the wall clock when a source is silent",
        )
    return ok(what, f"within {abs(off_ms)} ms of this machine")


async def check_settings(settings: Settings) -> list[Finding]:
    """Webhook and alert rules."""
    findings = []
    if settings.slack_webhook_url is None:
        where = settings.data_dir / "alerts.log"
        findings.append(
            note("Slack webhook", f"not set: alerts go to the log and {where}", "STREAMPROC_SLACK_WEBHOOK_URL")
        )
    else:
        findings.append(ok("Slack webhook", "set (not tried: that would post a message)"))
    return [*findings, await asyncio.to_thread(_rules, settings)]


def _rules(settings: Settings) -> Finding:
    from streamproc.alerts.rules_file import parse_rules

    path = settings.alert_rules
    if path is None:
        return ok("alert rules", "the shipped rules")
    try:
        rules = parse_rules(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        return problem("alert rules", f"{path}: {error}", "correct STREAMPROC_ALERT_RULES")
    except StreamprocError as error:
        return problem("alert rules", str(error), f"correct {path}")
    return ok("alert rules", f"{len(rules.rules)} rules in {path}")
