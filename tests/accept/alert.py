"""Item 7: a video gets too dear, through the real stack, to a fake Slack that works and to one that fails first."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.accept.result import Line, say
from tests.support.events import COST_EVENTS, cost_event, encode
from tests.support.stack import Stack
from tests.support.webhook import DROP, HANG, SERVER_ERROR, Answer, Received, Webhook, rate_limited, start_webhook

WITHIN_S = 2.0
_QUIET_S = 4.0
_FAULTS = [rate_limited(1.0), SERVER_ERROR, HANG, DROP]
#: Costs of each step (USD), and how its one message must begin and what it must name.
_STEPS = [
    ((1.0, 1.0, 0.6), "WARNING: video-cost-warning", "2.60 USD"),
    ((0.5,), "CRITICAL: video-cost-critical", "3.10 USD"),
    ((-0.7,), "", "resolved"),
]


def alert_item() -> Line:
    """Both scenes, each on a stack of its own."""
    waits, wrong = [], []
    for name, faults, limit_s in (("healthy", [], 20.0), ("faults first", _FAULTS, 90.0)):
        say(f"scene: {name}")
        with start_webhook(*faults) as webhook, tempfile.TemporaryDirectory(prefix="streamproc-alert-") as folder:
            waited, problems = _play(webhook, Path(folder), faults, limit_s)
        wrong += [f"{name}: {problem}" for problem in problems]
        waits.append(waited)
    if waits[0] > WITHIN_S:
        wrong.append(f"the warning came after {waits[0]:.2f} s")
    for text in wrong:
        say(f"  WRONG {text[:300]}")
    measured = f"warning after {waits[0]:.2f} s (with 429, 500, time-out and drop first: {waits[1]:.1f} s); " + (
        "one warning, one critical, one resolve in both" if not wrong else f"{len(wrong)} problems: {wrong[0][:160]}"
    )
    wanted = f"exactly one warning within {WITHIN_S:g} s, one critical, one resolve; faults change only the delay"
    return Line(7, "the cost alert", wanted, measured, not wrong)


def _play(webhook: Webhook, folder: Path, faults: list[Answer], limit_s: float) -> tuple[float, list[str]]:
    """(seconds from the third cost to the warning, what was wrong)."""
    problems: list[str] = []
    waited = float("inf")
    with Stack(folder / "stack", slack_webhook_url=webhook.url) as stack:
        stack.create_topics()
        workers = [stack.worker(role, wait=False) for role in ("windows", "archive", "notify")]
        for worker in workers:
            worker.wait_ready(60.0)
        for number, (amounts, begins, names) in enumerate(_STEPS, start=1):
            now_ms = int(time.time() * 1000)
            costs = [cost_event(now_ms, f"{amount:.4f}", video_id=7) for amount in amounts]
            stack.produce((COST_EVENTS, b"7", encode(cost)) for cost in costs)
            sent = _produced_at(stack)
            try:
                message = webhook.wait_for(number, limit_s)[number - 1]
            except TimeoutError as error:
                problems.append(f"step {number}: {error}")
                break
            if number == 1:
                waited = message.at - sent
            say(f"  after {message.at - sent:.2f} s: {message.text}")
            if not message.text.startswith(begins) or names not in message.text:
                problems.append(f"step {number} said {message.text!r}")
        # Nothing may follow: a repeat would come within a flush, a group's wait and the sender's pause.
        time.sleep(_QUIET_S)
        problems += _judge(webhook.requests, webhook.accepted, len(faults))
    return waited, problems


def _produced_at(stack: Stack) -> float:
    """When the newest cost was given to its producer (its Kafka timestamp), on the monotonic clock."""
    newest = max(record.kafka_timestamp_ms for record in stack.log_records()) / 1000
    return time.monotonic() - (time.time() - newest)


def _judge(requests: list[Received], accepted: list[Received], faults: int) -> list[str]:
    problems = []
    if len(accepted) != len(_STEPS):
        problems.append(f"{len(accepted)} messages accepted, not {len(_STEPS)}: {[each.text for each in accepted]}")
    if len(requests) != len(_STEPS) + faults:
        problems.append(f"{len(requests)} requests, not {len(_STEPS)} and {faults} failed ones")
    ids = [identity for each in accepted for identity in each.ids]
    if len(ids) != len(set(ids)):
        problems.append("a transition was accepted twice")
    return problems
