"""What fuzzing found stays mended, and every target takes a batch of seeded inputs."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import pytest

from tests.fuzz.findings import CORPUS, load, problem
from tests.fuzz.target import Target
from tests.fuzz.targets import TARGETS

FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
FOUND = {name: list(paths) for name, paths in groupby(FILES, key=lambda path: path.parent.name)}
CHEAP = [target for target in TARGETS.values() if target.cheap]


def test_the_corpus_is_of_targets_that_there_are() -> None:
    """A folder whose target was renamed would be replayed by nobody."""
    assert FOUND.keys() <= TARGETS.keys()
    assert len(FILES) >= 10


@pytest.mark.parametrize("name", FOUND)
def test_findings_stay_mended(name: str) -> None:
    """Each stored input, alone."""
    with TARGETS[name].open() as check:
        wrong = {path.name: error for path in FOUND[name] if (error := problem(check, load(path))) is not None}
    assert not wrong


@pytest.mark.parametrize("target", CHEAP, ids=lambda target: target.name)
def test_a_batch_of_every_cheap_target(target: Target) -> None:
    """The same inputs in every run; `make fuzz` has others."""
    with target.open() as check:
        check(target.inputs(20_260_301, 0)[:200])


def test_files_are_named_after_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small ones as they are, large ones packed; what is stored is what is replayed."""
    monkeypatch.setattr("tests.fuzz.findings.CORPUS", tmp_path)
    from tests.fuzz.findings import Finding

    for value in (b"small", bytes(100_000)):
        path = Finding("rules", "kind", "text", value).save()
        assert load(path) == value
        assert path == Finding("rules", "kind", "text", value).save()
