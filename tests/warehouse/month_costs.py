"""Costs: of videos by component, of users, of nobody, of unknown videos; corrections and amounts in every spelling."""

from __future__ import annotations

from tests.warehouse.month_company import Company
from tests.warehouse.month_stream import Stream
from tests.warehouse.month_videos import Video
from tests.warehouse.month_write import DAY, HOUR, MINUTE, Census, Deck, Log, new_uuid

TOPIC = "cost-events"
_COMPONENTS = ("script", "voice", "image", "image", "processing", "other")
_AMOUNTS = {
    "text": 10,
    "number": 3,
    "whole dollars": 1,
    "half a unit to even, down": 1,
    "half a unit to even, up": 1,
    "half a unit as a number": 1,
    "just above half a unit": 1,
    "number with an exponent": 1,
    "nothing": 1,
    "below 0 and half a unit": 1,
}
_OWNERS = {
    "user and channel": 6,
    "no user_id": 4,
    "user_id null": 2,
    "another user": 1,
    "unknown extra fields": 1,
}
_PLACES = {
    "soon": 12,
    "before the video's first status": 1,
    "days after the video": 1,
    "corrected later": 1,
    "of a video that nobody knows": 1,
}
_OVERHEADS = {"video_id null": 2, "no video_id": 2, "of a user": 1, "correction of nothing known": 1}


class _Costs:
    def __init__(self, company: Company, census: Census) -> None:
        self.company, self.plan = company, company.plan
        self.stream = Stream(self.plan, TOPIC, census, 7 * self.plan.videos)
        self.rng = self.stream.rng
        self.quiet = self.plan.quiet("cost")
        self.amounts = Deck(self.rng, census, f"{TOPIC} amount", _AMOUNTS)
        self.owners = Deck(self.rng, census, TOPIC, _OWNERS)
        self.places = Deck(self.rng, census, TOPIC, _PLACES)
        self.overheads = Deck(self.rng, census, f"{TOPIC} overhead", _OVERHEADS)
        census.declare(TOPIC, list(_COMPONENTS))

    def amount(self) -> str:
        """An amount as JSON."""
        rng, units = self.rng, self.rng.randrange(1, 6000)
        way = self.amounts.deal()
        if way == "number":
            return f"{units / 10_000:.4f}"
        if way == "whole dollars":
            return str(rng.randrange(1, 3))
        if way == "half a unit to even, down":
            return f'"{units * 2 / 10_000:.4f}5"'
        if way == "half a unit to even, up":
            return f'"{(units * 2 + 1) / 10_000:.4f}50"'
        if way == "half a unit as a number":
            return f"{units / 10_000:.4f}5"
        if way == "just above half a unit":
            return f'"{units * 2 / 10_000:.4f}50000001"'
        if way == "number with an exponent":
            return f"{units}e-4" if units % 2 else f"{units}.5E-4"
        if way == "nothing":
            return '"0"'
        if way == "below 0 and half a unit":
            return f'"-{units / 100_000:.4f}5"'
        return f'"{units / 10_000:.4f}"'

    def send(self, at: int, key: str, body: str) -> str:
        """Never on the day without costs, and not outside the month."""
        if self.quiet[0] <= at < self.quiet[1]:
            at += DAY
        at = min(max(at, self.plan.begin_ms), self.plan.end_ms - 1)
        return self.stream.send(at, key, body)

    def of_video(self, video: Video, count: int) -> None:
        rng = self.rng
        for turn in range(count):
            component = _COMPONENTS[turn] if turn < len(_COMPONENTS) else rng.choice(_COMPONENTS)
            self.stream.census.note(TOPIC, component)
            place = self.places.deal()
            number = video.id
            at = video.times["started"] + rng.randrange(8 * MINUTE)
            if place == "before the video's first status":
                at = video.requested_ms - rng.randrange(1, 2 * HOUR)
            elif place == "days after the video":
                at += rng.randrange(DAY, 4 * DAY)
            elif place == "of a video that nobody knows":
                number += 1_000_000
            who = self.owner(video)
            spent = f'"video_id":{number},"component":"{component}"{who}'
            amount = self.amount()
            event_id = self.send(at, str(number), f',{spent},"amount_usd":{amount},"provider":"p{turn % 4}"}}')
            if place == "corrected later" and amount.strip('"')[0] != "-":
                back = f'"-{amount.strip(chr(34))}"' if "e" not in amount.lower() else f"-{amount}"
                later = at + rng.randrange(MINUTE, 3 * DAY)
                self.send(later, str(number), f',{spent},"amount_usd":{back},"corrects":"{event_id}"}}')

    def owner(self, video: Video) -> str:
        way = self.owners.deal()
        if way == "no user_id":
            return ""
        if way == "user_id null":
            return ',"user_id":null,"channel_id":null'
        if way == "unknown extra fields":
            return ',"invoice":{"line":7,"größe":"1"}'
        user = video.channel.user if way != "another user" else self.rng.randrange(self.plan.users) + 1
        return f',"user_id":{user},"channel_id":{video.channel.id}'

    def overhead(self, at: int) -> None:
        rng = self.rng
        way = self.overheads.deal()
        video = '"video_id":null,' if way == "video_id null" else ""
        user = f'"user_id":{rng.randrange(self.plan.users) + 1},' if way == "of a user" else ""
        body = f',{video}{user}"component":"{rng.choice(("processing", "other"))}","provider":"hosting"'
        amount = self.amount()
        if way == "correction of nothing known":
            amount = f'"-0.{rng.randrange(1, 9999):04d}","corrects":"{new_uuid(rng)}"'
        self.send(at, "overhead", f'{body},"amount_usd":{amount}}}')


def cost_events(company: Company, videos: list[Video], overheads: int, census: Census) -> Log:
    """Costs of all videos, and `overheads` of no single one."""
    costs = _Costs(company, census)
    for video in videos:
        costs.of_video(video, costs.rng.randrange(3, 11) if costs.rng.random() < 0.95 else 0)
    for _ in range(overheads):
        costs.overhead(company.plan.begin_ms + int(costs.rng.random() * company.plan.days * DAY))
    return costs.stream.log
