"""S1 to S3: whatever Slack answers, every alert is recorded once and delivered, in order, and at most one message a second."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest

from tests.e2e.checks import Message, check_windows
from tests.faults.fragile import FragileStack
from tests.support import webhook
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import PATIENCE, Worker, wait_for
from tests.support.webhook import NO_SERVICE, Answer

SECOND_S = 0.98  # of clocks that are read at both ends of a connection


def _dear(*videos: int) -> list[Message]:
    """Costs that make one alert each."""
    now = int(time.time() * 1000)
    return [(COST_EVENTS, str(video).encode(), encode(cost_event(now, "2.6000", video_id=video))) for video in videos]


def _started(stack: FragileStack, **notify: str) -> tuple[Worker, Worker]:
    windows = stack.worker("windows", wait=False)
    notifier = stack.worker("notify", wait=False, slack_webhook_url=stack.slack.url, **notify)
    return windows.wait_ready(), notifier.wait_ready()


def _delivered(stack: FragileStack) -> list[str]:
    """Ids that Slack took, as often as it took them."""
    return [each for message in stack.slack.accepted for each in message.ids]


def _recorded(stack: FragileStack, kind: str, delivery: str = "") -> set[str]:
    sql = f"SELECT transition_id FROM gold.alerts FINAL WHERE kind = '{kind}' AND delivery = '{delivery}'"
    return {row[0] for row in stack.query(sql)}


def _told(stack: FragileStack) -> set[str]:
    """Transitions that people are to be told of."""
    sql = "kind = 'transition' AND state IN ('firing', 'resolved') AND inhibited_by = ''"
    return {row[0] for row in stack.query(f"SELECT transition_id FROM gold.alerts FINAL WHERE {sql}")}


def _all_told(stack: FragileStack, alerts: int, timeout_s: float) -> None:
    """At least so many transitions are recorded, each delivered to Slack and recorded as delivered."""

    def told() -> bool:
        transitions = _told(stack)
        return len(transitions) >= alerts and transitions == set(_delivered(stack)) == _recorded(
            stack, "delivery", "slack"
        )

    wait_for(f"{alerts} alerts told", told, timeout_s)


def _spaced(stack: FragileStack) -> None:
    """One message a second at the most, and nothing before Slack's Retry-After is over."""
    for one, following in pairwise(stack.slack.requests):
        asked = float(one.answer.headers.get("Retry-After", 0))
        assert following.at - one.at >= max(asked, SECOND_S) - 0.05


def test_limits_errors_and_lost_answers_in_turn(running: FragileStack) -> None:
    """S1: 429 with Retry-After, 500, a dropped connection; then each alert is there once."""
    _started(running)
    running.slack.script([webhook.rate_limited(2), webhook.SERVER_ERROR, webhook.DROP])
    running.produce(_dear(1, 2, 3))
    _all_told(running, 3, 20)
    assert sorted(_delivered(running)) == sorted(set(_delivered(running)))
    _spaced(running)


@pytest.mark.slow
@pytest.mark.parametrize("answer", [webhook.SERVER_ERROR, webhook.HANG, Answer(503, "x", {"Retry-After": "3"})])
def test_an_outage_holds_nothing_up_and_nothing_is_lost(running: FragileStack, answer: Answer) -> None:
    """S1: an outage (scaled down); windows and records of alerts go on, a killed notifier forgets nothing."""
    _, notifier = _started(running)
    running.slack.always(answer)
    running.produce([*running.more(300), *_dear(*range(10, 20))])
    check_windows(running)
    wait_for("recorded", lambda: len(_recorded(running, "transition")) >= 10, 20)
    wait_for("tried", lambda: len(running.slack.requests) >= 2, 40)
    notifier.kill()
    running.worker("notify", slack_webhook_url=running.slack.url)
    running.produce(_dear(*range(20, 25)))
    wait_for("videos 10 to 24", lambda: _of_videos(running) == 15, 30)
    running.slack.always(None)
    _all_told(running, 15, 90)
    if answer is not webhook.HANG:
        assert len(_delivered(running)) == len(set(_delivered(running)))


def _of_videos(stack: FragileStack) -> int:
    sql = "SELECT uniq(labels['video_id']) FROM gold.alerts FINAL WHERE toUInt64OrZero(labels['video_id']) BETWEEN 10 AND 24"
    return int(stack.query(sql)[0][0])


@pytest.mark.slow
@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_revoked_webhook_is_told_and_alerts_are_written_down(running: FragileStack, status: int) -> None:
    """S1: 404 and 403 stop sending; not ready, counted, the alert in alerts.log; streaming goes on."""
    windows, notifier = _started(running)
    running.slack.always(Answer(status, NO_SERVICE.body))
    running.produce([*running.more(300), *_dear(31)])
    file = running.dir / "alerts.log"
    wait_for("written down", lambda: file.exists() and "Video 31 " in file.read_text(), 30)
    wait_for("not ready", lambda: f"http_{status}" in notifier.get("ready")[1], 10)
    assert notifier.metric("streamproc_alert_deliveries_total", outcome="failed") > 0
    requests = len(running.slack.requests)
    running.produce(_dear(32))
    wait_for("written down", lambda: "Video 32 " in file.read_text(), 30)
    assert len(running.slack.requests) == requests == 1
    check_windows(running)
    assert windows.ready() and running.slack.url not in notifier.output() + windows.output()


def test_a_crash_between_slacks_answer_and_the_record_repeats_under_the_same_id(running: FragileStack) -> None:
    """S3: at most one repeat, with the id that tells it."""
    windows = running.worker("windows")
    notifier = running.worker("notify", wait=False, slack_webhook_url=running.slack.url, crash_at="after_slack")
    running.produce(_dear(41))
    wait_for("the crash", lambda: notifier.process.poll() is not None, 30)
    running.worker("notify", slack_webhook_url=running.slack.url)
    _all_told(running, 1, 20)
    assert len(_delivered(running)) == 2 and len(set(_delivered(running))) == 1
    assert windows.ready()


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_storm_of_ten_thousand_alerts(running: FragileStack) -> None:
    """S2: digests of hundreds, one message a second, within a minute, each id once; live values do not wait."""
    windows, notifier = _started(running)
    running.produce(_dear(*range(100_000, 110_000)))
    running.caught_up(windows, timeout_s=60)
    running.produce(_dear(42)[:1])
    wait_for("live", lambda: running.redis.hget("sp:entity:cost_per_video_usd:42", "value") == "2.6", 20)
    _all_told(running, 10_001, 120)
    assert len(running.slack.requests) <= 60 * PATIENCE
    assert len(_delivered(running)) == 10_001
    _spaced(running)
    assert notifier.metric("process_resident_memory_bytes") < 300e6
