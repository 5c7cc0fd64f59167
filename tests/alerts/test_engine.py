"""The lifecycle, case by case."""

from __future__ import annotations

import msgspec

from schemas.alerts import AlertState, AlertTransition
from schemas.results import CORRECTED, OPEN
from streamproc.alerts.engine import AlertEngine
from streamproc.alerts.rules_file import parse_rules
from streamproc.notify.load import load_rules
from tests.alerts.values import FIVE, cost, slow_api, window

NOW = 1_800_000_000_000


def short(items: list[AlertTransition]) -> list[tuple[str, str, str]]:
    """Rule, state and what silences it."""
    return [(item.rule, item.state.value, item.inhibited_by) for item in items]


def states(items: list[AlertTransition]) -> list[str]:
    return [item.state.value for item in items]


def test_what_silences_an_alert_may_be_read_after_it() -> None:
    """Found by the fault run: the warning's record was read, the critical one's partition had no leader for 2 s."""
    recorded = AlertEngine(load_rules()).observe(cost(3.5, 1), NOW)
    critical, warning = recorded
    successor = AlertEngine(load_rules())
    successor.restore([warning])
    assert successor.observe(cost(1.0, 1, video="8"), NOW + 1) == []
    assert successor.tick(NOW + 2_000) == []
    successor.restore([critical])
    assert successor.tick(NOW + 3_000) == []
    # An older end of the same critical alert does not say that this one is over.
    older = msgspec.structs.replace(critical, state=AlertState.RESOLVED, recorded_at_ms=NOW - 1, transition_id="0")
    other = AlertEngine(load_rules())
    other.restore([older, warning])
    other.observe(cost(1.0, 1, video="8"), NOW + 1)
    assert other.tick(NOW + 2_000) == []
    # If nothing comes, somebody is told after all.
    assert short(other.tick(NOW + 61_000)) == [("video-cost-warning", "firing", "")]


def test_only_the_owner_has_the_last_word() -> None:
    """Found by the fault run: totals of videos are spread over partitions, and the last owner of one, who still had
    others, resolved what its new owner had fired on another part of the total."""
    mine = {"7", "8"}
    before = AlertEngine(load_rules(), lambda _, __, ___, video: video in mine)
    assert short(before.observe(cost(2.7174, 8404), NOW)) == [("video-cost-warning", "firing", "")]
    owner = AlertEngine(load_rules())
    owner.restore(before.states())
    critical = owner.observe(cost(3.6984, 5048, complete=False), NOW + 9_000)
    assert short(critical) == [("video-cost-critical", "firing", "")]
    mine.discard("7")
    before.release()
    assert before.observe(cost(1.0, 1, video="8"), NOW + 10_000) == []
    before.restore(critical)
    assert before.tick(NOW + 11_000) == []
    # It is not judged by what was seen in those days either, once the partition is back.
    mine.add("7")
    assert before.tick(NOW + 12_000) == []


def test_only_the_owner_tells_of_what_was_silenced() -> None:
    """Found by the fault run: the end of the critical alert was read, that of the warning it had silenced not yet."""
    engine = AlertEngine(load_rules())
    recorded = engine.observe(cost(90.0, 1), NOW)
    ended = engine.observe(cost(0.05, 2), NOW + 1_000)
    other = AlertEngine(load_rules(), lambda _, __, ___, video: video == "8")
    other.observe(cost(1.0, 1, video="8"), NOW)
    other.restore([*recorded, next(item for item in ended if item.rule == "video-cost-critical")])
    assert other.tick(NOW + 2_000) == []
    other.restore(ended)
    assert other.tick(NOW + 3_000) == []


def test_cost_of_one_video() -> None:
    engine = AlertEngine(load_rules())
    assert engine.observe(cost(1.0, 1), NOW) == []
    assert engine.observe(cost(2.0, 2), NOW) == []
    assert engine.observe(cost(2.5, 3), NOW) == []  # strictly above
    (warning,) = engine.observe(cost(2.6, 4), NOW)
    assert (warning.rule, warning.state, warning.value, warning.threshold) == (
        "video-cost-warning",
        AlertState.FIRING,
        2.6,
        2.5,
    )
    assert warning.summary == "Video 7 has cost 2.60 USD (alert above 2.50 USD)"
    assert warning.labels == {"video_id": "7"}
    assert warning.recorded_at_ms == NOW
    assert engine.observe(cost(2.9, 5), NOW) == []
    (critical,) = engine.observe(cost(3.1, 6), NOW)
    assert short([critical]) == [("video-cost-critical", "firing", "")]
    assert short(engine.observe(cost(2.4, 7), NOW)) == [
        ("video-cost-critical", "resolved", ""),
        ("video-cost-warning", "resolved", ""),
    ]
    assert engine.counts()[AlertState.RESOLVED] == 2


def test_a_jump_past_both_announces_the_critical_only() -> None:
    engine = AlertEngine(load_rules())
    assert short(engine.observe(cost(3.5, 1), NOW)) == [
        ("video-cost-critical", "firing", ""),
        ("video-cost-warning", "firing", "video-cost-critical"),
    ]
    # Back under the critical line, the warning that was kept quiet speaks.
    assert short(engine.observe(cost(2.8, 2), NOW)) == [
        ("video-cost-critical", "resolved", ""),
        ("video-cost-warning", "firing", ""),
    ]
    assert short(engine.observe(cost(2.5, 3), NOW)) == [("video-cost-warning", "resolved", "")]


def test_what_was_never_announced_is_not_announced_as_resolved() -> None:
    engine = AlertEngine(load_rules())
    engine.observe(cost(3.5, 1), NOW)
    assert short(engine.observe(cost(1.0, 2), NOW)) == [
        ("video-cost-critical", "resolved", ""),
        ("video-cost-warning", "resolved", "video-cost-critical"),
    ]


def test_videos_are_instances_of_their_own() -> None:
    engine = AlertEngine(load_rules())
    one = engine.observe(cost(2.6, 1, "1"), NOW)
    two = engine.observe(cost(2.6, 1, "2"), NOW)
    assert len(one) == len(two) == 1
    assert one[0].fingerprint != two[0].fingerprint


def test_older_versions_are_ignored() -> None:
    engine = AlertEngine(load_rules())
    engine.observe(cost(2.4, 5), NOW)
    assert engine.observe(cost(2.6, 4), NOW) == []
    assert len(engine.observe(cost(2.6, 6), NOW)) == 1
    assert engine.observe(cost(2.0, 5), NOW) == []


def test_incomplete_values_fire_but_never_resolve() -> None:
    engine = AlertEngine(load_rules())
    assert states(engine.observe(cost(2.6, 1, complete=False), NOW)) == ["firing"]
    assert engine.observe(cost(0.1, 2, complete=False), NOW) == []
    assert states(engine.observe(cost(0.1, 3), NOW)) == ["resolved"]
    means = AlertEngine(slow_api())
    assert means.observe(window(900, 1, complete=False), NOW) == []


def test_percentiles_need_a_final_window_and_enough_events() -> None:
    engine = AlertEngine(slow_api())
    assert engine.observe(window(500, 1, status=OPEN), NOW) == []
    assert engine.observe(window(500, 1, 2, count=19), NOW) == []
    assert engine.observe(window(None, 1, 3), NOW) == []
    (item,) = engine.observe(window(500, 1, 4, count=20), NOW)
    assert item.event_time_ms == 2 * FIVE
    assert (item.window, item.window_start_ms, item.window_end_ms) == ("5m", FIVE, 2 * FIVE)


def test_a_newer_final_window_resolves_and_an_open_or_null_one_does_not() -> None:
    engine = AlertEngine(slow_api())
    engine.observe(window(500, 1), NOW)
    assert engine.observe(window(10, 2, status=OPEN), NOW) == []
    assert engine.observe(window(None, 2, 2), NOW) == []
    assert engine.observe(window(10, 0, 9), NOW) == []  # an older window
    assert states(engine.observe(window(10, 2, 3), NOW)) == ["resolved"]


def test_a_correction_of_the_same_window_resolves() -> None:
    engine = AlertEngine(slow_api())
    engine.observe(window(500, 1, 1), NOW)
    (item,) = engine.observe(window(150, 1, 2, status=CORRECTED), NOW)
    assert (item.state, item.seq, item.value) == (AlertState.RESOLVED, 2, 150)


def test_for_counts_event_time() -> None:
    engine = AlertEngine(slow_api("for: 10m"))
    (pending,) = engine.observe(window(500, 1), NOW)
    assert pending.state is AlertState.PENDING
    assert engine.tick(NOW + 10**9) == []  # the wall clock is no event time
    assert engine.observe(window(500, 2), NOW) == []
    (firing,) = engine.observe(window(500, 3), NOW)
    assert (firing.state, firing.seq) == (AlertState.FIRING, 2)
    assert firing.started_at_ms == pending.event_time_ms


def test_pending_that_does_not_last_is_recorded_as_inactive() -> None:
    engine = AlertEngine(slow_api("for: 10m"))
    engine.observe(window(500, 1), NOW)
    assert states(engine.observe(window(10, 2), NOW)) == ["inactive"]
    assert states(engine.observe(window(500, 3), NOW)) == ["pending"]


def test_hysteresis() -> None:
    engine = AlertEngine(slow_api("resolve_below: 150"))
    engine.observe(window(201, 1), NOW)
    assert engine.observe(window(180, 2), NOW) == []
    assert engine.observe(window(150, 3), NOW) == []
    assert states(engine.observe(window(149, 4), NOW)) == ["resolved"]
    assert engine.observe(window(180, 5), NOW) == []


def test_cooldown_is_recorded_and_silent_and_then_announced() -> None:
    engine = AlertEngine(slow_api("cooldown: 15m"))
    engine.observe(window(500, 1), NOW)
    engine.observe(window(10, 2), NOW)
    assert short(engine.observe(window(500, 3), NOW + 60_000)) == [("slow", "firing", "cooldown")]
    assert engine.tick(NOW + 899_999) == []
    (again,) = engine.tick(NOW + 900_000)
    assert (again.state, again.seq, again.inhibited_by) == (AlertState.FIRING, 4, "")
    assert engine.tick(NOW + 10**9) == []


def test_a_resolve_recorded_by_a_clock_that_is_ahead_silences_nothing() -> None:
    """A worker a day ahead recorded the end; another one must not keep quiet until tomorrow."""
    ahead, engine = AlertEngine(slow_api("cooldown: 15m")), AlertEngine(slow_api("cooldown: 15m"))
    day = 86_400_000
    recorded = [*ahead.observe(window(500, 1), NOW + day), *ahead.observe(window(10, 2), NOW + day)]
    engine.restore(recorded)
    assert short(engine.observe(window(500, 3), NOW + 60_000)) == [("slow", "firing", "")]


def test_flapping_does_not_extend_the_cooldown() -> None:
    engine = AlertEngine(slow_api("cooldown: 15m"))
    engine.observe(window(500, 1), NOW)
    engine.observe(window(10, 2), NOW)
    engine.observe(window(500, 3), NOW + 300_000)
    assert short(engine.observe(window(10, 4), NOW + 600_000)) == [("slow", "resolved", "cooldown")]
    assert short(engine.observe(window(500, 5), NOW + 900_000)) == [("slow", "firing", "")]


def test_an_inhibitor_in_its_cooldown_silences_nothing() -> None:
    text = """\
rules:
  - {name: low, metric: cost_per_video_usd, operator: ">", threshold: 2}
  - {name: high, metric: cost_per_video_usd, operator: ">", threshold: 3, inhibits: [low], cooldown: 1h}
"""
    engine = AlertEngine(parse_rules(text, "r.yaml"))
    engine.observe(cost(3.5, 1), NOW)
    engine.observe(cost(1.0, 2), NOW)
    assert short(engine.observe(cost(3.5, 3), NOW + 1)) == [("high", "firing", "cooldown"), ("low", "firing", "")]


def test_windows_that_say_nothing_end_an_alert() -> None:
    engine = AlertEngine(slow_api())
    engine.observe(window(500, 1), NOW)
    assert engine.observe(window(500, 2, count=3), NOW) == []
    assert engine.observe(window(None, 3), NOW) == []
    (item,) = engine.observe(window(500, 4, count=3), NOW)
    assert (item.state, item.value) == (AlertState.RESOLVED, None)
    assert "enough data" in item.summary


def test_after_a_restart_the_count_of_silent_windows_begins_anew() -> None:
    first = AlertEngine(slow_api())
    recorded = first.observe(window(500, 1), NOW)
    second = AlertEngine(slow_api())
    second.restore(recorded)
    assert second.observe(window(None, 50), NOW) == []
    assert second.observe(window(500, 51), NOW) == []
    assert second.observe(window(None, 52), NOW) == []


def test_below_and_dimensions() -> None:
    text = """\
rules:
  - {name: few, metric: user_events, window: 1h, on: final, labels: {activity_type: login}, operator: "<", threshold: 5}
"""
    engine = AlertEngine(parse_rules(text, "r.yaml"))
    for kind, expected in (("logout", []), ("login", ["firing"])):
        value = window(
            3, 1, metric="user_events", size="1h", dimension="activity_type", dimension_value=kind, status="final"
        )
        assert states(engine.observe(value, NOW)) == expected
    total = window(3, 1, metric="user_events", size="1h")
    assert engine.observe(total, NOW) == []


def test_rules_that_are_gone_or_changed_end_their_alerts() -> None:
    recorded = AlertEngine(slow_api()).observe(window(500, 1), NOW)
    for rules in (slow_api("enabled: false"), parse_rules("rules: []", "r.yaml")):
        engine = AlertEngine(rules)
        engine.restore(recorded)
        assert engine.tick(NOW) == []  # another worker may own this metric
        assert engine.observe(window(500, 2), NOW) == []
        (item,) = engine.tick(NOW)
        assert (item.state, item.seq) == (AlertState.RESOLVED, 2)
        assert engine.tick(NOW) == []


def test_a_new_threshold_is_judged_again_at_the_same_version() -> None:
    recorded = AlertEngine(slow_api()).observe(window(500, 1), NOW)
    text = "rules:\n  - {name: slow, metric: api_response_time_p95_ms, window: 5m, operator: '>', threshold: 600, min_count: 1}\n"
    engine = AlertEngine(parse_rules(text, "r.yaml"))
    engine.restore(recorded)
    assert states(engine.observe(window(500, 1), NOW)) == ["resolved"]


def test_released_metrics_are_left_alone() -> None:
    engine = AlertEngine(slow_api("cooldown: 15m"))
    for number, value in ((1, 500), (2, 10), (3, 500)):
        engine.observe(window(value, number), NOW)
    engine.release()
    assert engine.tick(NOW + 10**9) == []
    engine.observe(window(None, 4), NOW)
    assert len(engine.tick(NOW + 10**9)) == 1


def test_what_another_worker_decided_on_an_older_value_is_put_right() -> None:
    zombie, owner = AlertEngine(load_rules()), AlertEngine(load_rules())
    owner.observe(cost(2.4, 12), NOW)
    owner.restore(zombie.observe(cost(2.6, 10), NOW))
    assert owner.counts()[AlertState.FIRING] == 1
    (item,) = owner.tick(NOW)
    assert (item.state, item.seq, item.value) == (AlertState.RESOLVED, 2, 2.4)
    assert owner.tick(NOW) == []


def test_ids_depend_on_no_clock_value_or_version() -> None:
    one = AlertEngine(load_rules()).observe(cost(2.6, 4), NOW)
    two = AlertEngine(load_rules()).observe(cost(2.9, 7), NOW + 5000)
    assert [item.transition_id for item in one] == [item.transition_id for item in two]


def test_alerts_that_no_rule_made_are_kept_apart() -> None:
    recorded = AlertEngine(slow_api()).observe(window(500, 1), NOW)[0]
    paused = [
        msgspec.structs.replace(
            recorded, rule="stream_paused", metric="", labels={"topic": "user-events", "partition": str(n)}
        )
        for n in range(3)
    ]
    engine = AlertEngine(slow_api())
    engine.restore(paused)
    engine.observe(window(10, 2), NOW)
    assert engine.counts()[AlertState.FIRING] == 3
    assert engine.tick(NOW) == []
