"""The archive: every record in bronze once, silver without gaps, each dead letter once, whatever dies in between."""

from __future__ import annotations

from tests.e2e.checks import check_archive, messages
from tests.support.stack import Stack, wait_for


def test_killed_archive_and_killed_clickhouse_lose_and_double_nothing(running: Stack) -> None:
    """kill -9 of the archive worker, then of ClickHouse, in the middle of the stream."""
    stack, events = running, messages(3, 6000)
    stack.worker("windows", wait=False)
    first = stack.worker("archive")
    stack.produce(events[:2000])
    wait_for("first records in bronze", lambda: first.metric("streamproc_archived_records_total") > 300)
    first.kill()
    second = stack.worker("archive", wait=False)
    stack.produce(events[2000:4000])
    second.wait_ready()
    wait_for("more records in bronze", lambda: second.metric("streamproc_archived_records_total") > 300)
    stack.kill_clickhouse()
    stack.produce(events[4000:])
    wait_for("the archive notices", lambda: second.get("ready")[0] == 503)
    stack.restart_clickhouse()
    check_archive(stack)
    assert second.process.poll() is None
    assert second.stop() == 0


def test_an_insert_that_never_reached_silver_is_done_again(running: Stack) -> None:
    """A crash between bronze's part and its view's part: here the view is away while bronze takes the last insert."""
    stack, events = running, messages(4, 3000)
    stack.worker("windows", wait=False)
    archive = stack.worker("archive")
    stack.produce(events[:1500])
    wait_for("first part", lambda: stack.query("SELECT count() FROM silver.user_activity")[0][0] > 100)
    archive.stop()
    views = [f"{name}_from_bronze" for name in ("user_activity", "video_status", "cost_events", "ops_events")]
    for view in views:
        stack.query(f"DETACH TABLE silver.{view}")
    stack.produce(events[1500:])
    torn = stack.worker("archive")
    total = sum(1 for _ in stack.log_records())
    tables = ("user_events", "video_status", "cost_events", "ops_events")
    wait_for(
        "all in bronze",
        lambda: sum(stack.query(f"SELECT count() FROM bronze.{t} FINAL")[0][0] for t in tables) == total,
    )
    torn.kill()
    for view in views:
        stack.query(f"ATTACH TABLE silver.{view}")
    stack.worker("archive")
    check_archive(stack)
