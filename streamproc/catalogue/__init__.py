"""The metric catalogue: one declarative entry a metric drives agents, alert rules, documents and dashboards.

A `Measure` says what is accumulated (one accumulator per window, dimension value and source). A `Metric` says what is
published from a measure, with its meaning, unit and formula. Adding a metric is adding one entry here and its test.
"""

from streamproc.catalogue.measures import MEASURES, Measure, measure_of
from streamproc.catalogue.metrics import METRICS, Metric, metric_named, metrics_of_measure

__all__ = ["MEASURES", "METRICS", "Measure", "Metric", "measure_of", "metric_named", "metrics_of_measure"]
