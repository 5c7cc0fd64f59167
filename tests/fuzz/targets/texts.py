"""What people write: rules files, settings, command lines, NDJSON lines; a mistake is one clear message, never a traceback."""

from __future__ import annotations

import contextlib
import io
import os
import random
import tempfile
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from streamproc.alerts.rules_file import parse_rules
from streamproc.cli.dead_letters import _changes, _filters
from streamproc.cli.main import build_app
from streamproc.config import Settings, load_settings
from streamproc.embedded.durations import parse_duration
from streamproc.errors import ConfigError, PermanentError
from streamproc.produce.lines import line_batches, read_line
from tests.fuzz.jsonish import ODD, TOPICS, nested, record
from tests.fuzz.mutate import NASTY, mutated
from tests.fuzz.target import Target, Wrong, each

_AT_MS: Final = 1_795_341_600_000
_LONGEST_MESSAGE: Final = 20_000


def _said(error: ConfigError) -> None:
    if not str(error).strip():
        raise Wrong("a mistake without a message")
    if len(str(error)) > _LONGEST_MESSAGE:
        raise Wrong(f"a message of {len(str(error))} characters")


@cache
def _rules() -> tuple[bytes, ...]:
    shipped = resources.files("streamproc.alerts").joinpath("default_rules.yaml").read_bytes()
    return shipped, *(b"rules:\n  -" + part for part in shipped.split(b"\n  -")[1:])


def _rules_file(rng: random.Random) -> bytes:
    kind = rng.random()
    if kind < 0.01:
        return rng.choice((b"[", b"{a: ", b"- ", b"? ", b"&a [*a, ", b"!!x [", b"'")) * rng.choice((50, 500, 3000))
    value = rng.choice(_rules()[1:] if kind < 0.9 else _rules())
    if kind < 0.6:
        lines = value.split(b"\n")
        at = rng.randrange(len(lines))
        name, colon, _ = lines[at].partition(b": ")
        odd = rng.choice(
            (
                rng.choice(ODD).encode("utf-8", "surrogateescape"),
                *NASTY,
                b"*a",
                b"&a b",
                b"!!int 1",
                b"|\n  x",
                b"{a: b}",
                b"1:1:1",
                b"2026-01-01",
                b"5m",
                b"1e400",
                b".inf",
                b"0o17",
                b"~",
            )
        )
        lines[at] = name + colon + odd
        return b"\n".join(lines)
    return mutated(rng, value, _rules())


def _check_rules(value: bytes) -> None:
    try:
        parse_rules(value.decode("utf-8", "replace"), "rules.yaml")
    except ConfigError as error:
        _said(error)


def _settings(rng: random.Random) -> bytes:
    names = sorted(Settings.model_fields)
    lines = []
    for name in rng.sample(names, rng.randint(1, 4)):
        known = str(Settings.model_fields[name].default)
        text = rng.choice((known.encode(), rng.choice(ODD).encode("utf-8", "surrogateescape"), *NASTY))
        if rng.random() < 0.5:
            text = mutated(rng, text, (b"kafka://a:1;kafka://b", b"redis://u:p@h:1/0", b'{"user-events": 0.5}'))
        lines.append(name.encode() + b"=" + text.replace(b"\n", b" "))
    return rng.choice((b"env", b"toml")) + b"\n" + b"\n".join(lines)


def _check_settings(value: bytes) -> None:
    how, _, body = value.partition(b"\n")
    pairs = [line.partition(b"=")[::2] for line in body.split(b"\n") if b"=" in line]
    with tempfile.TemporaryDirectory(prefix="streamproc-fuzz-") as folder:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("STREAMPROC_")}
        if how == b"env":
            for name, text in pairs:
                shown = text.replace(b"\x00", b"").decode("utf-8", "surrogateescape")
                environment["STREAMPROC_" + name.decode("latin-1").replace("\x00", "").upper()] = shown
        else:
            path = Path(folder) / "settings.toml"
            path.write_bytes(b"\n".join(name + b" = " + text for name, text in pairs))
            environment["STREAMPROC_CONFIG"] = str(path)
        with patch.dict(os.environ, environment, clear=True):
            try:
                settings = load_settings()
                settings.topic("x")
                assert settings.bootstrap_servers
            except ConfigError as error:
                _said(error)


@cache
def _command() -> Any:
    return typer.main.get_command(build_app())


@cache
def _options() -> tuple[str, ...]:
    found: list[str] = []
    stack: list[Any] = [_command()]
    while stack:
        command = stack.pop()
        if isinstance(command, TyperGroup):
            found += command.commands
            stack += command.commands.values()
        found += [option for parameter in command.params for option in parameter.opts]
    return tuple(sorted(set(found)))


def _arguments(rng: random.Random) -> bytes:
    words = []
    for _ in range(rng.randint(1, 7)):
        kind = rng.random()
        if kind < 0.65:
            words.append(rng.choice(_options()).encode())
        elif kind < 0.9:
            words.append(
                rng.choice(
                    (
                        b"1",
                        b"60s",
                        b"user-events",
                        b"windows",
                        b"field=1",
                        b"2026-01-01T00:00:00Z",
                        b"--",
                        b"-",
                        b"/tmp",
                        b"a.b=[1]",
                        b"1h30m",
                        b"0",
                    )
                )
            )
        else:
            words.append(mutated(rng, rng.choice((b"--set", b"1h", b"x=y", b"all")), NASTY).replace(b"\n", b" "))
    return b"\n".join(words)


def _check_arguments(value: bytes) -> None:
    """Options are read as when the command is run, but for running it; then what the commands make of their texts."""
    words = value.replace(b"\x00", b"").decode("utf-8", "surrogateescape").split("\n")
    command, parent = _command(), None
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            name, rest = "streamproc", words
            while True:
                context = command.make_context(name, list(rest), parent=parent)
                if not isinstance(command, TyperGroup):
                    break
                left: list[str] = [*context._protected_args, *context.args]
                if not left:
                    break
                found, chosen, rest = command.resolve_command(context, left)
                if chosen is None or found is None:
                    break
                name, command, parent = found, chosen, context
        except (TyperException, typer.Exit, typer.Abort, ConfigError):
            pass  # one message and an exit code: what a user is to see
    for text in words:
        _try(parse_duration, text)
        _try(_changes, [text])
        _try(_filters, "user-events", text, text, text)


def _try(act: Any, *args: Any) -> None:
    try:
        act(*args)
    except ConfigError as error:
        _said(error)


def _lines(rng: random.Random) -> bytes:
    topic = rng.randrange(len(TOPICS))
    values = [record(rng, TOPICS[topic]) for _ in range(rng.randint(1, 3))]
    values = [value if len(value) < 100_000 else b"" for value in values]
    if rng.random() < 0.1:
        values.append(nested(rng).encode())
    return bytes((topic,)) + rng.choice((b"\n", b"\r\n", b"\n\n")).join(values)


def _check_lines(value: bytes) -> None:
    topic = TOPICS[value[0] % len(TOPICS)] if value else TOPICS[0]
    source = io.BytesIO(value[1:])
    total = 0
    try:
        for batch in line_batches(source):
            for line in batch:
                total += 1
                for fresh in (None, _AT_MS):
                    found = read_line(topic, line, fresh)
                    if fresh is None and found.value != line.raw:
                        raise Wrong("a line is changed")
    except PermanentError as error:
        if error.reason != "line_too_long":
            raise
        return
    wanted = sum(1 for part in value[1:].split(b"\n") if part.strip())
    if total != wanted:
        raise Wrong(f"{total} lines of {wanted}")


TARGETS = [
    Target("rules", "files of alert rules", _rules_file, each(_check_rules), 200),
    Target("settings", "environment variables and the settings file", _settings, each(_check_settings), 200),
    Target("arguments", "command lines", _arguments, each(_check_arguments), 200),
    Target("lines", "NDJSON that is produced", _lines, each(_check_lines), 300),
]
