"""Whoever starts in the place of a killed worker does not wait for the end of its session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from streamproc.agents.membership import Membership
from streamproc.config import load_settings
from tests.support.stack import Stack

SESSION_S = 60.0


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Stack]:
    """Servers with topics, and a session so long that waiting for its end would fail the test."""
    with Stack(tmp_path / "stack", session_timeout_s=str(SESSION_S)) as stack:
        stack.create_topics()
        yield stack


@pytest.mark.kafka_only("the embedded broker lets every new group wait for half a session")
def test_takes_a_killed_workers_place_at_once(running: Stack) -> None:
    first = running.worker("notify")
    first.kill()
    begun = time.monotonic()
    second = running.worker("notify", port=first.port)
    assert time.monotonic() - begun < SESSION_S / 2
    assert "took the place of a worker that had died" in second.output()
    assert second.stop() == 0
    third = running.worker("notify", port=first.port)
    assert "took the place" not in third.output()


@pytest.mark.embedded_only("Kafka waits for the end of no session here; the test above has that")
def test_two_workers_killed_one_after_the_other_come_back(tmp_path: Path) -> None:
    """Leaving in a dead worker's name, the embedded broker's group never formed again (found by the fault run)."""
    with Stack(tmp_path / "stack", session_timeout_s="4") as stack:
        stack.create_topics()
        workers = [stack.worker("notify", wait=False) for _ in range(2)]
        for worker in workers:
            worker.wait_ready()
        for _ in range(2):
            for number, worker in enumerate(workers):
                worker.kill()
                workers[number] = stack.worker("notify", wait=False, port=worker.port)
            for worker in workers:
                worker.wait_ready()


def test_a_note_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path, metrics_port=4711, broker_url="kafka://127.0.0.1:1")
    note = tmp_path / "members" / "streamproc-windows-4711.json"
    assert not asyncio.run(Membership(settings, "windows").replace_predecessor())
    note.parent.mkdir()
    for damaged in (b"{", b'{"broker": "\xe5\xe5", "group": "", "member": ""}', b'{"broker": 1}', b""):
        note.write_bytes(damaged)
        assert not asyncio.run(Membership(settings, "windows").replace_predecessor())
    Membership(settings, "windows").note("a-member")
    # It is read, and nobody answers.
    assert not asyncio.run(Membership(settings, "windows").replace_predecessor())
    elsewhere = load_settings(data_dir=tmp_path, metrics_port=4711, broker_url="kafka://127.0.0.1:2")
    assert Membership(elsewhere, "windows")._read() is None
    assert Membership(settings, "windows")._read() is not None
    Membership(settings, "windows").forget()
    assert not note.exists()
