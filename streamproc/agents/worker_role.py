"""What a worker's process needs of its role, whatever the role reads: start, stop, and how it is."""

from __future__ import annotations

from typing import Protocol

from streamproc.agents.tasks import Tasks


class WorkerRole(Protocol):
    """`agents/role.py` has it for roles in a Kafka consumer group, `agents/intake_role.py` for one in Redis' groups."""

    name: str
    tasks: Tasks
    ready: bool

    async def start(self) -> None:
        """Connect and begin; may raise ConfigError or RetryableError."""

    async def stop(self) -> None:
        """Finish what was taken, within 15 s."""

    def problem(self) -> str:
        """Why this role is not ready, '' if it is."""

    def stuck_s(self) -> float:
        """Seconds without progress although there may be work; 0 without any."""

    def joining_s(self) -> float:
        """Seconds for which a consumer group has not said what is ours; 0 for a role that waits for none."""

    async def group_state(self) -> str:
        """The state of that group, '' if nobody says."""
