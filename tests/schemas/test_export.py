"""The exported JSON Schemas are up to date and agree with the examples as far as a JSON Schema can say it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from schemas import export
from schemas.events import STRUCTS
from schemas.topics import SOURCES
from tests.schemas.test_examples import EXAMPLES

#: What only the decoder can see (said in each schema's $comment): JSON's syntax, the calendar, how an integer is written.
BEYOND_SCHEMA = re.compile(
    r"malformed--(json--.*|.*--(decimal-point|exponent|before-1970|after-2105|exponent-too-large|year-0|no-day|no-leap-year|"
    r"century-is-no-leap-year|trailing-newline)|amount_usd--too-(large|small))"
)


@pytest.mark.parametrize("topic", SOURCES)
def test_files_are_up_to_date(topic: str) -> None:
    path = export.DIRECTORY / export.file_name(topic)
    assert path.read_text(encoding="utf-8") == export.render(topic), "run `python -m schemas.export`"


def test_no_other_files() -> None:
    assert {path.name for path in export.DIRECTORY.iterdir()} == {export.file_name(topic) for topic in SOURCES}


@pytest.mark.parametrize("topic", SOURCES)
def test_fields_are_those_of_the_struct(topic: str) -> None:
    schema = export.json_schema(topic)
    assert list(schema["properties"]) == list(STRUCTS[topic].__struct_fields__)
    assert schema["type"] == "object"
    assert schema.get("additionalProperties", True) is True


def test_main_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "DIRECTORY", tmp_path / "json")
    export.main()
    assert {path.name for path in (tmp_path / "json").iterdir()} == {export.file_name(topic) for topic in SOURCES}


@pytest.mark.parametrize("topic", SOURCES)
def test_schemas_judge_the_examples(topic: str) -> None:
    jsonschema = pytest.importorskip("jsonschema", reason="comes with the extra `batch` (dbt)")
    schema = export.json_schema(topic)
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    for path in sorted((EXAMPLES / topic / "valid").iterdir()):
        assert validator.is_valid(json.loads(path.read_bytes())), path
    for path in sorted((EXAMPLES / topic / "invalid").iterdir()):
        if not BEYOND_SCHEMA.fullmatch(path.stem):
            assert not validator.is_valid(json.loads(path.read_bytes())), path
