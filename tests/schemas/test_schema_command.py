"""`streamproc schema check`: line numbers, reasons, and exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from schemas.export import json_schema
from schemas.released import write
from schemas.topics import SOURCES
from schemas.versions import CURRENT, parse_version
from streamproc.cli.schema import register
from streamproc.errors import ConfigError
from tests.support.events import encode, user_event

GOOD = encode(user_event(1_772_359_200_000))


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    register(app)

    @app.command("other")
    def _other() -> None:
        """A second command, so that the first keeps its name."""

    return app


def run(app: typer.Typer, path: Path, *options: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["schema", "check", str(path), *options])
    return result.exit_code, result.output.splitlines()


def test_all_valid(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(GOOD + b"\r\n\n" + GOOD)
    assert run(app, path, "--topic", "user-events") == (
        0,
        ["2 events checked against user-events: 2 valid, 0 invalid"],
    )


def test_invalid_lines_have_their_number(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    lines = [GOOD] * 5000
    lines[1] = b""
    lines[2] = GOOD.replace(b'"user_id":1', b'"user_id":"1"')
    lines[4999] = GOOD.replace(b'"1.0.0"', b'"2.0.0"')
    path.write_bytes(b"\n".join(lines) + b"\n")
    code, output = run(app, path, "-t", "user-events")
    assert code == 1
    assert output == [
        f"{path}:3: malformed: user_id: expected int, got str",
        f"{path}:5000: unknown_version: schema_version: only major version 1 is read",
        "4,999 events checked against user-events: 4,997 valid, 2 invalid",
    ]


def test_no_more_than_asked_for(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(b"{}\n" * 10)
    code, output = run(app, path, "--topic", "cost-events", "--show", "2")
    assert code == 1
    assert output[2:] == ["... and 8 more", "10 events checked against cost-events: 0 valid, 10 invalid"]


def test_wrong_use(app: typer.Typer, tmp_path: Path) -> None:
    path = tmp_path / "events.ndjson"
    path.write_bytes(GOOD)
    result = CliRunner().invoke(app, ["schema", "check", str(path), "--topic", "users"])
    assert isinstance(result.exception, ConfigError)
    assert "user-events" in str(result.exception)
    assert run(app, tmp_path / "none.ndjson", "--topic", "user-events")[0] == 2


def invoke(app: typer.Typer, *options: str) -> tuple[int, list[str], BaseException | None]:
    result = CliRunner().invoke(app, ["schema", "check", *options])
    return result.exit_code, result.output.splitlines(), result.exception


def test_the_schemas_of_this_release(app: typer.Typer) -> None:
    code, output, _ = invoke(app)
    assert code == 0
    assert output[0].startswith(f"current version: {CURRENT} (")
    assert {line.split(" against ")[0] for line in output[1:] if " against " in line and line[0] != " "} == set(SOURCES)


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A directory where what is exported was never released, but something else: this release breaks it."""
    schemas = {topic: json_schema(topic) for topic in SOURCES}
    schemas["user-events"]["properties"]["device"] = {"type": "string"}
    texts = {topic: json.dumps(schema) for topic, schema in schemas.items()}
    write(tmp_path / "released", parse_version(CURRENT), texts, {})
    return tmp_path / "released"


def test_what_breaks_is_refused_in_words(app: typer.Typer, other: Path) -> None:
    code, output, _ = invoke(app, "--released", str(other))
    assert code == 1
    at = output.index(f"user-events against {CURRENT}: refused")
    assert "raise CURRENT in schemas/versions.py" in output[at + 1]
    assert output[at + 2].startswith("  breaks: device: field is gone")
    assert f"video-status against {CURRENT}: ok" in output


def test_an_edited_release_is_refused(app: typer.Typer, other: Path) -> None:
    path = other / CURRENT / "user-events.json"
    path.write_text(path.read_text() + " ")
    code, output, _ = invoke(app, "--released", str(other))
    assert code == 1
    assert output == [
        f"refused: {CURRENT}/user-events.json: was edited after its release; take the edit back and raise the version"
    ]


def test_wrong_use_of_the_check_of_schemas(app: typer.Typer, tmp_path: Path) -> None:
    """No file but its topic, no directory, a file and a directory, a file without a topic."""
    path = tmp_path / "events.ndjson"
    path.write_bytes(GOOD)
    for options in (
        ["--topic", "user-events"],
        ["--released", str(tmp_path / "nowhere")],
        [str(path), "--topic", "user-events", "--released", str(tmp_path)],
        [str(path)],
    ):
        assert isinstance(invoke(app, *options)[2], ConfigError), options
