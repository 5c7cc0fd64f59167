"""Every example is what its name says: valid, or invalid for that reason and at that field (`reason--field--what.json`)."""

from __future__ import annotations

from pathlib import Path

import pytest

import schemas
from schemas.topics import SOURCES
from streamproc.decode import decode_batch, explain
from tests.decode.oracle import judge

EXAMPLES = Path(schemas.__file__).parent / "examples"


def examples(kind: str) -> list[tuple[str, Path]]:
    return [(topic, path) for topic in SOURCES for path in sorted((EXAMPLES / topic / kind).glob("*.json"))]


def name(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


@pytest.mark.parametrize(("topic", "path"), examples("valid"), ids=name)
def test_valid(topic: str, path: Path) -> None:
    value = path.read_bytes()
    assert explain(topic, value) is None
    assert decode_batch(topic, [value] * 50).dead == []
    assert judge(topic, value)[0] == "ok"


@pytest.mark.parametrize(("topic", "path"), examples("invalid"), ids=name)
def test_invalid(topic: str, path: Path) -> None:
    reason, field, _what = path.stem.split("--")
    value = path.read_bytes()
    problem = explain(topic, value)
    assert problem is not None
    assert problem[0].value == reason
    assert field == "json" or problem[1].startswith(f"{field}: ")
    assert decode_batch(topic, [value] * 50).dead == [(at, *problem) for at in range(50)]
    assert judge(topic, value)[0] == reason


@pytest.mark.parametrize("topic", SOURCES)
def test_there_are_enough(topic: str) -> None:
    assert len(list((EXAMPLES / topic / "valid").iterdir())) >= 10
    assert len(list((EXAMPLES / topic / "invalid").iterdir())) >= 25
