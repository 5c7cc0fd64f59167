"""Which broker the tests use, what is left out because it fits only the other one, and what test processes share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import defaultdict
from typing import Any

import pytest

from tests.support.broker import BROKERS, chosen_broker
from tests.support.migrated import SHARED

_ONLY = {"embedded_only": "embedded", "kafka_only": "kafka"}
_LEFT_OUT = "needs the other broker: "


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--broker kafka` runs on Apache Kafka what otherwise runs on the embedded broker."""
    parser.addoption("--broker", choices=BROKERS, default=chosen_broker(), help="the broker that tests start")


def pytest_configure(config: pytest.Config) -> None:
    """Make the choice known to fixtures, and to processes that they start."""
    os.environ["STREAMPROC_TEST_BROKER"] = config.getoption("--broker")
    if not hasattr(config, "workerinput"):
        shared = os.environ[SHARED] = tempfile.mkdtemp(prefix="streamproc-tests-")
        config.add_cleanup(lambda: shutil.rmtree(shared, ignore_errors=True))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests of the other broker."""
    chosen = config.getoption("--broker")
    for item in items:
        for marker, broker in _ONLY.items():
            found = item.get_closest_marker(marker)
            if found is not None and broker != chosen:
                item.add_marker(pytest.mark.skip(reason=f"{_LEFT_OUT}{marker}: {found.args[0]}"))


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say what was left out and why."""
    left_out: dict[str, list[str]] = defaultdict(list)
    for report in terminalreporter.stats.get("skipped", ()):
        reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else ""
        if _LEFT_OUT in reason:
            left_out[reason.split(_LEFT_OUT, 1)[1]].append(report.nodeid)
    if not left_out:
        return
    terminalreporter.section(f"left out with the {chosen_broker()} broker")
    for reason, names in sorted(left_out.items()):
        terminalreporter.line(reason)
        for name in sorted(names):
            terminalreporter.line(f"    {name}")
