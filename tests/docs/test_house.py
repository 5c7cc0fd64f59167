"""The countable house rules of CONTRIBUTING.md."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.docs.pages import ROOT

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 60

FILES = sorted(path for folder in ("streamproc", "schemas", "batch", "tests") for path in (ROOT / folder).rglob("*.py"))
SOURCES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in FILES}
PRODUCT = {name: text for name, text in SOURCES.items() if not name.startswith("tests/")}


def test_files_are_short() -> None:
    """At most 400 lines."""
    long = {name: text.count("\n") for name, text in SOURCES.items() if text.count("\n") > MAX_FILE_LINES}
    assert not long


def test_functions_are_short() -> None:
    """At most 60 lines, docstring included."""
    long = [
        f"{name}:{node.lineno} {node.name} {node.end_lineno - node.lineno + 1}"
        for name, text in SOURCES.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    ]
    assert not long


def test_every_module_has_a_docstring() -> None:
    """An empty file needs none."""
    bare = [name for name, text in SOURCES.items() if text.strip() and not ast.get_docstring(ast.parse(text))]
    assert not bare


def test_public_classes_and_functions_of_the_product_have_docstrings() -> None:
    """Those at the top level of a module whose name has no underscore in front; the HTTP server is no public interface."""
    bare = [
        f"{name}:{node.lineno} {node.name}"
        for name, text in PRODUCT.items()
        if not name.startswith("streamproc/embedded/clickhouse/")
        for node in ast.parse(text).body
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare


def test_ignored_types_say_why() -> None:
    """`type: ignore[rule]  # reason` in the product."""
    bare = [
        f"{name}:{number}"
        for name, text in PRODUCT.items()
        for number, line in enumerate(text.splitlines(), start=1)
        if "# type: ignore" in line and not re.search(r"# type: ignore\[[\w, -]+\]  # \S+", line)
    ]
    assert not bare


def test_one_reader_of_the_wall_clock() -> None:
    """Only streamproc/clock.py asks for the time of day (durations may use time.monotonic)."""
    pattern = re.compile(r"\btime\.(time|time_ns)\(|datetime\.(now|utcnow)\(")
    readers = {name for name, text in PRODUCT.items() if pattern.search(text)}
    assert readers <= {"streamproc/clock.py"}


@pytest.mark.parametrize("word", ["TODO", "FIXME", "XXX"])
def test_nothing_is_left_for_later(word: str) -> None:
    """What is not done is an issue, and not a comment."""
    found = [name for name, text in PRODUCT.items() if re.search(rf"#.*\b{word}\b", text)]
    assert not found


def test_the_licence_is_there() -> None:
    """The licence is the full text, and the package names it."""
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "END OF TERMS AND CONDITIONS" in text
    assert 'license = "Apache-2.0"' in Path(ROOT / "pyproject.toml").read_text(encoding="utf-8")
