"""Users of the demo: sessions of actions, each with an answer time."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

#: Action, its weight, and the median of its answer time in ms.
_ACTIONS = (
    ("view_dashboard", 30, 45),
    ("view_video", 24, 35),
    ("edit_script", 14, 60),
    ("view_analytics", 12, 80),
    ("create_video", 8, 95),
    ("preview_video", 7, 75),
    ("update_settings", 3, 40),
    ("publish_video", 2, 110),
)
_WEIGHTS = [weight for _, weight, _ in _ACTIONS]
_MEDIANS = {name: median for name, _, median in _ACTIONS} | {"login": 70, "logout": 20}
_AGENTS = ("Mozilla/5.0 (X11; Linux x86_64)", "Mozilla/5.0 (Macintosh)", "Mozilla/5.0 (Windows NT 10.0)", "app/4.2")


class _Session:
    """One user at work."""

    __slots__ = ("address", "agent", "left", "session_id", "started", "user_id")

    def __init__(self, rng: random.Random, users: int, session_id: str) -> None:
        # The square makes few users frequent and many rare.
        self.user_id = 1 + int(users * rng.random() ** 2)
        self.session_id = session_id
        self.left = 2 + int(rng.expovariate(1 / 12))
        self.started = False
        # From the range that is reserved for documentation.
        self.address = f"198.51.100.{self.user_id % 254 + 1}"
        self.agent = _AGENTS[self.user_id % len(_AGENTS)]


class Sessions:
    """The sessions under way: a fixed number of places, so that memory is bounded."""

    def __init__(self, rng: random.Random, rate: float) -> None:
        self._rng = rng
        self._users = max(500, int(rate * 100))
        self._places: list[_Session | None] = [None] * max(4, int(rate * 4))

    def next_action(self, at_ms: float, new_id: Callable[[], str]) -> dict[str, Any]:
        """Fields of a user event at a time (epoch ms); `new_id` draws a session id."""
        rng = self._rng
        place = rng.randrange(len(self._places))
        session = self._places[place]
        if session is None:
            session = self._places[place] = _Session(rng, self._users, new_id())
        action = self._action(session)
        if session.left <= 0:
            self._places[place] = None
        fields: dict[str, Any] = {
            "user_id": session.user_id,
            "activity_type": action,
            "session_id": session.session_id,
            "ip_address": session.address,
            "user_agent": session.agent,
        }
        if action in ("view_video", "edit_script", "preview_video"):
            fields |= {"resource_type": "video", "resource_id": rng.randrange(1, 50_000)}
        if rng.random() < 0.97:
            fields["response_time_ms"] = self._answer_time(action, at_ms)
        return fields

    def _action(self, session: _Session) -> str:
        session.left -= 1
        if not session.started:
            session.started = True
            return "login"
        if session.left <= 0:
            return "logout"
        return self._rng.choices(_ACTIONS, _WEIGHTS)[0][0]

    def _answer_time(self, action: str, at_ms: float) -> int:
        """Lognormal around the action's median; three slow minutes in every hour."""
        slow = 2.2 if 41 <= at_ms / 60_000 % 60 < 44 else 1.0
        return max(1, int(self._rng.lognormvariate(0, 0.45) * _MEDIANS[action] * slow))
