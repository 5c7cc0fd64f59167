"""A stack whose workers reach ClickHouse and Redis only through proxies of ours, and Slack only as a fake."""

from __future__ import annotations

import time
from pathlib import Path

from tests.e2e.checks import Message
from tests.support.clickhouse_proxy import ClickHouseProxy
from tests.support.redis_proxy import RedisProxy
from tests.support.stack import Stack, Worker, wait_for
from tests.support.webhook import Webhook
from tests.support.workload import Workload


class FragileStack(Stack):
    """`clickhouse_proxy`, `redis_proxy` and `slack` stand between the workers and the rest; the test itself goes past them."""

    def __init__(self, directory: Path, partitions: int = 4, **settings: str) -> None:
        super().__init__(directory, partitions, **settings)
        self.clickhouse_proxy = ClickHouseProxy(self.clickhouse.port)
        self.redis_proxy = RedisProxy(self.redis_server.port)
        self.slack = Webhook()
        self.env |= {
            "STREAMPROC_CLICKHOUSE_URL": f"http://127.0.0.1:{self.clickhouse_proxy.port}",
            "STREAMPROC_REDIS_URL": f"redis://127.0.0.1:{self.redis_proxy.port}/0",
        }
        self._seed = 100
        self.create_topics()

    def __exit__(self, *args: object) -> None:
        super().__exit__(*args)
        self.clickhouse_proxy.stop()
        self.redis_proxy.stop()
        self.slack.stop()

    def more(self, events: int) -> list[Message]:
        """A messy workload that no earlier one of this stack repeats; its event times end now."""
        self._seed += 1
        workload = Workload(self._seed, events, int(time.time() * 1000))
        return [(m.topic, m.key, m.value) for m in workload.messages()]

    def start(self, role: str, env: dict[str, str], **extra: str) -> Worker:
        """Start a worker with whole environment variables beside settings; it is not waited for."""
        settings = {f"STREAMPROC_{name.upper()}": value for name, value in extra.items()}
        worker = Worker(self, role, settings | env)
        self.workers.append(worker)
        return worker

    def caught_up(self, *workers: Worker, timeout_s: float = 30.0) -> None:
        """Wait until these workers have taken all that is produced."""
        for worker in workers:
            wait_for(f"{worker.role} has no lag", lambda w=worker: _no_lag(w), timeout_s)


def _no_lag(worker: Worker) -> bool:
    # Without a sample nothing was fetched yet, which is no proof.
    return "streamproc_lag_records{" in worker.get("metrics")[1] and worker.metric("streamproc_lag_records") == 0
