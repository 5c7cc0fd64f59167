"""User events of the month: visits with a session, an address and a browser, some of them with hardly any field."""

from __future__ import annotations

from tests.warehouse.month_company import Company
from tests.warehouse.month_stream import Stream
from tests.warehouse.month_write import SECOND, Census, Deck, Log, new_uuid

TOPIC = "user-events"
_ACTIVITIES = ("view_video", "login", "create_video", "edit_script", "publish", "open_dashboard", "réglages", "設定")
_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64)",
    "Mozilla/5.0 (iPhone) \\u00e9",
    'curl/8.5 \\"quoted\\" \\\\ back',
    "Safari/605 — ✓ \\ud83d\\ude00",
)
_FORMS = {
    "all fields": 14,
    "only the required fields": 2,
    "optional fields null": 2,
    "upper-case session_id": 1,
    "unknown extra fields": 2,
    "non-ASCII text": 2,
    "empty texts": 1,
    "number beyond doubles": 1,
    "no response time": 2,
    "no key": 1,
}


def user_events(company: Company, events: int, census: Census) -> Log:
    """About `events` records of the topic."""
    plan = company.plan
    stream = Stream(plan, TOPIC, census, events)
    rng = stream.rng
    forms = Deck(rng, census, TOPIC, _FORMS)
    quiet_begin, quiet_end = plan.quiet("user")
    visits = company.visits(plan.rng("visits"))
    while len(stream.log) < events:
        user, at = next(visits)
        session = new_uuid(rng)
        form = forms.deal()
        address = f"192.0.2.{user.id % 250}" if user.id % 3 else f"2001:db8::{user.id:x}"
        agent = _AGENTS[user.id % len(_AGENTS)]
        context = f'"session_id":"{session}","ip_address":"{address}","user_agent":"{agent}"'
        for _ in range(1 + int(rng.expovariate(0.2))):
            if quiet_begin <= at < quiet_end or at >= plan.end_ms:
                break
            body = _body(stream, form, user.id, context)
            stream.send(at, None if form == "no key" else str(user.id), body)
            at += 1 + int(rng.expovariate(1 / (90 * SECOND)))
    return stream.log


def _body(stream: Stream, form: str, user: int, context: str) -> str:
    rng = stream.rng
    activity = _ACTIVITIES[int(6 * rng.random() ** 1.5)]
    if form == "only the required fields":
        return f',"user_id":{user},"activity_type":"{activity}"}}'
    if form == "optional fields null":
        return (
            f',"user_id":{user},"activity_type":"{activity}","resource_type":null,"resource_id":null,"session_id":null'
            ',"ip_address":null,"user_agent":null,"response_time_ms":null}'
        )
    if form == "non-ASCII text":
        activity = _ACTIVITIES[6 + (rng.random() < 0.5)]
    if form == "upper-case session_id":
        begin = context.index(':"') + 2
        context = context[:begin] + context[begin : begin + 36].upper() + context[begin + 36 :]
    parts = [f',"user_id":{user},"activity_type":"{activity}",{context}']
    if form == "empty texts":
        return f',"user_id":{user},"activity_type":"","resource_type":"","ip_address":"","user_agent":""}}'
    if form == "number beyond doubles":
        parts.append(f'"resource_type":"video","resource_id":{rng.choice((2**53 + 1, 2**63 - 1, -(2**63)))}')
    elif rng.random() < 0.7:
        parts.append(
            f'"resource_type":"{rng.choice(("video", "channel", "tâche"))}","resource_id":{rng.randrange(5000)}'
        )
    if form != "no response time":
        took = int(rng.lognormvariate(4.6, 0.7)) if rng.random() < 0.99 else rng.choice((0, 1, 30_000, 3_600_000))
        parts.append(f'"response_time_ms":{took}')
    if form == "unknown extra fields":
        parts.append('"added_later":{"nested":[1,2.5,null,true],"né":"ü"}')
    return ",".join(parts) + "}"
