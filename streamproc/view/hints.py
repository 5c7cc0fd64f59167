"""Commands to paste: read a value, query the warehouse, send an own event and see what became of it."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from streamproc.embedded.stack import StackOptions

_DEFAULTS = StackOptions(Path())


def _program(name: str) -> str:
    """A program beside this interpreter, as short as it can be typed from here."""
    path = Path(sys.executable).with_name(name)
    try:
        return shlex.quote(str(path.relative_to(Path.cwd())))
    except ValueError:
        return shlex.quote(str(path))


def _settings(options: StackOptions) -> str:
    """Settings that differ from their defaults, as they stand before a command that is to reach this stack."""
    pairs = (
        ("STREAMPROC_BROKER_URL", options.broker_port, _DEFAULTS.broker_port),
        ("STREAMPROC_REDIS_URL", options.redis_port, _DEFAULTS.redis_port),
        ("STREAMPROC_CLICKHOUSE_URL", options.clickhouse_port, _DEFAULTS.clickhouse_port),
    )
    changed = [f"{name}={options.environment[name]}" for name, port, default in pairs if port != default]
    return "".join(f"{pair} " for pair in changed)


def redis_command(options: StackOptions) -> str:
    """Reads today's active users from Redis with what is installed here, for there may be no redis-cli."""
    code = (
        f"import redis; print(redis.Redis(port={options.redis_port}, decode_responses=True).hgetall('sp:live:dau:1d'))"
    )
    return f'{_program("python")} -c "{code}"'


def clickhouse_command(options: StackOptions) -> str:
    """Asks ClickHouse for today's windows."""
    sql = (
        "SELECT metric, value, count, status FROM gold.windows_latest "
        "WHERE window = '1d' AND dimension = '' ORDER BY metric FORMAT PrettyCompactMonoBlock"
    )
    return f'curl -s http://127.0.0.1:{options.clickhouse_port}/ --data-binary "{sql}"'


def own_event_command(options: StackOptions) -> str:
    """Sends the reader's own event (`--fresh` gives it an id and the present time) and shows what became of it."""
    event = (
        '{"event_id":"x","schema_version":"1.0.0","occurred_at":"2026-01-01T00:00:00Z",'
        '"user_id":424242,"activity_type":"my_first_event","response_time_ms":42}'
    )
    produce = f"{_settings(options)}{_program('streamproc')} produce - --topic user-events --fresh --trace"
    return f"echo '{event}' | {produce}"


def hints(options: StackOptions) -> list[tuple[str, str]]:
    """(what it does, command) of each."""
    return [
        ("Read a live value from Redis", redis_command(options)),
        ("Ask ClickHouse for today's windows", clickhouse_command(options)),
        ("Send your own event and see it arrive", own_event_command(options)),
    ]


def links(options: StackOptions) -> str:
    """Where everything listens, in one line."""
    names = options.worker_names
    last = options.metrics_port + len(names) - 1
    return (
        f"Kafka 127.0.0.1:{options.broker_port}   Redis 127.0.0.1:{options.redis_port}   "
        f"ClickHouse http://127.0.0.1:{options.clickhouse_port}   "
        f"metrics http://127.0.0.1:{options.metrics_port}..{last}/metrics   logs {options.data_dir / 'logs'}"
    )
