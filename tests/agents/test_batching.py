"""The batch scheduler, and the end of a process whose agent fails."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

from faust.types import TP

from streamproc.agents.batching import BatchScheduler, Fetched
from streamproc.agents.fatal import EXIT_CODE


def test_one_batch_a_topic_and_fetch_with_the_records_of_each_partition() -> None:
    """Partitions without records are left out; the batch's place is that of the first partition's last record."""

    def made(topic: str, partition: int, offsets: list[int]) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(topic=topic, partition=partition, offset=o, timestamp=o, timestamp_type=1) for o in offsets
        ]

    fetched = {
        TP(topic, partition): made(topic, partition, offsets)
        for topic, partition, offsets in [("a", 0, [3, 4, 9]), ("a", 1, []), ("b", 0, [1]), ("a", 2, [7])]
    }
    batches = list(BatchScheduler().iterate(Fetched(fetched, 5)))
    assert [(tp, batch.offset) for tp, batch in batches] == [(TP("a", 0), 9), (TP("b", 0), 1)]
    assert batches[0][1].value == [fetched[TP("a", 0)], fetched[TP("a", 2)]]
    assert {batch.value.number for _, batch in batches} == {5}


_FAILING_BODY = """
import asyncio
from types import SimpleNamespace
from streamproc.agents.batching import Brought
from streamproc.agents.faust_app import add_batch_agent

class App:
    consumer = SimpleNamespace(is_current=lambda tp, number: True)

    def topic(self, *args, **kwargs):
        return None

    def agent(self, channel, name):
        def keep(body):
            self.body = body
        return keep

class Stream:
    async def events(self):
        yield SimpleNamespace(message=SimpleNamespace(value=Brought([[SimpleNamespace(partition=0)]], 1), partition=0))
        print("acknowledged")

async def handle(topic, partition, records):
    raise ValueError("a bug")

app = App()
add_batch_agent(app, "t", handle)
asyncio.run(app.body(Stream()))
print("went on")
"""


def test_an_exception_in_an_agent_ends_the_process_before_the_acknowledgement() -> None:
    """Faust acknowledges what an agent raises on; a process that is gone acknowledges nothing."""
    done = subprocess.run([sys.executable, "-c", _FAILING_BODY], capture_output=True, text=True, timeout=60)
    assert done.returncode == EXIT_CODE
    said = done.stdout.splitlines()
    assert any("a bug" in line for line in said)
    assert "acknowledged" not in said
    assert "went on" not in said
