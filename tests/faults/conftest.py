"""One stack of real servers a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.fragile import FragileStack


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FragileStack]:
    """Servers behind proxies, with topics, and no worker yet."""
    with FragileStack(tmp_path / "stack") as stack:
        yield stack
