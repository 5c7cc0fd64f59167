"""What was acknowledged survives kill -9 and SIGTERM, and a repeated insert with the same token counts once."""

import http.client
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clickhouse_server.http import Http
from tests.support.clickhouse import ClickHouseHandle, start_clickhouse
from tests.support.small_disk import small_disk
from tests.support.stack import wait_for

BATCH = 500
PARTS = "SELECT count() FROM system.parts WHERE table = 't' AND active"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def own(data_dir: Path) -> Iterator[ClickHouseHandle]:
    """A server of the test's own, which it may kill."""
    handle = start_clickhouse(data_dir)
    yield handle
    handle.kill()


class Writer(threading.Thread):
    """Inserts numbered batches until the server is gone; remembers which were acknowledged."""

    def __init__(self, port: int, number: int) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self._port = port
        self._number = number

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        for batch in range(self._number * 1_000_000, (self._number + 1) * 1_000_000):
            rows = "".join(f"{batch}\t{row}\n" for row in range(BATCH))
            try:
                connection.request("POST", "/?query=INSERT+INTO+t+FORMAT+TSV", rows)
                response = connection.getresponse()
                response.read()
            except (OSError, http.client.HTTPException):
                return  # the server is gone: this batch was not acknowledged
            if response.status == 200:
                self.acknowledged.append(batch)


def _write_until(own: ClickHouseHandle, batches: int) -> list[Writer]:
    Http(own.port).ok("CREATE TABLE t (batch UInt64, row UInt32) ENGINE = MergeTree ORDER BY (batch, row)")
    writers = [Writer(own.port, number) for number in range(3)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while sum(len(writer.acknowledged) for writer in writers) < batches and time.monotonic() < deadline:
        time.sleep(0.005)
    return writers


def _check_nothing_lost(data_dir: Path, writers: list[Writer]) -> None:
    for writer in writers:
        writer.join()
    handle = start_clickhouse(data_dir)
    try:
        text = Http(handle.port).ok("SELECT batch, count(), uniqExact(row) FROM t GROUP BY batch")
        found = {int(line.split("\t")[0]): line.split("\t")[1:] for line in text.splitlines()}
        acknowledged = {batch for writer in writers for batch in writer.acknowledged}
        assert len(acknowledged) >= 50
        assert acknowledged <= set(found)
        # Whole batches only, and none beyond those that were under way.
        assert all(counts == [str(BATCH), str(BATCH)] for counts in found.values())
        assert len(set(found) - acknowledged) <= len(writers)
    finally:
        assert handle.stop() == 0


def test_kill_loses_nothing_acknowledged(own: ClickHouseHandle, data_dir: Path) -> None:
    writers = _write_until(own, 60)
    own.kill()
    _check_nothing_lost(data_dir, writers)


def test_graceful_stop_loses_nothing_acknowledged(own: ClickHouseHandle, data_dir: Path) -> None:
    writers = _write_until(own, 60)
    assert own.stop() == 0
    _check_nothing_lost(data_dir, writers)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_waits_for_what_is_in_flight(own: ClickHouseHandle, number: signal.Signals) -> None:
    answers: list[str] = []
    slow = threading.Thread(target=lambda: answers.append(Http(own.port).ok("SELECT sleep(2.5), 'done'")))
    slow.start()
    Http(own.port).wait_running("sleep(2.5)", 1)
    own.process.send_signal(number)
    slow.join()
    assert answers == ["0\tdone\n"]
    assert own.process.wait(30) == 0


def test_a_stop_does_not_wait_for_ever(data_dir: Path) -> None:
    handle = start_clickhouse(data_dir, options=["--grace", "0.2"])
    slow = threading.Thread(target=Http(handle.port).try_post, args=("SELECT sleep(3)",))
    slow.start()
    Http(handle.port).wait_running("sleep(3)", 1)
    # Were it waited for, the end would be a clean one.
    assert handle.stop() == 1
    slow.join()


def test_a_token_inserts_once_and_into_views_too(http: Http) -> None:
    window = "SETTINGS non_replicated_deduplication_window = 1000"
    http.ok(f"CREATE TABLE t (a UInt64, b UInt64) ENGINE = MergeTree ORDER BY a {window}")
    http.ok(f"CREATE TABLE sums (k UInt64, s UInt64) ENGINE = SummingMergeTree ORDER BY k {window}")
    http.ok("CREATE MATERIALIZED VIEW v TO sums AS SELECT a % 10 AS k, sum(b) AS s FROM t GROUP BY k")
    data = "".join(f"{number}\t1\n" for number in range(1000))

    def insert(body: str, token: str) -> None:
        answer = http.insert(
            "INSERT INTO t FORMAT TSV",
            body,
            insert_deduplication_token=token,
            deduplicate_blocks_in_dependent_materialized_views="1",
        )
        assert answer.status == 200, answer.text

    for _ in range(3):
        insert(data, "first")
    assert http.ok("SELECT count() FROM t") == "1000\n"
    assert http.ok("SELECT sum(s) FROM sums") == "1000\n"
    insert(data, "second")
    assert http.ok("SELECT count() FROM t") == "2000\n"
    assert http.ok("SELECT sum(s) FROM sums") == "2000\n"
    statement = "INSERT INTO t SETTINGS insert_deduplication_token = 'second' FORMAT TSV"
    assert http.insert(statement, data).status == 200
    assert http.ok("SELECT count() FROM t") == "2000\n"


def test_a_full_disk_is_told_and_passes(tmp_path: Path) -> None:
    """Nothing is acknowledged that is not stored; with room again the server goes on, and so it does after a kill."""
    with small_disk(tmp_path / "data", 200) as disk:
        server = start_clickhouse(tmp_path / "data")
        http = Http(server.port, "default")
        try:
            http.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
            assert http.insert("INSERT INTO t FORMAT TSV", b"1\n").status == 200
            disk.fill()
            for rows in (b"2\n", b"3\n" * 100_000):
                answer = http.insert("INSERT INTO t FORMAT TSV", rows)
                assert answer.status == 500 and "NOT_ENOUGH_SPACE" in answer.text
            assert http.ok("SELECT groupArray(a) FROM t") == "[1]\n"
            disk.free()
            assert http.insert("INSERT INTO t FORMAT TSV", b"4\n").status == 200
        finally:
            server.kill()
        server = start_clickhouse(tmp_path / "data")
        try:
            assert Http(server.port, "default").ok("SELECT groupArray(a) FROM t") == "[1,4]\n"
        finally:
            server.kill()


@pytest.mark.parametrize("after_s", [0.0, 0.2])
def test_a_merge_on_a_disk_that_fills_loses_nothing(tmp_path: Path, after_s: float) -> None:
    """chDB takes no notice of writes that fail: such a merge replaced whole parts by one that nobody could read."""
    with small_disk(tmp_path / "data", 700) as disk:
        server = start_clickhouse(tmp_path / "data")
        http = Http(server.port, "default")
        try:
            http.ok("CREATE TABLE t (a UInt64, b String) ENGINE = ReplacingMergeTree ORDER BY a")
            http.ok("SYSTEM STOP MERGES t")
            for number in range(4):
                made = f"SELECT number + {number}000000, hex(sipHash128(number, {number})) FROM numbers(800000)"
                http.ok(f"INSERT INTO t {made}")
            http.ok("SYSTEM START MERGES t")
            merge = threading.Thread(target=http.post, args=("OPTIMIZE TABLE t FINAL",))
            merge.start()
            time.sleep(after_s)
            disk.fill()
            merge.join()
            assert http.ok("SELECT count(), sum(length(b)) FROM t") == "3200000\t102400000\n"
            disk.free()
            wait_for("merges go on", lambda: http.post("OPTIMIZE TABLE t FINAL") and http.ok(PARTS) == "1\n")
            assert http.ok("SELECT count(), sum(length(b)) FROM t") == "3200000\t102400000\n"
        finally:
            server.kill()
