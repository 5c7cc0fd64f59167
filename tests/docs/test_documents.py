"""What the documents say exists: commands, options, settings, metrics, files, sections, examples."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest
import typer.main
from typer.testing import CliRunner

from schemas import topics
from schemas.outcomes import DeadReason
from streamproc.catalogue import METRICS
from streamproc.cli.main import build_app
from streamproc.config import Settings, load_settings
from streamproc.decode import explain
from streamproc.telemetry import READY
from tests.docs.pages import ROOT, default_of, exposed_metrics, pages

DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
BY_NAME = pytest.mark.parametrize("name", TEXTS)

APP = build_app()
ROOT_COMMAND = typer.main.get_command(APP)


def _command(words: list[str]) -> tuple[click.Command | None, list[str]]:
    """The command that the first words name, and what follows it."""
    command: click.Command = ROOT_COMMAND
    rest = list(words)
    while hasattr(command, "commands"):
        if not rest or rest[0].startswith("-"):
            return command, rest
        found = command.commands.get(rest[0])
        if found is None:
            return None, rest
        command, rest = found, rest[1:]
    return command, rest


def _all_commands(command: click.Command, words: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    below = getattr(command, "commands", {})
    return [words, *(path for name, sub in below.items() for path in _all_commands(sub, (*words, name)))]


def _code(text: str) -> list[str]:
    """Lines of shell blocks without their comments, and pieces of inline code."""
    found: list[str] = []
    fence: str | None = None
    for line in text.splitlines():
        if line.startswith("```"):
            fence = line[3:] if fence is None else None
        elif fence is None:
            found += re.findall(r"`([^`]+)`", line)
        elif fence == "sh":
            found.append(re.split(r"\s#", line)[0])
    return found


def _prose(text: str) -> str:
    """The text without its code blocks."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    return "\n".join(parts[::2])


def _uses(name: str, program: str) -> list[list[str]]:
    """Words after each use of a program in the code of a document."""
    pattern = re.compile(rf"(?:^|[|&;]|\s){program} ([^|&;]+)")
    found = [match.group(1).split() for piece in _code(TEXTS[name]) for match in pattern.finditer(piece)]
    return [words for words in found if words]


@BY_NAME
def test_commands_and_their_options_exist(name: str) -> None:
    """Every `streamproc ...` in code names a command, and only options that it has."""
    for words in _uses(name, "streamproc"):
        command, rest = _command(words)
        assert command is not None, f"{name}: there is no `streamproc {' '.join(words)}`"
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        used = {word.split("=")[0].rstrip(",.;:") for word in rest if word.startswith("--")}
        assert used <= known | {"--help"}, f"{name}: `streamproc {' '.join(words)}` has no {used - known}"


@BY_NAME
def test_make_targets_exist(name: str) -> None:
    """Every `make ...` in code names a target."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for words in _uses(name, "make"):
        assert words[0] in targets, f"{name}: there is no `make {words[0]}`"


@pytest.mark.parametrize("words", _all_commands(ROOT_COMMAND), ids=" ".join)
def test_help_works(words: tuple[str, ...]) -> None:
    """`--help` of every command."""
    result = CliRunner().invoke(APP, [*words, "--help"])
    assert result.exit_code == 0, result.output
    assert "Usage" in result.output


def test_every_command_is_documented() -> None:
    """Each command stands in some document."""
    everything = "\n".join(TEXTS.values())
    for words in _all_commands(ROOT_COMMAND):
        if _command(list(words))[0] is not ROOT_COMMAND and not hasattr(_command(list(words))[0], "commands"):
            assert f"streamproc {' '.join(words)}" in everything, f"streamproc {' '.join(words)} is documented nowhere"


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_written_pages_are_up_to_date(path: Path) -> None:
    """Run `python -m tests.docs.pages` if this fails."""
    assert path.read_text(encoding="utf-8") == pages()[path], "stale: run `python -m tests.docs.pages`"


@BY_NAME
def test_settings_that_are_named_exist(name: str) -> None:
    """Every STREAMPROC_X is a setting (or the file's name)."""
    known = {f"STREAMPROC_{field.upper()}" for field in Settings.model_fields} | {"STREAMPROC_CONFIG"}
    named = set(re.findall(r"STREAMPROC_[A-Z]+(?:_[A-Z]+)*", TEXTS[name]))
    assert named <= known | {"STREAMPROC_APP_ID"}, named - known


def test_defaults_in_the_readme_are_the_defaults() -> None:
    """The README's short table of settings."""
    rows = re.findall(r"^\| `STREAMPROC_(\w+)` \| (\S+) \|", TEXTS["README.md"], re.MULTILINE)
    assert len(rows) >= 5
    for setting, shown in rows:
        if setting != "CONFIG":
            value = default_of(Settings.model_fields[setting.lower()])
            assert shown.strip("`") == ("none" if value is None else str(value)), setting


def test_the_example_settings_file_is_usable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every line uncommented that has a value, it gives the defaults."""
    text = (ROOT / "deploy/settings.example.toml").read_text(encoding="utf-8")
    lines = [m.group(1) for m in re.finditer(r"^# (\w+ = .*)$", text, re.MULTILINE) if '"..."' not in m.group(1)]
    without = sum(default_of(field) is None for field in Settings.model_fields.values())
    assert len(tomllib.loads("\n".join(lines))) == len(Settings.model_fields) - without
    (tmp_path / "settings.toml").write_text("\n".join(lines), encoding="utf-8")
    for name in Settings.model_fields:
        monkeypatch.delenv(f"STREAMPROC_{name.upper()}", raising=False)
    plain = load_settings()
    monkeypatch.setenv("STREAMPROC_CONFIG", str(tmp_path / "settings.toml"))
    assert load_settings() == plain


@BY_NAME
def test_prometheus_names_exist(name: str) -> None:
    """Every `streamproc_x` in a document is what a worker exposes."""
    named = set(re.findall(r"`(streamproc_[a-z_0-9]+)`", TEXTS[name]))
    assert named <= set(exposed_metrics()), named - set(exposed_metrics())
    assert READY._name in exposed_metrics()


@BY_NAME
def test_links_lead_somewhere(name: str) -> None:
    """Files that links name exist, and so do their sections."""
    for target in re.findall(r"\]\(([^)\s]+)\)", TEXTS[name]):
        if target.startswith("http"):
            continue
        file, _, section = target.partition("#")
        path = (ROOT / name).parent / file if file else ROOT / name
        assert path.exists(), f"{name}: {target}"
        if section:
            assert section in _sections(path.read_text(encoding="utf-8")), f"{name}: no section {target}"


def _sections(text: str) -> set[str]:
    """Anchors as Git hosts make them of headings."""
    headings = re.findall(r"^#+ (.*)$", _prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@BY_NAME
def test_files_in_code_exist(name: str) -> None:
    """Paths of the repository in inline code."""
    for piece in re.findall(r"`((?:streamproc|schemas|tests|docs|deploy|requirements)/[\w./*-]*)`", TEXTS[name]):
        assert any(ROOT.glob(piece.rstrip("/"))), f"{name}: {piece}"


def test_topics_and_reasons_are_documented() -> None:
    """Every topic with its retention in ARCHITECTURE, every dead-letter reason in docs/events.md."""
    for topic in topics.ALL.values():
        days = topic.retention_ms // topics.DAY_MS
        assert re.search(rf"^\| `{topic.name}` \|[^|]*\| {days} days \|", TEXTS["ARCHITECTURE.md"], re.MULTILINE), topic
    for reason in DeadReason:
        assert f"`{reason.value}`" in TEXTS["docs/events.md"]


def test_metrics_have_a_section() -> None:
    """Every metric of the catalogue, and its alias."""
    for metric in METRICS:
        assert f"\n## {metric.name}\n" in TEXTS["docs/metrics.md"]
        assert metric.alias in TEXTS["docs/metrics.md"]


def test_example_events_are_valid() -> None:
    """JSON events of docs/events.md, in the order of the topics; the README's once it is fresh."""
    block = re.search(r"```json\n(.*?)```", TEXTS["docs/events.md"], re.DOTALL)
    assert block is not None
    lines = block.group(1).splitlines()
    assert len(lines) == len(topics.SOURCES)
    for topic, line in zip(topics.SOURCES, lines, strict=True):
        assert explain(topic, line.encode()) is None
    own = re.search(r"echo '(.*)'", TEXTS["README.md"])
    assert own is not None
    event = json.loads(own.group(1)) | {"event_id": "6f1e7c1e-0f0e-4b8e-9a51-1c5c0f2b7a10"}
    assert explain(topics.USER_EVENTS, json.dumps(event).encode()) is None


def test_python_examples_compile() -> None:
    """Code of documents in Python is Python."""
    for name, text in TEXTS.items():
        for block in re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            compile(block, name, "exec")
