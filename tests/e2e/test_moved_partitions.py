"""Partitions that move to another worker take their gauges along: a lag left behind would never end."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.checks import messages
from tests.support.stack import Stack, Worker, wait_for


def _shown(worker: Worker, name: str) -> set[tuple[str, str]]:
    return {
        (sample.labels["topic"], sample.labels["partition"])
        for family in text_string_to_metric_families(worker.get("metrics")[1])
        for sample in family.samples
        if sample.name == name
    }


@pytest.mark.parametrize("name", ["streamproc_lag_records", "streamproc_watermark_age_seconds"])
def test_a_partition_is_shown_by_its_owner_only(running: Stack, name: str) -> None:
    """One worker shows all; with a second one each partition is shown once, and none is lost."""
    first = running.worker("windows")
    running.produce(messages(31, 1000))
    whole = wait_for("all partitions shown", lambda: len(found := _shown(first, name)) >= 12 and found)
    second = running.worker("windows")

    def divided() -> bool:
        ours, theirs = _shown(first, name), _shown(second, name)
        return bool(ours and theirs) and not ours & theirs and ours | theirs == whole

    wait_for("each partition shown once", divided)
