"""Dead letters: filters, masking, and replays that happen once."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from typer.testing import CliRunner

from schemas.topics import CDC_USERS
from streamproc.cli.main import build_app
from streamproc.clock import monotonic, now_ms
from streamproc.config import Settings, load_settings
from streamproc.deadletters.replay import SENT, STILL_INVALID, WOULD_SEND, Options, Outcome, replay
from streamproc.deadletters.show import mask, readable
from streamproc.deadletters.store import BEGUN, REPLAYED, UNCONFIRMED, WAITING, DeadLetterStore, Filters, Replay
from streamproc.kafka_topics import ensure_topics
from streamproc.sinks.sealing import unsealing
from tests.cdc.envelopes import encoded, envelope
from tests.ops.archive import Archived, archive, with_clickhouse
from tests.support.broker import Broker
from tests.support.clickhouse import ClickHouseHandle
from tests.support.events import USER_EVENTS, encode, user_event

T = TypeVar("T")


def _store(settings: Settings, act: Callable[[DeadLetterStore], Awaitable[T]]) -> T:
    return with_clickhouse(
        settings, lambda clickhouse: act(DeadLetterStore(clickhouse, unsealing(settings, clickhouse)))
    )


class Letters:
    """Letters of one test, told from others' by a word in their error."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.word = uuid.uuid4().hex
        self.log_id = uuid.uuid4().hex[:8]
        self.filters = Filters(error=self.word)
        self.count = 0

    def add(self, value: bytes, reason: str = "malformed", key: bytes = b"1", topic: str = USER_EVENTS) -> int:
        """Put one into the archive; its offset."""
        offset = self.count
        self.count += 1
        record = Archived(offset, now_ms(), value, key, reason, f"{self.word} at {offset}")
        archive(self.settings, topic, 3, self.log_id, [record])
        return offset

    def states(self) -> dict[int, str]:
        """Offset -> state."""
        letters = _store(self.settings, lambda store: store.letters(self.filters, 100))
        return {letter.place.offset: letter.state for letter in letters}

    def replay(self, options: Options) -> Outcome:
        """Replay this test's letters."""
        return _store(self.settings, lambda store: replay(self.settings, store, self.filters, options))


@pytest.fixture
def letters(clickhouse: ClickHouseHandle, broker: Broker) -> Letters:
    """No letters yet; topics of their own on a real broker."""
    prefix = f"t{uuid.uuid4().hex[:8]}."
    settings = load_settings(clickhouse_url=clickhouse.url, broker_url=broker.url, topic_prefix=prefix, partitions=2)
    asyncio.run(ensure_topics(settings))
    return Letters(settings)


def _received(settings: Settings, number: int) -> list[tuple[bytes, bytes, dict[str, bytes]]]:
    """(key, value, headers) of what lies in the topic, once there are `number`; a moment longer to see any excess."""

    async def read() -> list[tuple[bytes, bytes, dict[str, bytes]]]:
        consumer = AIOKafkaConsumer(bootstrap_servers=settings.bootstrap_servers, enable_auto_commit=False)
        await consumer.start()
        try:
            partitions = [TopicPartition(settings.topic(USER_EVENTS), part) for part in range(settings.partitions)]
            consumer.assign(partitions)
            await consumer.seek_to_beginning(*partitions)
            got: list[tuple[bytes, bytes, dict[str, bytes]]] = []
            deadline = monotonic() + 20
            while monotonic() < deadline:
                batch = await consumer.getmany(timeout_ms=200)
                if not batch and len(got) >= number:
                    break
                got += [(r.key, r.value, dict(r.headers)) for records in batch.values() for r in records]
            return got
        finally:
            await consumer.stop()

    return asyncio.run(read())


def test_filters_by_topic_error_time_and_event(letters: Letters) -> None:
    """Each filter alone finds the right letters."""
    event = user_event(now_ms(), user_id="x")
    letters.add(encode(event))
    letters.add(b"{", reason="too_large")
    settings = letters.settings

    def offsets(filters: Filters) -> list[int]:
        found = _store(settings, lambda store: store.letters(filters, 10_000))
        return [letter.place.offset for letter in found if letter.place.log_id == letters.log_id]

    assert offsets(Filters(topic=USER_EVENTS)) == [1, 0]
    assert offsets(Filters(topic="cost-events")) == []
    assert offsets(Filters(error="too_large")) == [1]
    assert offsets(Filters(error=letters.word.upper())) == [1, 0]
    assert offsets(Filters(event_id=event["event_id"].upper())) == [0]
    assert offsets(Filters(since_ms=now_ms() + 60_000)) == []
    found = _store(settings, lambda store: store.at(USER_EVENTS, 3, 0, letters.log_id))
    assert (found[0].event_id, found[0].payload, found[0].state) == (event["event_id"], encode(event), WAITING)


def test_class_and_words_are_told_apart_in_either_column(letters: Letters) -> None:
    """The windows role writes the class as `error`, other writers as `reason`: both read the same."""
    record = Archived(0, now_ms(), b"{", b"1", f"{letters.word}: not strict JSON", "malformed")
    archive(letters.settings, USER_EVENTS, 3, letters.log_id, [record])
    found = _store(letters.settings, lambda store: store.letters(letters.filters, 10))
    assert [(letter.reason, letter.error) for letter in found] == [("malformed", f"{letters.word}: not strict JSON")]


def test_replay_sends_each_letter_once(letters: Letters) -> None:
    """Bytes, key and a header that says whence; a dry run sends nothing; a second replay neither."""
    value = encode(user_event(now_ms()))
    letters.add(value, reason="future_event", key=b"7")
    assert letters.replay(Options(dry_run=True)).letters == {("future_event", WOULD_SEND): 1}
    assert letters.states() == {0: WAITING}
    assert letters.replay(Options()).letters == {("future_event", SENT): 1}
    assert letters.states() == {0: REPLAYED}
    assert not letters.replay(Options()).letters
    received = _received(letters.settings, 1)
    assert [(key, got) for key, got, _ in received] == [(b"7", value)]
    assert received[0][2] == {"replayed_from": f"user-events/3/{letters.log_id}/0".encode()}


def test_letters_of_changes_are_judged_as_changes(letters: Letters) -> None:
    """Whoever reads their topic would take one of them now."""
    letters.add(b'{"op": "u"}', topic=CDC_USERS)
    letters.add(encoded(envelope("d", before={"id": 1})), topic=CDC_USERS)
    outcomes = letters.replay(Options(dry_run=True)).letters
    assert outcomes == {("malformed", WOULD_SEND): 1, ("malformed", STILL_INVALID): 1}


def test_letters_that_would_come_back_stay_unless_mended_or_wanted(letters: Letters) -> None:
    """--set mends JSON; text that is no JSON needs --send-invalid, and gets no key."""
    letters.add(encode(user_event(now_ms(), schema_version="2.0.0", user_id=9)), reason="unknown_version", key=b"")
    letters.add(b"\xff\xfe", key=b"")
    assert letters.replay(Options()).number(STILL_INVALID) == 2
    outcome = letters.replay(Options(changes={"schema_version": "1.0.0"}))
    assert (outcome.number(SENT), outcome.number(STILL_INVALID)) == (1, 1)
    assert letters.replay(Options(send_invalid=True)).number(SENT) == 1
    assert letters.states() == {0: REPLAYED, 1: REPLAYED}
    received = sorted(_received(letters.settings, 2), key=lambda row: row[1])
    assert [key for key, _, _ in received] == [b"9", None]


def test_a_replay_that_was_begun_and_not_done_needs_a_word(letters: Letters) -> None:
    """As after a kill between sending and the acknowledgement: nobody knows, so a person decides."""
    letters.add(encode(user_event(now_ms())), reason="future_event")
    place = _store(letters.settings, lambda store: store.letters(letters.filters, 1))[0].place
    begun = [Replay(place, USER_EVENTS, 0, UNCONFIRMED)]
    _store(letters.settings, lambda store: store.record(begun, now_ms(), "test"))
    assert letters.states() == {0: BEGUN}
    assert not letters.replay(Options()).letters
    assert letters.replay(Options(retry_begun=True)).number(SENT) == 1
    assert letters.states() == {0: REPLAYED}


def test_pages_go_through_more_letters_than_one_page(letters: Letters) -> None:
    """1,200 letters in pages of 500, each once, within the limit."""
    records = [
        Archived(i, now_ms(), encode(user_event(now_ms())), b"1", "future_event", f"{letters.word} {i}")
        for i in range(1200)
    ]
    archive(letters.settings, USER_EVENTS, 3, letters.log_id, records)
    assert letters.replay(Options(limit=700)).number(SENT) == 700
    assert letters.replay(Options()).number(SENT) == 500
    assert len({got for _, got, _ in _received(letters.settings, 1200)}) == 1200


def test_commands_from_the_outside(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    """list, show, replay through the command line, with exit codes and masked personal fields."""
    value = encode(user_event(now_ms(), ip_address="192.0.2.1", email="a@example.org"))
    letters.add(value, reason="future_event")
    monkeypatch.setenv("STREAMPROC_CLICKHOUSE_URL", letters.settings.clickhouse_url.get_secret_value())
    monkeypatch.setenv("STREAMPROC_BROKER_URL", letters.settings.broker_url)
    monkeypatch.setenv("STREAMPROC_TOPIC_PREFIX", letters.settings.topic_prefix)
    monkeypatch.setenv("COLUMNS", "200")
    run = CliRunner()
    app = build_app()
    listed = run.invoke(app, ["dead-letters", "list", "--error", letters.word])
    assert listed.exit_code == 0
    assert "future_event" in listed.output
    assert "1 of 1 shown" in listed.output
    shown = run.invoke(app, ["dead-letters", "show", USER_EVENTS, "3", "0", "--log-id", letters.log_id])
    assert "192.0.2.1" not in shown.output
    assert "a@example.org" not in shown.output
    assert '"user_id": 1' in shown.output
    raw = run.invoke(app, ["dead-letters", "show", USER_EVENTS, "3", "0", "--log-id", letters.log_id, "--raw"])
    assert value.decode() in raw.output
    replayed = run.invoke(app, ["dead-letters", "replay", "--error", letters.word])
    assert "1 sent, 0 not acknowledged" in replayed.output
    again = run.invoke(app, ["dead-letters", "replay", "--error", letters.word])
    assert "0 sent" in again.output
    assert run.invoke(app, ["dead-letters", "show", USER_EVENTS, "3", "99", "--log-id", letters.log_id]).exit_code == 1


def test_an_unreachable_broker_fails_before_anything_is_recorded(letters: Letters) -> None:
    """The letter stays waiting."""
    letters.add(encode(user_event(now_ms())), reason="future_event")
    away = load_settings(
        clickhouse_url=letters.settings.clickhouse_url.get_secret_value(), broker_url="kafka://127.0.0.1:1"
    )
    with pytest.raises(Exception, match="broker_unavailable"):
        _store(away, lambda store: replay(away, store, letters.filters, Options()))
    assert letters.states() == {0: WAITING}


def test_masking_reaches_every_depth_and_text_that_is_no_json() -> None:
    """E-mail and IP fields in JSON; addresses in other text; other values stay."""
    assert mask({"a": [{"email": "x@y.z", "ip_address": None, "n": 1}]}) == {
        "a": [{"email": "***", "ip_address": None, "n": 1}]
    }
    text = readable(b"\xff user a@example.org from 192.0.2.1")
    assert "example.org" not in text
    assert "192.0.2.1" not in text
    assert "\\xff user" in text
