"""The plan of a fault run follows from its seed, draws every kind, and combines only what does not meet."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from tests.chaos.catalogue import all_faults
from tests.chaos.fault import EVERYTHING
from tests.chaos.options import parse
from tests.chaos.plan import rounds
from tests.chaos.result import Result, Struck, as_json, check_memory, markdown
from tests.chaos.table import faults_table, invariants_table, runs_table


def _drawn(seed: int, count: int) -> list[tuple[float, list[tuple[str, int]], bool, int]]:
    return [
        (each.delay_s, [(fault.name, number) for fault, number in each.strikes], each.overlaps, each.hail)
        for each in islice(rounds(all_faults(), seed), count)
    ]


def test_the_plan_follows_from_the_seed() -> None:
    """The same seed gives the same faults, times and seeds of each; another seed others."""
    assert _drawn(7, 60) == _drawn(7, 60)
    assert _drawn(7, 60) != _drawn(8, 60)


@pytest.mark.parametrize("seed", range(5))
def test_every_kind_is_drawn_once_before_any_comes_again(seed: int) -> None:
    """A run that is long enough leaves none out; what could not be combined comes next."""
    kinds = {fault.name for fault in all_faults()}
    names = [name for _, strikes, _, _ in _drawn(seed, 2 * len(kinds)) for name, _ in strikes]
    # Partners are looked for a few cards ahead, so that the last of a deck may come among the first of the next.
    assert set(names[: len(kinds) + 16]) >= kinds


@pytest.mark.parametrize("seed", range(1, 6))
def test_half_an_hour_has_room_for_every_kind_and_150_kills_and_pauses(seed: int) -> None:
    """A round takes 35 to 40 s on two cores, so that there are 45 of them; the faults kill and pause besides."""
    kinds = {fault.name for fault in all_faults()}
    half_an_hour = _drawn(seed, 45)
    assert {name for _, strikes, _, _ in half_an_hour for name, _ in strikes} == kinds
    assert sum(hail for _, _, _, hail in half_an_hour) > 70


def test_faults_at_the_same_time_strike_different_things() -> None:
    """In each of 300 rounds; and there are rounds with several."""
    several = 0
    for each in islice(rounds(all_faults(), 3), 300):
        struck = [place for fault, _ in each.strikes for place in fault.places]
        assert len(struck) == len(set(struck))
        several += len(each.strikes) > 1
    assert several > 150


def test_who_strikes_everything_is_alone() -> None:
    """No other fault, nothing killed beside it, and nothing that was missed before is tried again there."""
    found = 0
    for each in islice(rounds(all_faults(), 4), 300):
        if any(fault.touches == EVERYTHING for fault, _ in each.strikes):
            found += 1
            assert len(each.strikes) == 1 and not each.hail
            assert each.with_another(all_faults()) == each
    assert found >= 2


def test_what_did_not_strike_is_tried_again_beside_another_round() -> None:
    """With the same seed of its own in each replay."""
    missed = [fault for fault in all_faults() if fault.name == "crash at after_state"]
    each = next(r for r in rounds(all_faults(), 5) if not missed[0].meets(fault for fault, _ in r.strikes))
    again = each.with_another(missed)
    assert [fault.name for fault, _ in again.strikes][-1] == "crash at after_state"
    assert again == each.with_another(missed)
    assert again.with_another(missed) == again


def test_every_fault_says_what_it_is() -> None:
    """Its ids of the matrix."""
    for fault in all_faults():
        assert fault.ids, fault.name


def test_the_replay_command_holds_all_that_matters(tmp_path: Path) -> None:
    """What is drawn depends on it."""
    words = ["--minutes", "3", "--seed", "9", "--broker", "kafka", "--nodes", "3", "--workers", "2", "--rate", "50"]
    replay = parse([*words, "--only", "kill -9", "--directory", str(tmp_path)]).replay
    assert (
        replay
        == "make chaos MINUTES=3 SEED=9 BROKER=kafka NODES=3 WORKERS=2 RATE=50 PARTITIONS=4 ARGS=\"--only 'kill -9'\""
    )


def test_the_report_names_violations_and_what_was_not_drawn() -> None:
    """And a recovery that took longer than promised is one."""
    result = Result("make chaos", 1, 2.0, "the embedded broker", 3, 200.0)
    result.faults = {"kill": Struck(("W1",), 2), "pause": Struck(("W4",))}
    result.recovered(["kill"], 4.0)
    result.recovered(["kill"], 61.0)
    text = markdown(result)
    assert "1 violations" in text
    assert "I8: 61 s to recover after kill" in text
    assert "Not injected, for lack of time: pause." in text
    assert "| kill | W1 | 2 | 61.0 | 61.0 | 61.0 |" in text


def test_memory_that_grows_is_a_violation() -> None:
    """By role, over the last two thirds of a long run; young processes and short runs are left out."""

    def violations(minutes: float, mb_a_minute: float) -> list[str]:
        result = Result("make chaos", 1, minutes, "Apache Kafka", 2, 200.0)
        for number in (1, 2):
            result.memory[f"windows-{number}"] = [(60.0 * at, 100 + mb_a_minute * at, 30, 20.0) for at in range(31)]
        result.memory["windows-3"] = [(60.0 * at, 10.0 * at, 30, 5.0) for at in range(31)]
        check_memory(result)
        return result.violations

    assert violations(30.0, 0.5) == []
    assert violations(30.0, 3.0) == ["I9: memory of windows workers grew from 146 to 176 MiB (median)"]
    assert violations(2.0, 3.0) == []


def test_reports_of_several_runs_make_one_page() -> None:
    """With counts by run, recoveries of all, and what was wrong."""
    reports = []
    for seed in (1, 2):
        result = Result("make chaos", seed, 30.0, "Apache Kafka (3 brokers)", 3, 200.0, kills=100, pauses=60 + seed)
        result.faults = {"kill": Struck(("W1",), 2 + seed), "pause": Struck(("W4",))}
        result.recovered(["kill"], 4.0 * seed)
        result.memory = {"windows-1": [(60.0 * at, 100.0 + at, 30, 20.0) for at in range(9)]}
        result.oracle = {
            "invariants": [{"invariant": "I1", "name": "windows", "checked": 1000 * seed, "violations": 0}]
        }
        reports.append(json.loads(json.dumps(as_json(result))))
    runs = runs_table(reports)
    assert "| kills + pauses | 100 + 61 | 100 + 62 |" in runs
    assert "| faults injected, kinds | 3, 1 of 2 | 4, 1 of 2 |" in runs
    assert "| growth from the second third to the last (MiB) | +3 | +3 |" in runs
    assert "| I1 windows | 1,000, 0 wrong | 2,000, 0 wrong |" in invariants_table(reports)
    assert "| kill | W1 | 3 + 4 | 8.0 | 8.0 |" in faults_table(reports)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_short_run_holds_all_promises(tmp_path: Path) -> None:
    """As `make chaos`, for some seconds on the embedded broker."""
    argv = [sys.executable, "-m", "tests.chaos", "--minutes", "0.3", "--broker", "embedded", "--workers", "2"]
    argv += ["--rate", "100", "--only", "kill -9 random", "--directory", str(tmp_path / "run"), "--keep"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=580)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "all promises held" in (tmp_path / "run" / "report.md").read_text()
