"""Logs that were cut or lost: records saved before count as they did, in the same log or as one of their own."""

from __future__ import annotations

from pathlib import Path

import duckdb

from tests.oracle.expect import expect
from tests.oracle.log import add_earlier, save_log
from tests.oracle.logs import Entry, connect, fill, made_up
from tests.oracle.traffic import Mix
from tests.support.truth import Record, compute

BEGIN = 1_772_445_600_000


def _saved(path: Path, entries: list[Entry]) -> Path:
    with connect() as db:
        fill(db, entries)
        save_log(db, path)
    return path


def _windows(db: duckdb.DuckDBPyConnection) -> dict[tuple[str, ...], tuple[float, ...]]:
    return {tuple(row[:5]): tuple(row[5:]) for row in db.execute("FROM want").fetchall()}


def test_records_cut_from_a_log_still_count(tmp_path: Path) -> None:
    """Retention has taken the first third; what was saved before completes the same log."""
    entries = made_up(1, 1500, BEGIN, Mix())
    path = _saved(tmp_path / "before.parquet", entries[:1000])
    with connect() as db:
        fill(db, entries[500:])
        add_earlier(db, path)
        expect(db)
        assert db.execute("SELECT count(*), min(log), max(log) FROM rec").fetchone() == (1500, 0, 0)
        found = _windows(db)
    with connect() as whole:
        fill(whole, entries)
        expect(whole)
        assert found == _windows(whole)


def test_a_lost_log_is_a_source_of_its_own(tmp_path: Path) -> None:
    """Two logs lost one after the other: duplicates and lateness begin anew in each, windows are joined."""
    first, second, third = (made_up(seed, 600, BEGIN, Mix(duplicates=0.2)) for seed in (1, 2, 3))
    paths = [_saved(tmp_path / f"{n}.parquet", log) for n, log in enumerate((first, second))]
    with connect() as db:
        fill(db, third)
        for path in reversed(paths):
            add_earlier(db, path)
        expect(db)
        assert db.execute("SELECT log, count(*) FROM rec GROUP BY log ORDER BY log").fetchall() == [
            (-2, 600),
            (-1, 600),
            (0, 600),
        ]
        found = _windows(db)
    # To the other truth each log is further partitions.
    logs = [(part, entry) for part, log in enumerate((first, second, third)) for entry in log]
    truth = compute(Record(e.topic, 10 * part + e.partition, e.offset, e.timestamp, e.value) for part, e in logs)
    assert {key: row[:3] for key, row in found.items()} == truth.windows


def test_a_partition_that_was_not_made_again_had_an_older_log(tmp_path: Path) -> None:
    """It had been added before all topics were lost; no record is there that could show that its log is another."""
    first, second = made_up(1, 600, BEGIN, Mix()), made_up(2, 600, BEGIN, Mix())
    path = _saved(tmp_path / "before.parquet", first)
    fewer = [entry for entry in second if (entry.topic, entry.partition) != ("cost-events", 1)]
    with connect() as db:
        fill(db, fewer)
        add_earlier(db, path)
        gone = db.execute("SELECT DISTINCT log, cut FROM rec WHERE topic = 'cost-events' AND part = 1").fetchall()
        assert gone == [(-1, False)]
        assert db.execute("SELECT count(*) FROM rec WHERE log = -1").fetchone() == (600,)


def test_what_was_lost_is_looked_for_in_the_log_that_was_cut(tmp_path: Path) -> None:
    """A log is saved, cut, saved again and then lost: the log after it has these offsets too, and all of them count."""
    first, second = made_up(1, 600, BEGIN, Mix()), made_up(2, 600, BEGIN, Mix())
    whole = _saved(tmp_path / "1.parquet", first)
    cut = _saved(
        tmp_path / "2.parquet", [e for e in first if (e.topic, e.partition) != ("user-events", 0) or e.offset >= 9]
    )
    with connect() as db:
        fill(db, second)
        add_earlier(db, cut)
        log = add_earlier(db, whole)["user-events", 0]
        expect(db, [("user-events", 0, log, 4, 9)])
        lost = db.execute("SELECT log, list(off ORDER BY off) FROM outcome WHERE word = 'lost' GROUP BY log").fetchall()
        assert lost == [(-1, [4, 5, 6, 7, 8])]
        assert db.execute("SELECT count(*) FROM rec").fetchone() == (1200,)


def test_a_loss_belongs_to_one_log(tmp_path: Path) -> None:
    """The log after it was cut as well, further on: what lay at these offsets there was counted before it went."""
    first, second = made_up(1, 600, BEGIN, Mix()), made_up(2, 600, BEGIN, Mix())

    def beyond(entries: list[Entry], offset: int) -> list[Entry]:
        return [e for e in entries if (e.topic, e.partition) != ("user-events", 0) or e.offset >= offset]

    older = _saved(tmp_path / "1.parquet", first), _saved(tmp_path / "2.parquet", beyond(first, 9))
    newer = _saved(tmp_path / "3.parquet", second)
    with connect() as db:
        fill(db, beyond(second, 15))
        logs = [add_earlier(db, path)["user-events", 0] for path in (newer, *reversed(older))]
        assert logs == [0, -1, -1]
        expect(db, [("user-events", 0, logs[2], 4, 9), ("user-events", 0, logs[0], 12, 15)])
        lost = db.execute("SELECT log, list(off ORDER BY off) FROM outcome WHERE word = 'lost' GROUP BY log").fetchall()
        assert sorted(lost) == [(-1, [4, 5, 6, 7, 8]), (0, [12, 13, 14])]


def test_a_new_log_may_end_before_the_place_where_the_old_one_was_cut(tmp_path: Path) -> None:
    """No offset is in both, so no record differs; but a log that was cut never begins earlier again."""
    first, second = made_up(1, 900, BEGIN, Mix()), made_up(2, 60, BEGIN, Mix())
    cut = [entry for entry in first if entry.offset >= 40]
    assert max(entry.offset for entry in second) < 40
    with connect() as db:
        fill(db, second)
        add_earlier(db, _saved(tmp_path / "cut.parquet", cut))
        add_earlier(db, _saved(tmp_path / "whole.parquet", first))
        found = db.execute("SELECT log, count(*), sum(cut::INTEGER) FROM rec GROUP BY log ORDER BY log").fetchall()
        assert found == [(-1, 900, 900 - len(cut)), (0, 60, 0)]


def test_records_lost_before_they_were_read_count_nowhere(tmp_path: Path) -> None:
    """`--lost` names the offsets; log time and the highest event time do not know them either."""
    entries = [entry for entry in made_up(1, 900, BEGIN, Mix()) if entry.topic == "cost-events"]
    path = _saved(tmp_path / "before.parquet", entries)
    here = [entry for entry in entries if entry.partition != 0 or entry.offset >= 20]
    with connect() as db:
        fill(db, here)
        add_earlier(db, path)
        expect(db, [("cost-events", 0, 0, 5, 20)])
        assert db.execute("SELECT count(*) FROM outcome WHERE word = 'lost'").fetchone() == (15,)
        found = _windows(db)
    rest = [e for e in entries if e.partition != 0 or not 5 <= e.offset < 20]
    truth = compute(Record(e.topic, e.partition, e.offset, e.timestamp, e.value) for e in rest)
    assert {key: row[:3] for key, row in found.items()} == truth.windows
