"""Role `intake`: Redis Streams into the same topics, at least once. Redis' own groups share the work, so none of Kafka's."""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import Final

from streamproc.agents.fatal import leave
from streamproc.agents.intake_send import IntakeSender
from streamproc.agents.intake_stream import StreamIntake
from streamproc.agents.redis_streams import RedisStream, intake_client
from streamproc.agents.tasks import Tasks
from streamproc.clock import monotonic
from streamproc.config import Settings
from streamproc.errors import ConfigError, PermanentError, RetryableError
from streamproc.logs import get_logger

log = get_logger("intake")

_WATCH_S: Final = 2.0
_TIDY_S: Final = 60.0
#: A consumer that lives asks several times a second; one that holds nothing and was silent for so long is dead.
_DEAD_AFTER_MS: Final = 3_600_000
#: Of the 15 s that a stop may take: for the batch in hand, for what hangs then, and for each of the clients.
_FINISH_S: Final = 4.0
_CANCEL_S: Final = 4.0
_CLOSE_S: Final = 2.0


def consumer_name(settings: Settings) -> str:
    """Who we are in the group: the same after a restart (host and metrics port), so that what was ours is found at once.

    With a port picked freely each start is a new consumer: what the last one held is claimed when it was silent for long
    enough, and the name is removed an hour later.
    """
    place = str(settings.metrics_port) if settings.metrics_port else secrets.token_hex(4)
    return f"{socket.gethostname()}-intake-{place}"


class IntakeRole:
    """A `WorkerRole`: a task for each stream, so that one that cannot be read holds up no other."""

    name = "intake"

    def __init__(self, settings: Settings) -> None:
        if not settings.intake_streams:
            raise ConfigError(
                "STREAMPROC_INTAKE_STREAMS = {}: the role intake has nothing to read; allowed is a map of Redis Streams to "
                'topics, e.g. {"sp:in:user-events": "user-events"}'
            )
        self.tasks = Tasks()
        self.ready = False
        self._stopping = asyncio.Event()
        self._client = intake_client(settings)
        self._sender = IntakeSender(settings)
        group, consumer = f"{settings.app_id}-{self.name}", consumer_name(settings)
        self._streams = {
            stream: RedisStream(self._client, stream, group, consumer) for stream in settings.intake_streams
        }
        self._intakes = {
            stream: StreamIntake(settings, self._streams[stream], topic, self._sender, self._stopping)
            for stream, topic in settings.intake_streams.items()
        }
        self._loops: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Connect to Kafka; Redis may come later.

        Raises:
            RetryableError: no broker answers.
        """
        await self._sender.start()
        for stream, intake in self._intakes.items():
            self._loops.append(self.tasks.start(f"intake {stream}", intake.run()))
        self.tasks.start("intake watch", self._watch())
        self.ready = True

    async def stop(self) -> None:
        """Send and acknowledge the batches in hand; what is left stays pending in Redis, for the next start or for others."""
        self.ready = False
        self._stopping.set()
        if self._loops:
            await asyncio.wait(self._loops, timeout=_FINISH_S)
        await self.tasks.within(_CANCEL_S, "batches in hand", self.tasks.stop())
        await self.tasks.within(_CLOSE_S, "leaving Redis", self._leave())
        await self.tasks.within(_CLOSE_S, "closing the producer", self._sender.stop())
        if self.tasks.undone:
            log.info("stopped", role=self.name, undone=self.tasks.undone)
            leave()

    async def _leave(self) -> None:
        try:
            for stream in self._streams.values():
                await stream.leave()
        except (RetryableError, PermanentError) as error:
            log.info("our name stays in the group for a while", reason=error.reason)
        await self._client.aclose()

    async def _watch(self) -> None:
        """Gauges, and the names of the dead. Best effort: an error shows where entries are read."""
        tidied_at_s = monotonic()
        while True:
            await asyncio.sleep(_WATCH_S)
            is_due = monotonic() - tidied_at_s >= _TIDY_S
            for name, stream in self._streams.items():
                try:
                    await self._intakes[name].watch()
                    if is_due and (removed := await stream.remove_idle(_DEAD_AFTER_MS)):
                        log.info("dead consumers removed", stream=name, consumers=removed)
                except (RetryableError, PermanentError) as error:
                    log.debug("the stream cannot be looked at", stream=name, reason=error.reason)
            if is_due:
                tidied_at_s = monotonic()

    def problem(self) -> str:
        """Why entries are not taken."""
        return "; ".join(intake.problem for intake in self._intakes.values() if intake.problem)

    def stuck_s(self) -> float:
        """Seconds since the slowest stream was asked, or something of it sent: each is asked several times a second."""
        return max(monotonic() - intake.progressed_at_s for intake in self._intakes.values())

    def joining_s(self) -> float:
        """No group of Kafka's is waited for."""
        return 0.0

    async def group_state(self) -> str:
        """None of Kafka's."""
        return ""
