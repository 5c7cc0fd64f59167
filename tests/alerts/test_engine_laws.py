"""Laws of the engine: order and repetition do not matter, a restart continues, ids are used once."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.alerts import AlertState, AlertTransition
from streamproc.alerts.engine import AlertEngine
from streamproc.alerts.instances import Instances
from streamproc.alerts.lifecycle import Instance
from streamproc.notify.load import load_rules
from tests.alerts.values import cost, slow_api, window

NOW = 1_800_000_000_000
USD = st.integers(0, 80).map(lambda n: n / 20)
#: A history of one video: the n-th total has version n + 1.
HISTORY = st.lists(USD, min_size=1, max_size=12)
RULES = load_rules()
#: A busy machine is no finding.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def final(engine: AlertEngine) -> dict[str, bool]:
    """Which rules fire."""
    return {item.rule: True for item in engine.states() if item.state is AlertState.FIRING}


@unhurried
@given(HISTORY, st.data())
def test_any_order_and_repetition_gives_the_same_final_state(history: list[float], data: st.DataObject) -> None:
    values = [cost(usd, version + 1) for version, usd in enumerate(history)]
    shuffled = data.draw(st.permutations(values + data.draw(st.lists(st.sampled_from(values), max_size=6))))
    engine = AlertEngine(RULES)
    for value in shuffled:
        engine.observe(value, NOW)
    last = history[-1]
    assert final(engine) == {
        rule: True for rule, limit in (("video-cost-warning", 2.5), ("video-cost-critical", 3.0)) if last > limit
    }


@unhurried
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([100.0, 300.0])), min_size=1, max_size=12), st.data())
def test_the_newest_window_decides(steps: list[tuple[int, float]], data: st.DataObject) -> None:
    values = [window(ms, number, version + 1) for version, (number, ms) in enumerate(steps)]
    engine = AlertEngine(slow_api())
    for value in data.draw(st.permutations(values)):
        engine.observe(value, NOW)
    newest = max(values, key=lambda v: (v.window_start_ms, v.version))
    assert bool(final(engine)) == ((newest.value or 0) > 200)


@unhurried
@given(HISTORY)
def test_each_seq_and_id_is_used_once_and_states_alternate(history: list[float]) -> None:
    engine = AlertEngine(RULES)
    items: list[AlertTransition] = []
    for version, usd in enumerate(history):
        items.extend(engine.observe(cost(usd, version + 1), NOW + version))
    assert max(Counter(item.transition_id for item in items).values(), default=1) == 1
    for fingerprint in {item.fingerprint for item in items}:
        mine = [item for item in items if item.fingerprint == fingerprint]
        assert [item.seq for item in mine] == list(range(1, len(mine) + 1))
        announced = [item.state for item in mine if not item.inhibited_by]
        # What people read alternates: nobody is told twice that something fires.
        assert all(a is not b for a, b in pairwise(announced))


@unhurried
@given(HISTORY, st.integers(0, 12), st.data())
def test_a_restart_continues(history: list[float], cut: int, data: st.DataObject) -> None:
    cut = min(cut, len(history))
    values = [cost(usd, version + 1) for version, usd in enumerate(history)]
    whole = AlertEngine(RULES)
    expected = [item for value in values for item in whole.observe(value, NOW)]
    before = AlertEngine(RULES)
    recorded = [item for value in values[:cut] for item in before.observe(value, NOW)]
    after = AlertEngine(RULES)
    after.restore(data.draw(st.permutations(recorded + recorded[:2])))
    # After a restart the newest value is published once more.
    again = [item for value in values[max(0, cut - 1) : cut] for item in after.observe(value, NOW + 9)]
    assert again == []
    rest = [item for value in values[cut:] for item in after.observe(value, NOW)]
    assert recorded + rest == expected


@unhurried
@given(HISTORY, HISTORY)
def test_two_workers_that_judge_the_same_make_the_same_ids(history: list[float], other: list[float]) -> None:
    values = [cost(usd, version + 1) for version, usd in enumerate(history)]
    one, two = AlertEngine(RULES), AlertEngine(RULES)
    for version, usd in enumerate(other):
        two.observe(cost(usd, version + 1, video="8"), NOW)
    left = [item.transition_id for value in values for item in one.observe(value, NOW)]
    right = [item.transition_id for value in values for item in two.observe(value, NOW + 7777)]
    assert left == right


@unhurried
@given(HISTORY, st.lists(st.tuples(st.integers(0, 1), st.booleans()), max_size=40), st.data())
def test_a_zombie_and_its_successor_agree_in_the_end(
    history: list[float], steps: list[tuple[int, bool]], data: st.DataObject
) -> None:
    """Two engines judge the same values at their own pace and follow one topic with their own delay."""
    values = [cost(usd, version + 1) for version, usd in enumerate(history)]
    engines, topic = (AlertEngine(RULES), AlertEngine(RULES)), []
    judged, followed = [0, 0], [0, 0]
    for who, judge in steps:
        if judge and judged[who] < len(values):
            topic.extend(engines[who].observe(values[judged[who]], NOW))
            judged[who] += 1
        elif followed[who] < len(topic):
            engines[who].restore([topic[followed[who]]])
            followed[who] += 1
    # The zombie (0) ends wherever it is; the successor judges the newest value and follows to the end.
    topic.extend(engines[1].observe(values[-1], NOW))
    for _ in range(10):
        engines[1].restore(topic)
        topic.extend(engines[1].tick(NOW))
    last = history[-1]
    expected = {r: True for r, limit in (("video-cost-warning", 2.5), ("video-cost-critical", 3.0)) if last > limit}
    assert final(engines[1]) == expected
    fresh = AlertEngine(RULES)
    fresh.restore(data.draw(st.permutations(topic)))
    assert final(fresh) == expected


def test_memory_is_bounded_and_ids_stay_unique() -> None:
    memory = Instances(max_silent=10, max_ended=10)
    engine = AlertEngine(RULES)
    engine._instances = memory
    seen: set[str] = set()
    for lap in range(3):
        for video in range(50):
            for usd in (1.0, 2.6, 1.0):
                version = 3 * lap + {1.0: 1, 2.6: 2}[usd] + (usd == 1.0 and lap)
                for item in engine.observe(cost(usd, version + 100 * lap, video=str(video)), NOW):
                    assert item.transition_id not in seen
                    seen.add(item.transition_id)
    assert len(memory) <= 20
    assert memory.take(("video-cost-warning", "video_id", "new")).seq > 0


def test_active_instances_are_never_forgotten() -> None:
    memory = Instances(max_silent=1, max_ended=1)
    for video in range(100):
        memory.put(("r", "video_id", str(video)), Instance(state=AlertState.FIRING))
    assert len(memory.active("r")) == len(memory) == 100
