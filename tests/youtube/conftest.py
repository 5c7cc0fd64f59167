"""A YouTube for each test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.youtube.server import YouTube, running
from tests.support.youtube.world import World


@pytest.fixture
def youtube() -> Iterator[YouTube]:
    """Three channels of 60 videos."""
    with running(YouTube(World())) as made:
        yield made
