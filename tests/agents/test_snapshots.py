"""Snapshots: many id segments, states of many chunks, and a state that goes on exactly where it was saved."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from schemas import internal
from schemas.results import Cell
from streamproc.agents import flush, snapshots
from streamproc.agents.aggregate import Aggregator
from streamproc.agents.flush import Flusher
from streamproc.agents.messages import CHUNK_BYTES
from streamproc.agents.poison import PoisonGuard
from streamproc.agents.publisher import Message, Publisher
from streamproc.agents.restore import SourceRestorer
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import RetryableError
from streamproc.kafka_topics import ensure_topics
from tests.support.broker import Broker, start_broker
from tests.support.events import encode, user_event
from tests.support.stack import produce, read_all

TOPIC = "user-events"
NOW = 1_795_341_600_000


@pytest.fixture
def broker() -> Iterator[Broker]:
    handle = start_broker()
    yield handle
    handle.discard()


class Bench:
    """Stage 1 of a worker without Faust: its own broker, topics and clients."""

    def __init__(self, settings: Settings) -> None:
        self.aggregator = Aggregator(settings, lambda *_: None)
        self.publisher = Publisher(settings.bootstrap_servers)
        self.flusher = Flusher(settings, self.aggregator, self.publisher)
        self.restorer = SourceRestorer(settings, self.aggregator)

    def state(self) -> Any:
        state = self.aggregator.runtimes[TOPIC, 0].state
        assert state is not None
        return state


async def _records(broker: Broker, partition: int = 0) -> list[Any]:
    found = [r for r in await read_all(broker.bootstrap, [TOPIC]) if r.partition == partition]
    return [
        SimpleNamespace(offset=r.offset, timestamp=r.kafka_timestamp_ms, key=b"1", value=r.value, topic=TOPIC)
        for r in sorted(found, key=lambda r: r.offset)
    ]


def _same(state: Any, other: Any) -> None:
    assert state.offset == other.offset
    assert {k: s.acc.to_bytes() for k, s in state.cells.items()} == {
        k: s.acc.to_bytes() for k, s in other.cells.items()
    }
    assert len(state.ids) == len(other.ids)


def test_more_segments_than_are_kept_are_written_anew_and_all_ids_are_known_again(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """150 snapshots of a few events each; after a restore every earlier id is still a duplicate."""
    monkeypatch.setattr(snapshots, "_MAX_SEGMENTS", 64)

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=1, snapshot_interval_s=0.001)
        await ensure_topics(settings)
        events = [encode(user_event(NOW + n, user_id=n)) for n in range(450)]
        await produce(broker.bootstrap, [(TOPIC, b"1", event) for event in events])
        records = await _records(broker)
        first = Bench(settings)
        await first.publisher.start()
        await first.restorer.restore({(TOPIC, 0)})
        for at in range(0, 450, 3):
            await first.aggregator.handle(TOPIC, 0, records[at : at + 3])
            await first.flusher.flush(everything=True)
        assert len(first.aggregator.runtimes[TOPIC, 0].ids) <= 66
        second = Bench(settings)
        assert await second.restorer.restore({(TOPIC, 0)}) == {(TOPIC, 0): 450}
        _same(second.state(), first.state())
        await produce(broker.bootstrap, [(TOPIC, b"1", event) for event in events])
        before = second.state().max_event_ms
        await second.aggregator.handle(TOPIC, 0, (await _records(broker))[450:])
        counted = sum(s.acc.n for k, s in second.state().cells.items() if k[:4] == ("user_events", "", "", 0))
        assert counted == 450
        assert second.state().max_event_ms == before
        await first.publisher.stop()

    asyncio.run(act())


def test_a_state_of_several_chunks_and_cells_over_several_messages(broker: Broker) -> None:
    """60,000 scattered users make sets and ids larger than a chunk."""

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=1)
        await ensure_topics(settings)
        users = [((n * 2_654_435_761) % 2**40) for n in range(60_000)]
        events = [encode(user_event(NOW + n // 100, user_id=user)) for n, user in enumerate(users)]
        await produce(broker.bootstrap, [(TOPIC, b"1", event) for event in events])
        records = await _records(broker)
        first = Bench(settings)
        await first.publisher.start()
        await first.restorer.restore({(TOPIC, 0)})
        await first.aggregator.handle(TOPIC, 0, records)
        await first.flusher.flush(everything=True)
        saved = first.aggregator.runtimes[TOPIC, 0].saved
        assert saved is not None
        assert len(saved.state_offsets) >= 2
        assert len(saved.ids) == -(-len(records) * 24 // (CHUNK_BYTES // 24 * 24))
        second = Bench(settings)
        began = monotonic()
        assert await second.restorer.restore({(TOPIC, 0)}) == {(TOPIC, 0): len(records)}
        assert monotonic() - began < 10
        _same(second.state(), first.state())
        partials = [
            internal.decode_partials(r.value or b"") for r in await read_all(broker.bootstrap, ["window-partials"])
        ]
        assert {p.offset for p in partials} == {len(records) - 1}
        assert sum(len(p.cells) for p in partials) == len(first.state().cells)
        await first.publisher.stop()

    asyncio.run(act())


def test_a_snapshot_whose_messages_are_gone_is_not_used(broker: Broker) -> None:
    """The pointer is right and the chunk is not there: everything is read again instead."""

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=1)
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"1", encode(user_event(NOW)))])
        records = await _records(broker)
        first = Bench(settings)
        await first.publisher.start()
        await first.restorer.restore({(TOPIC, 0)})
        await first.aggregator.handle(TOPIC, 0, records)
        await first.flusher.flush(everything=True)
        runtime = first.aggregator.runtimes[TOPIC, 0]
        assert runtime.saved is not None
        runtime.saved.state_offsets = [999]
        await first.publisher.send_all([first.flusher._messages.of_progress(runtime.saved)])
        second = Bench(settings)
        assert await second.restorer.restore({(TOPIC, 0)}) == {(TOPIC, 0): 0}
        await second.aggregator.handle(TOPIC, 0, records)
        _same(second.state(), first.state())
        await first.publisher.stop()

    asyncio.run(act())


_BAD_CELL = Cell("user_events", "", "", "1m", NOW - NOW % 60_000, "user-events/0/x", 49, b"\xff")
_BAD_CELLS = internal.encode(internal.SavedState("user-events/0/x", 49, NOW, NOW, {}, [_BAD_CELL]))


@pytest.mark.parametrize("damage", [b"\x96\xa1\xff", b"\x93\x01", _BAD_CELLS, None])
def test_a_snapshot_that_cannot_be_read_is_passed_by(broker: Broker, damage: bytes | None) -> None:
    """Its state is damaged or deleted: the log is read again from its beginning, and counts the same."""

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=1)
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"1", encode(user_event(NOW + n, user_id=n))) for n in range(50)])
        records = await _records(broker)
        first = Bench(settings)
        await first.publisher.start()
        await first.restorer.restore({(TOPIC, 0)})
        await first.aggregator.handle(TOPIC, 0, records)
        await first.flusher.flush(everything=True)
        saved = first.aggregator.runtimes[TOPIC, 0].saved
        assert saved is not None
        await produce(broker.bootstrap, [("window-state", b"", damage)])
        held = [r.offset for r in await read_all(broker.bootstrap, ["window-state"])]
        spoiled = msgspec.structs.replace(saved, state_offsets=[max(held)])
        await produce(broker.bootstrap, [("window-progress", b"", internal.encode(spoiled))])
        second = Bench(settings)
        assert await second.restorer.restore({(TOPIC, 0)}) == {(TOPIC, 0): 0}
        await second.aggregator.handle(TOPIC, 0, records)
        _same(second.state(), first.state())
        await first.publisher.stop()

    asyncio.run(act())


def test_nothing_is_saved_while_cells_hold_records_that_are_still_to_be_read(broker: Broker) -> None:
    """Retention took records 0 to 2, cells sent before hold 0 to 4: a state saved at 2 would count 3 and 4 again."""

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=1)
        await ensure_topics(settings)
        await produce(broker.bootstrap, [(TOPIC, b"1", encode(user_event(NOW + n, user_id=n))) for n in range(6)])
        records = await _records(broker)
        first = Bench(settings)
        await first.restorer.restore({(TOPIC, 0)})
        await first.aggregator.handle(TOPIC, 0, records[:5])
        sent = {key: (4, slot.acc) for key, slot in first.state().cells.items()}

        second = Bench(settings)
        await second.publisher.start()
        await second.restorer.restore({(TOPIC, 0)})
        runtime = second.aggregator.runtimes[TOPIC, 0]
        second.state().go_on_after(2, sent, NOW, NOW)
        await second.flusher.flush(everything=True)
        assert runtime.saved is None
        await second.aggregator.handle(TOPIC, 0, records[3:])
        await second.flusher.flush(everything=True)
        assert runtime.saved is not None
        assert runtime.saved.offset == 5
        third = Bench(settings)
        assert await third.restorer.restore({(TOPIC, 0)}) == {(TOPIC, 0): 6}
        counted = sum(s.acc.n for k, s in third.state().cells.items() if k[:4] == ("user_events", "", "", 0))
        assert counted == 6
        await second.publisher.stop()

    asyncio.run(act())


def test_with_much_unsaved_the_sources_with_the_most_are_saved_early_and_all_at_once(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart must not fold a minute of records again because snapshots are a minute apart."""
    monkeypatch.setattr(flush, "_MAX_UNSAVED", 60)

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=5, snapshot_interval_s=3600)
        await ensure_topics(settings)
        sizes = [5, 40, 10, 20, 30]
        bench = Bench(settings)
        await bench.publisher.start()
        await bench.restorer.restore({(TOPIC, n) for n in range(5)})
        for number, size in enumerate(sizes):
            events = [encode(user_event(NOW + n, user_id=n, event_id=f"{number}-{n}")) for n in range(size)]
            records = [
                SimpleNamespace(offset=n, timestamp=NOW, key=b"1", value=event, topic=TOPIC, headers=())
                for n, event in enumerate(events)
            ]
            bench.aggregator.runtime(TOPIC, number).open(f"log{number}", settings.dedup_horizon_ms)
            await bench.aggregator.handle(TOPIC, number, records)
        for runtime in bench.aggregator.runtimes.values():
            runtime.save_due_s = monotonic() + 3600
        await bench.flusher.flush()
        assert bench.flusher._saving is not None
        await bench.flusher._saving
        saved = {name[1]: runtime.saved_offset for name, runtime in bench.aggregator.runtimes.items()}
        assert saved == {0: -1, 1: 39, 2: -1, 3: 19, 4: 29}
        # Now there is little to fold again.
        await bench.flusher.flush()
        assert {name[1]: runtime.saved_offset for name, runtime in bench.aggregator.runtimes.items()} == saved
        await bench.publisher.stop()

    asyncio.run(act())


def test_a_restore_that_fails_midway_and_is_tried_again_knows_the_poison_of_all(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sources, a poison record each. The first try fails after one source: the second finds that one restored, and
    knew nothing of its poison."""

    async def act() -> None:
        settings = Settings(broker_url=broker.url, partitions=2)
        await ensure_topics(settings)
        names = [(TOPIC, 0), (TOPIC, 1)]
        first = Bench(settings)
        await first.publisher.start()
        events = [encode(user_event(NOW, user_id=n)) for n in range(20)]
        await first.publisher.send_all([Message(TOPIC, n % 2, b"1", event) for n, event in enumerate(events)])
        await first.restorer.restore(set(names))
        for name in names:
            await first.aggregator.handle(*name, await _records(broker, name[1]))
        await first.flusher.flush(everything=True)
        for name in names:
            saved = first.aggregator.runtimes[name].saved
            assert saved is not None
            saved.poison = [1]
            await first.publisher.send_all([first.flusher._messages.of_progress(saved)])

        second = Bench(settings)
        await second.publisher.start()
        second.restorer = SourceRestorer(
            settings, second.aggregator, PoisonGuard(settings, "windows", second.publisher)
        )
        load = SourceRestorer._load
        calls: list[int] = []

        def fail_once(self: SourceRestorer, *args: Any) -> bool:
            calls.append(1)
            if len(calls) == 2:
                raise RetryableError("down", "for the test")
            return load(self, *args)

        monkeypatch.setattr(SourceRestorer, "_load", fail_once)
        with pytest.raises(RetryableError):
            await second.restorer.restore(set(names))
        await second.restorer.restore(set(names))
        assert len(calls) == 3
        assert [second.aggregator.runtimes[name].care.poison for name in names] == [{1}, {1}]
        written = [
            internal.decode_progress(r.value or b"") for r in await read_all(broker.bootstrap, ["window-progress"])
        ]
        assert sorted(p.partition for p in written if p.kind == "begun") == [0, 1]
        for each in (first, second):
            await each.publisher.stop()

    asyncio.run(act())
