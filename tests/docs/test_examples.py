"""Code of the documents that needs a server, run as it stands there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

from schemas.topics import USER_EVENTS
from streamproc.config import Settings
from streamproc.decode import explain
from streamproc.kafka_topics import ensure_topics
from tests.docs.pages import ROOT
from tests.support.broker import start_broker
from tests.support.stack import read_all


def test_the_producer_in_python_sends_a_valid_event(tmp_path: Path) -> None:
    """docs/events.md, with the port of a broker of our own."""
    found = re.search(r"```python\n(.*?)^```", (ROOT / "docs/events.md").read_text(), re.MULTILINE | re.DOTALL)
    assert found is not None
    broker = start_broker()
    try:
        asyncio.run(ensure_topics(Settings(broker_url=broker.url, partitions=2)))
        script = tmp_path / "producer.py"
        script.write_text(found.group(1).replace("127.0.0.1:9092", broker.bootstrap))
        subprocess.run([sys.executable, script], check=True, timeout=30)
        records = asyncio.run(read_all(broker.bootstrap, [USER_EVENTS]))
    finally:
        broker.discard()
    assert [explain(USER_EVENTS, record.value) for record in records] == [None]
