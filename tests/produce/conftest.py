"""One broker for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.broker import Broker, start_broker


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A broker that lives as long as the tests of a process."""
    handle = start_broker()
    yield handle
    handle.discard()
