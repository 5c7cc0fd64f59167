"""What must hold although records were lost: with their topic, with the broker, or to retention."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any, Final

from schemas import internal, topics
from streamproc.agents.log_reader import log_identity
from tests.simulation import oracle
from tests.simulation.broker import Log
from tests.simulation.compare import Logs, equal, stored
from tests.simulation.oracle import Place, Value
from tests.simulation.world import World

_MOST_HOLES: Final = 3


def recorded_before_loss(world: World, log: Log) -> int:
    """What of a lost log must have been handed over: nothing if the internal topics were lost with it."""
    if "broker lost its logs" in world.faults:
        return -1
    return log.recorded


class Included:
    """Which events of lost logs are in stored cells: each says up to which offset it includes its source."""

    def __init__(self, world: World, logs: Logs) -> None:
        self._world = world
        self._logs = logs
        # Two partitions may begin with the same record.
        by_source = {(*log.name, log_identity(record)): log for log, _ in logs for record in log.everything}
        self._versions: dict[tuple[Log, Place, int], int] = {}
        for key, parts in world.clickhouse.cells.items():
            for (start, source), cell in parts.items():
                topic, partition, log_id = source.rsplit("/", 2)
                log = by_source.get((topic, int(partition), log_id))
                if log is None:
                    world.problem(f"a cell of an unknown log: {source}")
                    continue
                self._versions[log, key, start if key[3] == "all" else 0] = cell.version  # type: ignore[index]  # a place

    def __call__(self, log: Log, place: Place, event: oracle.Counted) -> bool:
        if log.lost_ms < 0:
            return True
        part = event.log_minute_ms if place[3] == "all" else 0
        return event.offset <= self._versions.get((log, place, part), -1)

    def check(self) -> None:
        """What was recorded as progress before a topic was made again is counted for ever."""
        for log, judged in self._logs:
            until = recorded_before_loss(self._world, log) if log.lost_ms >= 0 else -1
            for event in judged.counted:
                for place, _, _ in event.places:
                    if event.offset <= until and not self(log, place, event):
                        self._world.problem(f"{log.name} offset {event.offset} of a lost log is not in {place}")


def check_overtaken(world: World, logs: Logs) -> None:
    """Records were deleted before they were read: each stored value is that of the whole log up to some offset, or of
    one without reported holes. (Who had read them before writes the former, who came later the latter.) A value that had
    all of what was sent is never replaced by one with less: `test_found.py` has that."""
    gaps: dict[Log, set[tuple[int, int]]] = {}
    for log, first, count in world.lost:
        gaps.setdefault(log, set()).add((first, first + count))
    for topic in world.sources:
        mine = [(log, judged) for log, judged in logs if log.name[0] == topic]
        holes = sorted(gaps.get(mine[0][0], ()))
        if len(mine) > 1 or len(holes) > _MOST_HOLES:
            continue
        log = mine[0][0]
        possible: dict[Place, set[Value]] = {}
        wrong: list[str] = []
        for readings in (_readings, _timeless_readings):
            _add_values(possible, readings(world, log, holes))
            wrong = [
                f"{name} is {found}, possible with holes {holes}: {possible.get(name)}"
                for name, found in stored(world).items()
                # An entity's parts are cells of their own, and each may be the one or the other.
                if _topic_of(name) == topic and name[3] != "all"
                if not any(equal(name, found, value) for value in possible.get(name, ()))
            ]
            if not wrong:
                break
        world.report(wrong)


def _add_values(possible: dict[Place, set[Value]], readings: Iterable[oracle.Judged]) -> None:
    """Each place's value after each event: of the events up to some offset, only the last one's places have new values."""
    for judged in readings:
        places: dict[Place, list[tuple[Any, bool]]] = defaultdict(list)
        for event in judged.counted:
            for place, payload, after in event.places:
                places[place].append((payload, after))
            for name, value in oracle.publish({place: places[place] for place, _, _ in event.places}).items():
                possible.setdefault(name, set()).add(value)


def _readings(world: World, log: Log, holes: list[tuple[int, int]]) -> Iterator[oracle.Judged]:
    """What can have been counted of a log that was cut, with each choice of the holes that were reported.

    What was deleted before anybody saw the log is not reported: it may have been read years ago. Where somebody had sent
    it as cells it counts on, but its ids are forgotten, as far as no snapshot has them.
    """
    sent = _versions_sent(world, log) if holes else set()
    for begin, chosen in itertools.product(set(log.trims), range(1 << len(holes))):
        for out in _shrunk([hole for i, hole in enumerate(holes) if chosen >> i & 1], sent):
            kept = [r for r in log.everything if not any(first <= r.offset < end for first, end in out)]
            yield oracle.judge(log.name[0], [r for r in kept if r.offset >= begin], world.measures)
            for saved in range(begin):
                yield oracle.judge(log.name[0], kept, world.measures, (saved, begin))


def _timeless_readings(world: World, log: Log, holes: list[tuple[int, int]]) -> Iterator[oracle.Judged]:
    """As `_readings`, where who goes on knows log time and event time of an earlier offset only: cells of what was deleted
    were sent, and who had sent them was killed before the record of its progress. Records up to what such a cell
    includes are read again: they count as they did, and which ids come again is judged anew."""
    sent = _versions_sent(world, log)
    for chosen in range(1 << len(holes)):
        for out in _shrunk([hole for i, hole in enumerate(holes) if chosen >> i & 1], sent):
            kept = [r for r in log.everything if not any(first <= r.offset < end for first, end in out)]
            first_time = oracle.judge(log.name[0], kept, world.measures)
            for end in {*log.trims, *(end for _, end in out)}:
                for saved, known in itertools.product(range(-1, end), repeat=2):
                    if known > saved:
                        continue
                    again = oracle.judge(log.name[0], kept, world.measures, (saved + 1, end), known)
                    yield again
                    for version in sent:
                        if version >= end:
                            before = [event for event in first_time.counted if event.offset <= version]
                            yield again._replace(counted=before + [e for e in again.counted if e.offset > version])


def _shrunk(holes: list[tuple[int, int]], sent: set[int]) -> Iterator[list[tuple[int, int]]]:
    """These holes, and with one of them beginning later: behind the offset that a cell sent before it says it includes.

    A hole is reported from the last progress record on, written once a second: cells sent after it count on, but nobody
    can prove that all of their flush were sent.
    """
    yield holes
    for i, (first, end) in enumerate(holes):
        for begin in sorted(version + 1 for version in sent if first <= version < end):
            yield [*holes[:i], (begin, end), *holes[i + 1 :]]


def _versions_sent(world: World, log: Log) -> set[int]:
    """Up to where the cells that any worker has sent of a partition include it."""
    topic, partition = log.name
    versions: set[int] = set()
    for sent in world.broker.history:
        if sent.name[0] == topics.WINDOW_PARTIALS:
            for record in sent.everything:
                partials = internal.decode_partials(record.value or b"")
                if partials.source.startswith(f"{topic}/{partition}/"):
                    versions.update(cell.version for cell in partials.cells)
    return versions


def _topic_of(name: Place) -> str:
    if name[0] in ("active_users", "user_events") or name[0].startswith("api_"):
        return topics.USER_EVENTS
    return topics.COST_EVENTS if "cost" in name[0] else topics.VIDEO_STATUS
