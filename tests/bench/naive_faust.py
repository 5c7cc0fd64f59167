"""The yardstick: Faust as its own documentation teaches it, on a topic that is already full; prints one JSON line.

Models with `faust.Record`, one `Table.tumbling` per window size, `table[key] += 1` for each event. It is favoured where
there was a choice: state in memory, one counter per window, no start or stop within the measured time.

    python -m tests.bench.naive_faust --broker 127.0.0.1:9092 --topic user-events --partitions 8 --events 20000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from datetime import datetime, timedelta
from typing import Any

import faust

#: Windows whose events are older than this by the wall clock are dropped by Faust: long enough never to happen here.
_EXPIRES = timedelta(days=3650)


class UserEvent(faust.Record, serializer="json", coerce=True):  # type: ignore[call-arg, misc]  # faust's class keywords
    """A user event as Faust's documentation would declare it."""

    event_id: str
    schema_version: str
    occurred_at: datetime
    user_id: int
    activity_type: str
    response_time_ms: int | None = None
    session_id: str | None = None
    resource_type: str | None = None
    resource_id: int | None = None
    ip_address: str | None = None
    user_agent: str | None = None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--broker", required=True, help="host:port")
    parser.add_argument("--topic", required=True)
    parser.add_argument("--partitions", type=int, required=True, help="of the topic: the tables get as many")
    parser.add_argument("--events", type=int, required=True, help="events in the topic")
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds after which the program gives up")
    return parser.parse_args()


class _Measured:
    """Counts events between the first and the last."""

    def __init__(self, events: int) -> None:
        self.wanted = events
        self.seen = 0
        self.done = asyncio.Event()
        self._start = (0.0, 0.0)
        self._end = (0.0, 0.0)

    def one(self) -> None:
        """An event has been put into its windows."""
        self.seen += 1
        if self.seen == 1:
            self._start = (time.perf_counter(), time.process_time())
        if self.seen == self.wanted:
            self._end = (time.perf_counter(), time.process_time())
            self.done.set()

    def figures(self) -> dict[str, Any]:
        """What is printed."""
        seconds = self._end[0] - self._start[0]
        return {
            "events": self.seen,
            "seconds": round(seconds, 3),
            "events_per_s": round(self.seen / seconds, 1),
            "cpu_s": round(self._end[1] - self._start[1], 3),
        }


def _app(arguments: argparse.Namespace, data_dir: str) -> Any:
    app = faust.App(
        f"naive-faust-{uuid.uuid4().hex[:8]}",
        broker=f"kafka://{arguments.broker}",
        store="memory://",
        datadir=data_dir,
        topic_partitions=arguments.partitions,
        consumer_auto_offset_reset="earliest",
        # The group's first join waits half of it; outside the measured time.
        broker_session_timeout=6.0,
        broker_heartbeat_interval=1.0,
        # `web` would listen on 0.0.0.0:6066.
        web_enabled=False,
    )
    topic = app.topic(arguments.topic, value_type=UserEvent, key_type=bytes)
    tables = [
        app.Table(f"by_type_{name}", default=int, partitions=arguments.partitions)
        .tumbling(size, expires=_EXPIRES)
        .relative_to_field(UserEvent.occurred_at)
        for name, size in (("1m", 60.0), ("5m", 300.0), ("1h", 3600.0))
    ]
    measured = _Measured(arguments.events)
    minute, five_minutes, hour = tables

    @app.agent(topic)  # type: ignore[untyped-decorator]  # faust has no types
    async def count(events: Any) -> None:
        async for event in events:
            minute[event.activity_type] += 1
            five_minutes[event.activity_type] += 1
            hour[event.activity_type] += 1
            measured.one()

    @app.task  # type: ignore[untyped-decorator]  # faust has no types
    async def report() -> None:
        line: dict[str, Any]
        try:
            await asyncio.wait_for(measured.done.wait(), arguments.timeout)
            line = measured.figures() | {"counted": [sum(table.table.values()) for table in tables]}
        except TimeoutError:
            line = {"error": f"{measured.seen} of {measured.wanted} events after {arguments.timeout:g} s"}
        print(json.dumps(line), flush=True)
        # Faust's own shutdown takes seconds and nothing of it is measured; the state is thrown away anyhow.
        shutil.rmtree(data_dir, ignore_errors=True)
        os._exit(1 if "error" in line else 0)

    return app


def main() -> None:
    """Read the topic to its end and print the figures."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as data_dir:
        app = _app(arguments, data_dir)
        sys.argv = sys.argv[:1]
        # Standard output is for the one line; the worker's banner and spinner go elsewhere.
        faust.Worker(
            app, loglevel="error", redirect_stdouts=False, quiet=True, stdout=sys.stderr
        ).execute_from_commandline()


if __name__ == "__main__":
    main()
