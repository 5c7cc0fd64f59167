"""One stack of real servers a test, with its topics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.stack import Stack


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    """Servers with topics, and no worker yet."""
    with Stack(tmp_path / "stack") as stack:
        stack.create_topics()
        yield stack
