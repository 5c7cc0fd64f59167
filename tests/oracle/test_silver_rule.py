"""Which record of a repeated id the oracle wants in silver: the older by minute of log time, whatever its offset."""

from __future__ import annotations

import pytest

from tests.oracle.expect import expect
from tests.oracle.logs import Entry, connect, fill
from tests.oracle.silver import silver_findings

#: 2026-03-02 23:50:00 UTC.
_BEGIN = 1_772_495_400_000
_EVENT = b"""{"event_id":"4d9ed9e4-1a81-1e86-783b-468d41868fbe","schema_version":"1.0.0",\
"occurred_at":"2026-03-02T23:50:00Z","video_id":7,"component":"script","amount_usd":"%d.0329"}"""
_ENTRIES = [
    Entry("cost-events", 2, 304, _BEGIN, b"7", _EVENT % 0),
    Entry("cost-events", 10, 90, _BEGIN + 1000, b"7", _EVENT % 5),
    Entry("cost-events", 4, 88, _BEGIN + 86_000, b"7", _EVENT % 90),
]


@pytest.mark.parametrize(("part", "right"), [(10, True), (2, False), (4, False)])
def test_silver_must_hold_the_older_record(part: int, right: bool) -> None:
    """Of one minute the partition that is first as text counts: 10 before 2."""
    with connect() as db:
        fill(db, _ENTRIES)
        expect(db)
        columns = "event_id, part, off, topic, occurred, video_id, kind, number, text"
        db.execute(f"CREATE TABLE silver_cost_events AS SELECT {columns} FROM rec WHERE part = {part}")
        for topic in ("user_events", "video_status"):
            db.execute(f"CREATE TABLE silver_{topic} AS SELECT {columns} FROM rec WHERE false")
        db.execute("CREATE TABLE rejected (topic VARCHAR, part BIGINT, off BIGINT, reason VARCHAR)")
        wrong = [finding for finding in silver_findings(db) if finding.violations]
    assert [finding.name for finding in wrong] == (
        [] if right else ["silver.cost_events: each id once, the older record counts"]
    )
