"""The batch scheduler, and the end of a process whose agent fails."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

from streamproc.agents.batching import BatchScheduler
from streamproc.agents.fatal import EXIT_CODE


def test_one_batch_a_partition_and_fetch_in_order() -> None:
    """The last record's place is the batch's place, so that acks cover all of it."""
    made = {
        tp: [SimpleNamespace(topic="t", partition=tp, offset=o, timestamp=o, timestamp_type=1) for o in offsets]
        for tp, offsets in {0: [3, 4, 9], 1: [], 2: [7]}.items()
    }
    batches = list(BatchScheduler().iterate(made))
    assert [(tp, batch.offset, len(batch.value)) for tp, batch in batches] == [(0, 9, 3), (2, 7, 1)]
    assert batches[0][1].value is made[0]


_FAILING_BODY = """
import asyncio
from types import SimpleNamespace
from streamproc.agents.faust_app import add_batch_agent

class App:
    def topic(self, *args, **kwargs):
        return None

    def agent(self, channel, name):
        def keep(body):
            self.body = body
        return keep

class Stream:
    async def events(self):
        yield SimpleNamespace(message=SimpleNamespace(value=[1], partition=0))
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
