"""The supervisor on small real processes: order, restarts, bounded stops, and the end of a parent."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from streamproc.embedded.journal import Journal
from streamproc.embedded.keeper import Backoff, Keeper, State
from streamproc.embedded.process import Part, PartFailedError
from streamproc.embedded.recycling import watch_broker_memory
from streamproc.embedded.supervisor import Supervisor

WAITS = "import signal, time\nprint('up', flush=True)\ntime.sleep(600)\n"


def python(code: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code)]


def part(name: str, code: str = WAITS, **options: object) -> Part:
    return Part(name, python(code), **options)  # type: ignore[arg-type]  # any option of Part


async def until(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "condition not met in time"
        await asyncio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def quiet_journal(directory: Path | None = None) -> tuple[Journal, io.StringIO]:
    out = io.StringIO()
    return Journal(directory, out), out


def test_backoff_doubles_up_to_its_limit_and_starts_over_after_a_long_run() -> None:
    backoff = Backoff(0.5, 30.0, 60.0)
    assert [backoff.next_pause(1.0) for _ in range(8)] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.next_pause(60.0) == 0.5
    assert backoff.next_pause(59.9) == 1


def test_stages_start_in_order_and_stop_in_reverse(tmp_path: Path) -> None:
    journal, _ = quiet_journal()
    record = tmp_path / "record"
    code = f"""
        import signal, sys, time
        def note(text):
            with open({str(record)!r}, "a") as out: out.write(text + "\\n")
        def stop(*_):
            note("stop " + sys.argv[1]); sys.exit(0)
        signal.signal(signal.SIGTERM, stop)
        note("start " + sys.argv[1])
        time.sleep(600)
    """

    def noted(name: str) -> Part:
        async def ready() -> bool:
            return record.exists() and f"start {name}" in record.read_text()

        return Part(name, [*python(code), name], ready=ready)

    async def scenario() -> None:
        supervisor = Supervisor([[noted("first")], [noted("second")], [noted("third")]], journal)
        await supervisor.start()
        await supervisor.stop()

    asyncio.run(scenario())
    assert record.read_text().split("\n")[:-1] == [
        *("start first", "start second", "start third"),
        *("stop third", "stop second", "stop first"),
    ]


def test_a_part_that_dies_is_started_again_with_a_message() -> None:
    journal, out = quiet_journal()

    async def scenario() -> None:
        keeper = Keeper(part("steady"), journal, Backoff(0.01, 0.05))
        await keeper.start()
        for expected in (1, 2):
            os.kill(keeper.pid, signal.SIGKILL)
            await until(partial(lambda n: keeper.restarts == n and keeper.state is State.READY, expected))
        await until(lambda: keeper.state is State.READY)
        await keeper.stop()
        assert keeper.pid == 0

    asyncio.run(scenario())
    assert "steady died (signal SIGKILL); starting it again in 0.01 s" in out.getvalue()
    assert "starting it again in 0.02 s" in out.getvalue()
    assert "steady is back" in out.getvalue()


def test_a_part_that_cannot_start_fails_with_its_name_and_last_lines(tmp_path: Path) -> None:
    journal, _ = quiet_journal(tmp_path)

    async def never() -> bool:
        return False

    async def scenario() -> None:
        supervisor = Supervisor([[part("broken", "print('the reason'); raise SystemExit(2)", ready=never)]], journal)
        try:
            await supervisor.start()
        finally:
            await supervisor.stop()

    with pytest.raises(PartFailedError, match=r"broken ended with exit code 2(.|\n)*the reason") as caught:
        asyncio.run(scenario())
    assert str(tmp_path / "broken.log") in str(caught.value)


def test_a_part_that_is_never_ready_is_given_up_in_bounded_time() -> None:
    journal, _ = quiet_journal()

    async def never() -> bool:
        return False

    async def scenario() -> None:
        keeper = Keeper(part("slow", ready=never, ready_timeout_s=0.1), journal, Backoff(0.01))
        try:
            await keeper.start()
        finally:
            assert keeper.pid == 0

    with pytest.raises(PartFailedError, match="slow is not ready after"):
        asyncio.run(scenario())


def test_a_part_that_ignores_sigterm_is_killed_with_its_children(tmp_path: Path) -> None:
    journal, out = quiet_journal()
    pids = tmp_path / "pids"
    code = f"""
        import os, signal, subprocess, sys, time
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        with open({str(pids)!r} + ".new", "w") as out: out.write(f"{{os.getpid()}} {{child.pid}}")
        os.rename({str(pids)!r} + ".new", {str(pids)!r})
        time.sleep(600)
    """

    async def ready() -> bool:
        return pids.exists()

    async def scenario() -> None:
        keeper = Keeper(part("deaf", code, ready=ready, stop_timeout_s=0.2), journal)
        await keeper.start()
        await keeper.stop()
        await until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))

    asyncio.run(scenario())
    assert "deaf does not stop within" in out.getvalue()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends children with their parent")
def test_nothing_remains_when_the_parent_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    code = f"""
        import asyncio, io
        from streamproc.embedded.journal import Journal
        from streamproc.embedded.process import Part
        from streamproc.embedded.supervisor import Supervisor
        import sys
        async def main():
            parts = [Part(n, [sys.executable, "-c", "import time; time.sleep(600)"]) for n in "ab"]
            supervisor = Supervisor([parts], Journal(None, io.StringIO()))
            await supervisor.start()
            with open({str(pids)!r} + ".new", "w") as out: out.write(" ".join(str(k.pid) for k in supervisor.keepers))
            import os; os.rename({str(pids)!r} + ".new", {str(pids)!r})
            await asyncio.sleep(600)
        asyncio.run(main())
    """
    parent = subprocess.Popen(python(code))

    async def scenario() -> None:
        await until(pids.exists)
        children = [int(pid) for pid in pids.read_text().split()]
        assert len(children) == 2 and all(is_alive(pid) for pid in children)
        parent.kill()
        parent.wait()
        await until(lambda: not any(is_alive(pid) for pid in children))

    try:
        asyncio.run(scenario())
    finally:
        parent.kill()


def test_lines_carry_the_name_of_their_part_and_are_kept_in_bounded_files(tmp_path: Path) -> None:
    journal, out = quiet_journal(tmp_path)

    async def scenario() -> None:
        keeper = Keeper(
            part("talker", "print('\\x1b[31mhello\\x1b[0m'); print('x' * 40000); import time; time.sleep(600)"), journal
        )
        await keeper.start()
        await until(lambda: len(journal.tail("talker")) >= 2)
        await keeper.stop()

    asyncio.run(scenario())
    assert "      talker | hello\n" in out.getvalue(), "no colours where the output is no terminal"
    assert (tmp_path / "talker.log").read_text().startswith("hello\n")
    assert max(map(len, journal.tail("talker"))) <= 16 * 1024
    for _ in range(1200):
        journal.line("flood", "y" * 16_000)
    assert sum(path.stat().st_size for path in tmp_path.glob("flood.log*")) < 16 * 1024 * 1024
    journal.close()


def broker_stack(journal: Journal, renewed: list[str]) -> Supervisor:
    async def topics() -> None:
        renewed.append("topics")

    broker = part("broker", after_ready=topics)
    return Supervisor([[broker, part("redis")], [part("worker", reads_broker=True)]], journal)


def test_recycling_renews_the_broker_and_its_readers_and_nothing_else() -> None:
    journal, out = quiet_journal()
    renewed: list[str] = []

    async def scenario() -> None:
        supervisor = broker_stack(journal, renewed)
        await supervisor.start()
        before = {keeper.part.name: keeper.pid for keeper in supervisor.keepers}
        watch = asyncio.create_task(watch_broker_memory(supervisor, limit_mb=1, check_every_s=0.01))
        await until(lambda: supervisor.recycles >= 1)
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        after = {keeper.part.name: keeper.pid for keeper in supervisor.keepers}
        await supervisor.stop()
        assert after["redis"] == before["redis"]
        assert after["broker"] != before["broker"]
        assert after["worker"] != before["worker"]

    asyncio.run(scenario())
    assert len(renewed) >= 2
    assert "renewing the broker (it holds" in out.getvalue()


def test_readers_are_started_anew_when_the_broker_died() -> None:
    journal, out = quiet_journal()
    renewed: list[str] = []

    async def scenario() -> None:
        supervisor = broker_stack(journal, renewed)
        await supervisor.start()
        broker, _redis, worker = supervisor.keepers
        old_worker = worker.pid
        os.kill(broker.pid, signal.SIGKILL)
        await until(lambda: broker.restarts == 1 and worker.pid not in (0, old_worker))
        await supervisor.stop()

    asyncio.run(scenario())
    assert renewed == ["topics", "topics"]
    assert "the broker lost its log with its process" in out.getvalue()


def test_a_stop_while_the_broker_is_renewed_waits_for_nothing_that_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    journal, _ = quiet_journal()

    async def caught_up(*_: object) -> bool:
        return True

    async def never() -> bool:
        return False

    monkeypatch.setattr("streamproc.embedded.supervisor.wait_caught_up", caught_up)
    worker = part("worker", reads_broker=True, metrics_port=1)
    broker = part("broker", ready_timeout_s=60.0)

    async def scenario() -> bool:
        supervisor = Supervisor([[broker], [worker]], journal)
        await supervisor.start()
        # The new broker never becomes ready, so that the renewal is held up in its middle.
        object.__setattr__(broker, "ready", never)
        old = supervisor.keepers[0].pid
        renewal = asyncio.create_task(supervisor.recycle_broker("test"))
        await until(lambda: supervisor.keepers[0].pid not in (0, old))
        renewal.cancel()
        await asyncio.gather(renewal, return_exceptions=True)
        drained = await asyncio.wait_for(supervisor.drain(), 5)
        await supervisor.stop()
        return drained

    assert asyncio.run(scenario())
