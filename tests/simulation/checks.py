"""What must hold once everything has come to rest: every store against the oracle, and nothing left over."""

from __future__ import annotations

from collections import Counter
from typing import Final

from schemas import topics
from schemas.results import SIZES_MS
from tests.simulation import faults, oracle
from tests.simulation.compare import Logs, equal, stored
from tests.simulation.lost import Included, check_overtaken, recorded_before_loss
from tests.simulation.oracle import Place, Value
from tests.simulation.redis_check import wrong_in_redis
from tests.simulation.world import World


def check(world: World) -> None:
    """Compare with the oracle; what differs is added to the world's problems."""
    logs: Logs = [
        (log, oracle.judge(log.name[0], log.everything, world.measures))
        for log in world.broker.history
        if log.name[0] in topics.SOURCES
    ]
    exact = not world.lost and not any(kind in world.faults for kind in _INEXACT)
    _holes(world)
    _dead_letters(world, logs)
    _progress(world)
    if "retention overtakes" in world.faults:
        check_overtaken(world, logs)
        return
    if "old ClickHouse restored" in world.faults:
        _nothing_twice(world, logs)
        return
    included = None if exact else Included(world, logs)
    if included is not None:
        included.check()
    truth = oracle.publish(oracle.gather(logs, included))
    if exact:
        _conservation(world, logs)
    _compare(world, "ClickHouse", stored(world), truth)
    if "broker lost its logs" not in world.faults:
        # Else rules may have judged what no store has any more.
        judged = {name: Value(v.value, v.count, v.late) for name, v in world.judged_values.items()}
        _compare(world, "what rules judged", judged, truth)
    world.report(list(wrong_in_redis(world, truth)))


def _nothing_twice(world: World, logs: Logs) -> None:
    """ClickHouse has forgotten: what is published since may lack events, but no window holds more than the logs say."""
    truth = oracle.publish(oracle.gather(logs))
    for name, value in stored(world).items():
        if name not in truth or value.count > truth[name].count:
            world.problem(f"{name} is {value}, at most {truth.get(name)}")


_INEXACT: Final = frozenset(("broker lost its logs", "topic made again"))


def _compare(world: World, where: str, found: dict[Place, Value], truth: dict[Place, Value]) -> None:
    wrong: list[str] = []
    for name in () if found == truth else found.keys() | truth.keys():
        one, other = found.get(name), truth.get(name)
        if one != other and not equal(name, one, other):
            wrong.append(f"{where}: {'/'.join(map(str, name))} is {one}, must be {other}")
    world.report(wrong)


def _conservation(world: World, logs: Logs) -> None:
    """I1 and I2: each record is a dead letter, skipped, or counted; per size the counted ones are all in windows."""
    taken: Counter[tuple[str, str]] = Counter()
    for log, judged in logs:
        if len(judged.counted) + len(judged.dead) + judged.skipped != len(log.everything):
            world.problem(f"the oracle lost records of {log.name}")
        for event in judged.counted:
            taken.update((log.name[0], size) for size in {place[3] for place, _, _ in event.places})
    found: Counter[tuple[str, str]] = Counter()
    for name, value in world.clickhouse.values.items():
        if name[1] == "" and name[0] in _COUNTING:
            found[_COUNTING[name[0]][0], name[3]] += value.count
    for topic, measure in _COUNTING.values():
        if topic in world.sources and (world.measures is None or measure in world.measures):
            for size in SIZES_MS:
                if found[topic, size] != taken[topic, size]:
                    world.problem(f"{measure} {size} holds {found[topic, size]} events of {taken[topic, size]}")


#: Metrics that count every event: their topic and measure.
_COUNTING: Final = {
    "user_events": ("user-events", "user_events"),
    "total_cost_usd": ("cost-events", "total_cost"),
}


def _progress(world: World) -> None:
    """I6: at rest, what is recorded of each source is its log's end."""
    for log in world.source_logs():
        if log.length and log.everything[-1].offset >= log.start:
            recorded = faults.newest_offset(world, log, "")
            if recorded != log.everything[-1].offset:
                world.problem(f"progress of {log.name} is {recorded}, its last record {log.everything[-1].offset}")


def _holes(world: World) -> None:
    """I3: what the product reports as lost was really deleted before it came."""
    for log, _, count in world.lost:
        if "retention overtakes" not in world.faults:
            world.problem(f"{count} offsets of {log.name} were reported lost, and none was")
        elif not 0 < count <= log.start:
            world.problem(f"{count} offsets of {log.name} were reported lost, of {log.start} deleted")


def _dead_letters(world: World, logs: Logs) -> None:
    """Each bad record has its dead letter, with the same bytes and reason; repeats are told by their headers."""
    found: set[tuple[str, int, int, str, bytes]] = set()
    for log in world.broker.history:
        if log.name[0] == topics.DEAD_LETTERS:
            for record in log.everything:
                head = dict(record.headers)
                place = (head["topic"].decode(), int(head["partition"]), int(head["offset"]))
                found.add((*place, head["reason"].decode(), record.value or b""))
    due: set[tuple[str, int, int, str, bytes]] = set()
    possible: set[tuple[str, int, int, str, bytes]] = set()
    for log, judged in logs:
        values = {record.offset: record.value or b"" for record in log.everything}
        letters = {(*log.name, offset, reason, values[offset]) for offset, reason in judged.dead.items()}
        possible |= letters
        # Of a log that is gone only what was recorded as progress is surely told.
        until = log.next_offset if log.lost_ms < 0 else recorded_before_loss(world, log)
        if "retention overtakes" not in world.faults:
            due |= {letter for letter in letters if letter[2] <= until}
    if found - possible and "retention overtakes" not in world.faults:
        world.report([f"dead letter of a good record: {letter}" for letter in found - possible])
    world.report([f"no dead letter: {letter}" for letter in due - found])
