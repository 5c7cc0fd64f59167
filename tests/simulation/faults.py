"""Faults: what may happen to the world of a history beside lost and late requests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from schemas import internal, topics
from streamproc.agents.log_reader import record_hash
from tests.simulation import virtual
from tests.simulation.broker import Log
from tests.simulation.worker import Process
from tests.simulation.world import World

#: Longer than producers' clocks are apart.
_RENEWAL_MS: Final = 5_000

Fault = Callable[[World], bool]
"""Injects itself if it can; False if it cannot now."""


def _running(world: World) -> Process | None:
    found = [process for process in world.processes if not process.paused]
    return found[int(world.rng.random() * len(found))] if found else None


def crash(world: World) -> bool:
    """kill -9 of a worker, running or paused."""
    if not world.processes:
        return False
    process = world.processes[int(world.rng.random() * len(world.processes))]
    world.fault(f"crash of {process.name}" if world.say else "crash")
    world.bury(process)
    return True


def crash_all(world: World) -> bool:
    """kill -9 of every worker."""
    if not world.processes:
        return False
    world.fault("crash of all")
    for process in list(world.processes):
        world.bury(process)
    return True


def pause(world: World) -> bool:
    """SIGSTOP, mostly longer than the session: others take over, and it knows nothing of it."""
    process = _running(world)
    if process is None:
        return False
    process.paused = True
    world.fault(f"pause of {process.name}" if world.say else "pause")
    if world.rng.random() < 0.75:
        world.rebalance()
    return True


def stop(world: World) -> bool:
    """SIGTERM."""
    process = _running(world)
    if process is None or process.stopping or process.role is None:
        return False
    world.fault(f"graceful stop of {process.name}" if world.say else "graceful stop")
    process.stop()
    world.rebalance()
    return True


def rebalance(world: World) -> bool:
    """Partitions change hands though everybody lives."""
    world.fault("rebalance")
    world.rebalance()
    return True


def join(world: World) -> bool:
    """One more worker."""
    if len(world.processes) >= 3:
        return False
    world.fault("a worker joins")
    world.start_process()
    return True


def away(world: World) -> bool:
    """A server refuses everything for a while."""
    target = ("broker", "clickhouse", "redis")[int(world.rng.random() * 3)]
    world.away[target] = int(world.rng.random() * 25) + 3
    world.fault(f"{target} away")
    return True


def slow_sink(world: World) -> bool:
    """A sink takes its time while partitions change hands: who wrote is gone when the answer comes."""
    target = ("clickhouse", "redis")[int(world.rng.random() * 2)]
    world.slow[target] = int(world.rng.random() * 12) + 3
    world.fault(f"{target} slow amid a rebalance")
    world.rebalance()
    return True


def crash_restoring(world: World) -> bool:
    """Who takes over dies amid its restore, and so does who takes over from it: up to three times in a row."""
    restoring = [process for process in world.processes if process.rejoining and not process.paused]
    if not restoring:
        return False
    process = restoring[int(world.rng.random() * len(restoring))]
    for _ in range(int(world.rng.random() * 2) + 2):
        world.bury(process)
        process = world.start_process()
        process.rejoin()
        for _ in range(int(world.rng.random() * 8)):
            process.loop.run_ready(int(world.rng.random() * 40) + 1)
            if process.loop.ended or not process.requests:
                break
            request = process.requests.pop(0)
            world.resolve(request, world.apply(request))
    world.fault("crashes in a row amid restores")
    return True


def empty_redis(world: World) -> bool:
    """Redis loses its data."""
    world.redis.empty(virtual.clock.ms)
    world.fault("Redis emptied")
    return True


def add_partition(world: World) -> bool:
    """A source topic gets one more partition."""
    topic = world.sources[int(world.rng.random() * len(world.sources))]
    count = len(world.broker.partitions(topic))
    if count >= 3:
        return False
    world.broker.create(topic, count)
    world.fault("partition added")
    world.rebalance()
    return True


def retention_of_state(world: World) -> bool:
    """Old chunks of snapshots and remembered ids are deleted: some snapshots are no longer whole."""
    topic = (topics.WINDOW_STATE, topics.WINDOW_IDS)[int(world.rng.random() * 2)]
    logs = [log for log in world.broker.logs.values() if log.name[0] == topic and log.length]
    if not logs or any(log.start for log in world.source_logs()):
        return False
    log = logs[int(world.rng.random() * len(logs))]
    log.trim(log.start + 1 + int(world.rng.random() * log.length))
    world.fault("snapshots deleted by retention")
    return True


def retention(world: World) -> bool:
    """Records of a source that lie before every snapshot that a restart could begin from are deleted.

    That takes days: no restore that is under way, and no zombie, is as old as what is deleted. Nor is the snapshot of a
    log that was there before it.
    """
    if _is_state_trimmed(world):
        return False
    before = {log.name for log in world.broker.history if log.lost_ms >= 0}
    logs = [log for log in world.source_logs() if log.length and log.name not in before]
    if not logs or any(process.rejoining for process in world.processes):
        return False
    log = logs[int(world.rng.random() * len(logs))]
    runtimes = [process.role.aggregator.runtimes.get(log.name) for process in world.processes]
    held = [runtime.state.offset for runtime in runtimes if runtime is not None and runtime.state is not None]
    safe = min([newest_offset(world, log, "snapshot"), *held])
    if safe < log.start:
        return False
    log.trim(log.start + 1 + int(world.rng.random() * (safe + 1 - log.start)))
    world.fault("old records deleted by retention")
    return True


def overtaken(world: World) -> bool:
    """Retention deletes records that nobody has read yet, or that no snapshot includes.

    It never comes between what was folded and what was recorded: that is one second of days. And where it passes all
    that was recorded there is a snapshot: else a log's identity is lost, while a zombie of days ago may still have it.
    Nor does it come while somebody has the log as an empty one and has not fetched since: who fetches is days faster.
    """
    logs = [log for log in world.source_logs() if log.length and not _is_empty_for_some(world, log)]
    if not logs:
        return False
    log = logs[int(world.rng.random() * len(logs))]
    recorded = newest_offset(world, log, "")
    start = log.start + 1 + int(world.rng.random() * log.length)
    has_snapshot = newest_offset(world, log, "snapshot") >= 0 and not _is_state_trimmed(world)
    if start > recorded and _is_known(world, log) and not has_snapshot:
        return False
    log.trim(start)
    if start <= recorded and world.rng.random() < 0.5:
        for state in [log for log in world.broker.logs.values() if log.name[0] == topics.WINDOW_STATE]:
            state.trim(state.next_offset)
        world.fault("and all snapshots")
    world.fault("retention overtakes")
    return True


def overtaken_while_stopped(world: World) -> bool:
    """All workers are gone for days, records come, and retention passes the last one that was read."""
    logs = [log for log in world.source_logs() if newest_offset(world, log, "snapshot") >= log.start]
    if not logs or _is_state_trimmed(world) or any(process.paused for process in world.processes):
        return False
    for process in list(world.processes):
        world.bury(process)
    world.late.clear()  # days have passed
    log = logs[int(world.rng.random() * len(logs))]
    unread = log.next_offset
    for _ in range(int(world.rng.random() * 6) + 1):
        virtual.clock.ms += int(world.rng.random() * 900_000)
        log.append(virtual.clock.ms, *world.events.next(log, virtual.clock.ms))
    log.trim(unread + int(world.rng.random() * (log.next_offset - unread)))
    world.fault("retention overtakes")
    world.fault("retention passes stopped workers")
    return True


def _is_state_trimmed(world: World) -> bool:
    state = (topics.WINDOW_STATE, topics.WINDOW_IDS)
    return any(log.start for log in world.broker.logs.values() if log.name[0] in state)


def _is_empty_for_some(world: World, log: Log) -> bool:
    runtimes = [
        process.role.aggregator.runtimes.get(log.name) for process in world.processes if process.role is not None
    ]
    return log.was_read and any(runtime is not None and runtime.state is None for runtime in runtimes)


def _is_known(world: World, log: Log) -> bool:
    """Whether somebody may have given the log its identity."""
    runtimes = [
        process.role.aggregator.runtimes.get(log.name) for process in world.processes if process.role is not None
    ]
    return log.was_read or any(process.rejoining for process in world.processes) or any(r and r.state for r in runtimes)


def lose_broker(world: World) -> bool:
    """The broker comes back without any of its logs."""
    virtual.clock.ms += _RENEWAL_MS
    for request in [request for request in world.late if request.target == "clickhouse"]:
        world.late.remove(request)
        world.apply(request)
    world.broker.renew({topic for topic, _ in world.broker.logs}, virtual.clock.ms)
    world.fault("broker lost its logs")
    world.rebalance()
    return True


def recreate_topic(world: World) -> bool:
    """A source topic is deleted and made again; what was recorded as progress must stay counted."""
    topic = world.sources[int(world.rng.random() * len(world.sources))]
    for log in world.source_logs():
        log.recorded = newest_offset(world, log, "") if log.name[0] == topic else log.recorded
    # A log that began with the same record in the same millisecond would have the same identity.
    virtual.clock.ms += _RENEWAL_MS
    world.broker.renew({topic}, virtual.clock.ms)
    world.fault("topic made again")
    world.rebalance()
    return True


def restore_clickhouse(world: World) -> bool:
    """ClickHouse is put back to a backup from earlier in this history.

    The merge records on `window-progress` then say that cells are stored which are not: windows that closed since the
    backup stay as old as it is. What holds all the same is in checks.py.
    """
    if world.backup is None:
        world.backup = world.clickhouse.copy()
        return False
    world.clickhouse, world.backup = world.backup, None
    world.fault("old ClickHouse restored")
    return True


def newest_offset(world: World, log: Log, kind: str) -> int:
    """Highest source offset in the records of `window-progress` of that kind ('' for any) that speak of this log."""
    place = internal.partition_of_source(*log.name, world.settings.partitions)
    begins = {record.offset: record for record in log.everything}
    highest = -1
    for record in world.broker.logs[topics.WINDOW_PROGRESS, place].everything:
        progress = internal.decode_progress(record.value or b"")
        if (progress.topic, progress.partition) != log.name or (kind and progress.kind != kind):
            continue
        there = begins.get(progress.offset)
        if there is not None and record_hash(there) == progress.tail_hash:
            highest = max(highest, progress.offset)
    return highest


#: Weight of each fault in a history in which it may happen.
USUAL: Final[dict[Fault, int]] = {
    crash: 30,
    crash_all: 5,
    pause: 20,
    stop: 8,
    rebalance: 20,
    join: 12,
    away: 14,
    empty_redis: 8,
    add_partition: 5,
    slow_sink: 12,
    crash_restoring: 14,
    retention_of_state: 4,
    retention: 10,
}

#: After these some numbers follow other rules (checks.py): at most one of them a history.
SPECIAL: Final[tuple[Fault, ...]] = (
    overtaken,
    overtaken_while_stopped,
    lose_broker,
    recreate_topic,
    restore_clickhouse,
)
