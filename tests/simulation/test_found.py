"""What the simulator has found in the product, each as the shortest history by hand."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schemas import internal, topics
from streamproc.agents.holes import MAX_SEEK_BACKS
from streamproc.sinks.lost_offsets_store import NOT_COUNTED
from tests.simulation import faults, rest, virtual
from tests.simulation.patches import simulated
from tests.simulation.scripted import TOPIC, Script


@pytest.fixture
def script() -> Iterator[Script]:
    yield from _scripted(TOPIC)


@pytest.fixture
def spending() -> Iterator[Script]:
    yield from _scripted(topics.COST_EVENTS)


def _scripted(topic: str) -> Iterator[Script]:
    with simulated():
        made = Script(topic)
        yield made
        for process in made.world.processes:
            process.loop.kill()


def _lose_snapshots(script: Script) -> None:
    for name, log in script.world.broker.logs.items():
        if name[0] == topics.WINDOW_STATE:
            log.trim(log.next_offset)


def test_a_flush_that_a_stop_gives_up_is_finished_before_the_next_snapshot(script: Script) -> None:
    """The broker refuses a flush, SIGTERM gives it up after 3 s, and the broker is back for the last one: what was cut
    first must be sent before a snapshot says so. Otherwise nobody ever sends it."""
    process = script.start()
    script.append(3)
    script.fetch(process)
    process.stop()
    process.loop.run_ready(1000)
    assert script.fail_requests(process) >= 1
    script.fire(process, "stop")  # settling took too long
    rest.drain(script.world, process)
    rest.fire(script.world, process, lambda owner: True)
    assert not process.alive
    script.settle()
    assert script.counted() == 3
    assert script.check() == []


def test_a_log_is_the_same_though_its_first_record_was_deleted(script: Script) -> None:
    """No snapshot is whole, and retention has deleted the log's first records: what is still there was counted before,
    and must not count again under another identity."""
    process = script.start()
    script.append(6)
    script.settle()
    assert script.counted() == 6
    script.world.bury(process)
    _lose_snapshots(script)
    script.world.broker.logs[TOPIC, 0].trim(2)
    script.start()
    script.settle()
    script.append(1)
    script.settle()
    # What was deleted had been sent, and counts on.
    assert script.counted() == 7


def test_a_log_lost_before_its_first_batch_is_another_one(script: Script) -> None:
    """Restored from the beginning, nothing folded yet, and the topic is made again: the new log is another source."""
    process = script.start()
    script.append(3)
    script.settle()
    script.world.bury(process)
    _lose_snapshots(script)
    process = script.start()
    assert faults.recreate_topic(script.world)
    script.append(2)
    script.fetch(process)
    script.settle()
    assert script.counted() == 5
    assert script.check() == []


def test_a_hole_is_proven_again_when_the_broker_did_not_answer(script: Script) -> None:
    """A transaction marker leaves a hole, and the log cannot be read just then: no reason to end the process."""
    process = script.start()
    script.append(1)
    script.fetch(process)
    script.world.broker.logs[TOPIC, 0].next_offset += 1
    script.append(1)
    script.world.slow_reads = 1.0
    process.fetch(TOPIC, 1000)
    process.loop.run_ready(1000)
    assert script.fail_requests(process) == 1
    script.world.slow_reads = 0.0
    script.settle()
    assert process.alive
    assert script.counted() == 2
    assert script.check() == []


def test_a_consumer_at_a_wrong_position_goes_back(script: Script) -> None:
    """The fetch begins two records ahead of what is due, of events and of cells: both are read from where they were due."""
    process = script.start()
    for topic in (TOPIC, topics.WINDOW_PARTIALS):
        script.append(1)
        script.fetch(process)
        script.settle()
        script.append(3)
        places = [tp for tp in process.positions if tp[0] == topic]
        for tp in places:
            process.positions[tp] += 2
        script.fetch(process)
        script.settle()
        assert process.alive
    assert script.counted() == 8
    assert script.check() == []


def test_a_position_that_stays_wrong_ends_the_process(script: Script) -> None:
    """Seeking back does not help: after five times another process has to."""
    process = script.start()
    process.seek_back = lambda tp, offset: None  # type: ignore[method-assign]
    script.append(8)
    process.positions[TOPIC, 0] = 1
    for _ in range(MAX_SEEK_BACKS):
        process.fetch(TOPIC, 1)
        process.loop.run_ready(1000)
        assert process.alive and not process.loop.ended
    process.fetch(TOPIC, 1)
    process.loop.run_ready(1000)
    assert "offset 6 came where 0 was due, again and again" in process.loop.ended


@pytest.mark.parametrize("answers", range(10))
def test_a_log_is_the_same_though_retention_comes_amid_its_restore(script: Script, answers: int) -> None:
    """Whether the record of the snapshot is still there is two questions: where the log begins, and what lies there. With
    retention between them the log counted as a new one, and who had restored it before had its records under the old."""
    process = script.start()
    script.append(6)
    script.settle()
    script.world.bury(process)
    script.append(4)
    script.world.slow_reads = 1.0
    process = script.world.start_process()
    process.widen()
    process.rejoin()
    process.loop.run_ready(1000)
    for _ in range(answers):
        assert script.answer(process)
    script.world.broker.logs[TOPIC, 0].trim(8)
    script.world.slow_reads = 0.0
    script.settle()
    assert len(script.sources()) == 1
    assert script.counted() == 8


def test_a_total_is_shown_though_worker_and_log_die_between_its_cells_and_its_value(spending: Script) -> None:
    """ClickHouse has taken the cells of a video's cost, the worker is killed before it sends the total, and the broker
    loses its log (a machine that goes down with the embedded one): no cell is read again, and nobody touches the video."""
    process = spending.start()
    spending.settle()
    virtual.clock.ms += 600_000  # a young Redis is filled with all that is stored
    spending.append(1)
    spending.fetch(process)
    spending.fire(process, "flush")
    while not any(key[3] == "all" for key in spending.world.clickhouse.cells):
        if not spending.answer(process):
            spending.fire(process, "emit")
    assert not spending.totals()
    spending.world.processes.remove(process)
    process.vanish()
    assert faults.lose_broker(spending.world)
    spending.start()
    spending.settle()
    assert spending.totals() == {"1": 0.01}


def test_a_total_that_waits_to_be_judged_is_judged_by_the_next_worker(spending: Script) -> None:
    """A worker has stored a video's total and does not know its alerts yet (gold.alerts cannot be read for a while). It is
    killed before it has judged the total, which nobody touches any more: window-partials must be read again from there."""
    process = spending.start()
    spending.settle()
    virtual.clock.ms += 600_000  # a young Redis is filled with all that is stored
    spending.world.bury(process)
    process = spending.start()
    spending.append(1)
    spending.fetch(process)
    for owner in ("flush", "load", "emit", "clickhouse", "merge report"):
        for _ in range(3):
            spending.fire(process, owner)
            rest.drain(spending.world, process)
            process.fetch("window-partials", 1000)
        virtual.clock.ms += 1000
    assert spending.totals() == {"1": 0.01}
    assert not spending.world.judged_values
    spending.world.bury(process)
    spending.start()
    spending.settle()
    assert spending.check() == []


def test_a_log_lost_between_the_fetch_of_its_first_batch_and_its_handling_is_another_one(script: Script) -> None:
    """The consumer goes on at its position, in a log that was filled beyond it meanwhile. That the first batch was of
    another log contradicted nothing, since nothing had been read before it; nor was the second one asked about."""
    process = script.start()
    script.append(1)
    assert process.fetch(TOPIC, 1)  # lies in the buffer
    assert faults.lose_broker(script.world)
    script.append(3)
    assert process.fetch(TOPIC, 2)
    process.loop.run_ready(1000)
    script.settle()
    # The old log's event was fetched and still counts; of the new one nothing is left out.
    assert len(script.sources()) == 2
    assert script.counted() == 4
    assert script.check() == []


def test_a_slow_answer_does_not_bring_back_windows_as_they_were(script: Script) -> None:
    """Redis was emptied, so stored windows are looked up; ClickHouse has read them, and its answer takes its time. Windows
    that were renewed, written and let go meanwhile came back as they were before, and rules judged them so."""
    process = script.start()
    script.append(4)
    script.settle()
    script.world.redis.empty(virtual.clock.ms)
    virtual.clock.ms += 10_000
    script.fire(process, "refill")
    assert script.answer(process)
    script.fire(process, "load")
    slow = next(request for request in process.requests if request.is_read and request.target == "clickhouse")
    process.requests.remove(slow)
    answer = slow.apply()
    script.append(4)
    script.fetch(process)
    script.fire(process, "flush")
    rest.drain(script.world, process)
    virtual.clock.ms += 1_800_000
    for owner in ("follow progress", "clock", "emit", "redis", "clickhouse", "clock"):
        script.fire(process, owner)
        rest.drain(script.world, process)
    script.world.resolve(slow, answer)
    rest.drain(script.world, process)
    script.settle()
    assert script.counted() == 8
    assert script.check() == []


def _saved_at_two_and_killed_at_five(script: Script) -> None:
    """Five events are counted, published and stored; the last snapshot has two of them."""
    process = script.start()
    for count in (2, 3):
        script.append(count)
        script.fetch(process)
        script.settle()
    logs = script.world.broker.logs.items()
    saved = [
        internal.decode_progress(r.value)
        for name, log in logs
        if name[0] == topics.WINDOW_PROGRESS
        for r in log.read(0, 99)
    ]
    assert max(each.offset for each in saved if each.kind == "snapshot") == 1
    script.world.bury(process)


@pytest.mark.parametrize("begins", [3, 5])
def test_what_was_published_counts_on_though_its_records_are_gone(script: Script, begins: int) -> None:
    """Retention passes the last snapshot of a killed worker, and even all that it had read: no value falls, and nothing
    is lost; what comes then counts on top."""
    _saved_at_two_and_killed_at_five(script)
    script.append(1)
    script.world.broker.logs[TOPIC, 0].trim(begins)
    script.start()
    script.settle()
    assert script.counted() == 6
    assert script.world.lost == []
    script.append(2)
    script.settle()
    assert script.counted() == 8
    assert script.world.problems == []


def test_only_what_was_in_no_cell_is_lost_and_has_a_row(script: Script) -> None:
    """Five were counted, three more came, and retention took all but the last: two are lost, and said to be."""
    _saved_at_two_and_killed_at_five(script)
    script.append(3)
    log = script.world.broker.logs[TOPIC, 0]
    log.trim(7)
    for _ in range(2):
        process = script.start()
        script.settle()
        assert script.counted() == 6
        assert script.world.lost == [(log, 5, 2)]
        script.world.bury(process)
    rows = [(row.topic, row.partition, row.first, row.last, row.reason) for row in script.world.lost_rows]
    assert rows == [(TOPIC, 0, 5, 6, NOT_COUNTED)]
    assert script.world.problems == []
