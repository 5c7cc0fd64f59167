"""Every entry of the catalogue is complete and can be computed."""

from __future__ import annotations

import re

import numpy as np
import pytest

from schemas.redis_keys import ALIASES
from schemas.topics import SOURCES
from streamproc.catalogue import MEASURES, METRICS, Measure, Metric, measure_of, metric_named
from streamproc.decode import decode_batch
from streamproc.windows.accumulators import new_accumulator
from streamproc.windows.formulas import FORMULAS
from streamproc.windows.selectors import SELECTORS, column
from tests.docs.pages import ROOT

BY_METRIC = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
BY_MEASURE = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


@BY_METRIC
def test_a_metric_is_complete(metric: Metric) -> None:
    """Name, meaning, unit, source, and a formula that says when it is null."""
    assert re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
    assert metric.meaning
    assert metric.unit
    assert metric.null_when
    assert metric.frequency
    measure = measure_of(metric.measure)
    assert metric.source == ", ".join(measure.topics)
    assert metric.entity == measure.entity
    value, count, _ = FORMULAS[metric.formula](new_accumulator(measure.kind))
    assert (value is None) == (metric.null_when != "never")
    assert count == 0


@BY_MEASURE
def test_a_measure_can_be_computed(measure: Measure) -> None:
    """Its topic, selector, value, dimensions and entity exist for decoded events."""
    assert measure.topic in SOURCES
    examples = sorted((ROOT / "schemas/examples" / measure.topic / "valid").glob("*.json"))
    decoded = decode_batch(measure.topic, [path.read_bytes() for path in examples])
    assert len(decoded.ok)
    selector = SELECTORS[measure.selector]
    if selector is not None:
        chosen = selector(decoded.columns)
        assert chosen.dtype == np.bool_
        assert chosen.any()
    for name in filter(None, (measure.value, measure.entity, *measure.dimensions)):
        assert len(column(decoded.columns, name)) == len(decoded.ok)


def test_names_and_aliases_are_unique() -> None:
    """And Redis knows the aliases."""
    names = [metric.name for metric in METRICS] + [metric.alias for metric in METRICS if metric.alias]
    assert len(set(names)) == len(names)
    assert len({measure.name for measure in MEASURES}) == len(MEASURES)
    assert {(metric.name, "1d"): metric.alias for metric in METRICS if metric.alias} == ALIASES
    assert all(metric_named(name) in METRICS for name in names)


def test_no_measure_is_computed_for_nothing() -> None:
    """Each is published by a metric."""
    assert {metric.measure for metric in METRICS} == {measure.name for measure in MEASURES}
