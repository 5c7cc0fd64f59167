"""The fuzzer finds what is planted: wrong values, crashes, slow inputs and endless ones, and goes on after each."""

from __future__ import annotations

import pytest

from tests.fuzz.runner import fuzz
from tests.fuzz.targets.planted import BAD, PLANTED


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [("planted-wrong", "Wrong", "planted")],
)
def test_what_is_planted_is_found(name: str, kind: str, text: str) -> None:
    """With the input that did it, made shorter where the process survives it."""
    report = fuzz(PLANTED[name], 1, 200)
    assert report.runs == 200
    assert report.findings
    finding, _ = report.findings[0]
    assert kind in finding.kind
    assert text in finding.text
    assert finding.value == BAD


@pytest.mark.slow
def test_an_endless_input_is_found() -> None:
    """After 20 CPU seconds without a sign of life, twice: in its batch, and alone."""
    report = fuzz(PLANTED["planted-endless"], 1, 100)
    assert [finding.kind for finding, _ in report.findings] == ["hangs"]
    assert BAD in report.findings[0][0].value


def test_inputs_follow_from_seed_and_number() -> None:
    """So a finding can be made again by anyone."""
    target = PLANTED["planted-wrong"]
    assert target.inputs(1, 5) == target.inputs(1, 5)
    assert target.inputs(1, 5) != target.inputs(1, 6)
    assert target.inputs(2, 5) != target.inputs(1, 5)
