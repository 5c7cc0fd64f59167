"""A killed worker stays in its consumer group until its session ends, and nobody reads its partitions till then.

Whoever starts in its place (same host, role and metrics port, which only one process can have) knows that it is gone, so
it leaves the group in its name and joins at once: 10 s of silence less at the default session timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError, UnknownMemberIdError, for_code
from aiokafka.protocol.admin import DescribeGroupsRequest
from aiokafka.protocol.group import LeaveGroupRequest

from streamproc.config import Settings
from streamproc.logs import get_logger

log = get_logger("membership")

_Answer = TypeVar("_Answer")

_TIMEOUT_S: Final = 3.0
#: Kafka's API that the embedded broker lacks, by which it is known: after such a leave, its group never formed again when
#: two workers had died within seconds (found by the fault run: both idle for ever).
_CREATE_PARTITIONS: Final = 37


class _Noted(msgspec.Struct):
    broker: str
    group: str
    member: str


class Membership:
    """The membership of one worker, noted in a file under `data_dir`; nothing is noted with a port picked freely."""

    def __init__(self, settings: Settings, role: str) -> None:
        self._settings = settings
        self._group = f"{settings.app_id}-{role}"
        self._path: Path | None = None
        self._member = ""
        if settings.metrics_port:
            self._path = settings.data_dir / "members" / f"{self._group}-{settings.metrics_port}.json"

    async def replace_predecessor(self) -> bool:
        """Leave the group in the name of who ran here before and died; True if somebody was found.

        Best effort: without an answer the group waits for the end of the session, as ever.
        """
        noted = self._read()
        if noted is None:
            return False
        try:
            if not await asyncio.wait_for(self._asked(partial(self._leave, noted.member)), _TIMEOUT_S):
                return False
        except UnknownMemberIdError:
            log.debug("the predecessor had left the group already", group=self._group)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the predecessor's session has to end first", group=self._group, error=repr(error))
            return False
        else:
            log.info("took the place of a worker that had died", group=self._group)
        return True

    def note(self, member: str) -> None:
        """Remember the id that the coordinator gave us."""
        if self._path is None or not member or member == self._member:
            return
        self._member = member
        content = msgspec.json.encode(_Noted(self._settings.broker_url, self._group, member))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            beside = self._path.with_suffix(".new")
            beside.write_bytes(content)
            beside.replace(self._path)
        except OSError as error:
            log.warning("the membership cannot be noted; after a crash its session has to end", error=str(error))
            self._path = None

    def forget(self) -> None:
        """After a graceful end there is nobody to replace."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self) -> _Noted | None:
        if self._path is None:
            return None
        try:
            noted = msgspec.json.decode(self._path.read_bytes(), type=_Noted)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            log.warning("the note of the last membership is not readable", path=str(self._path), error=str(error))
            return None
        same = noted.broker == self._settings.broker_url and noted.group == self._group
        return noted if same else None

    async def group_state(self) -> str:
        """The group's state as the broker names it ('Stable', 'PreparingRebalance', 'Empty', ...); '' without an answer."""
        try:
            return await asyncio.wait_for(self._asked(self._describe), _TIMEOUT_S)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("the consumer group cannot be asked for its state", group=self._group, error=repr(error))
            return ""

    async def _asked(self, ask: Callable[[AIOKafkaClient, int], Awaitable[_Answer]]) -> _Answer:
        """What the group's coordinator answers, over a connection of its own."""
        client = AIOKafkaClient(bootstrap_servers=self._settings.bootstrap_servers, request_timeout_ms=2000)
        try:
            await client.bootstrap()
            node = await client.coordinator_lookup(CoordinationType.GROUP, self._group)
            await client.ready(node, group=ConnectionGroup.COORDINATION)
            return await ask(client, node)
        finally:
            await client.close()

    async def _describe(self, client: AIOKafkaClient, node: int) -> str:
        answer = await client.send(node, DescribeGroupsRequest([self._group]), group=ConnectionGroup.COORDINATION)
        code, _, state = answer.groups[0][:3]
        if code:
            raise for_code(code)()
        return str(state)

    async def _leave(self, member: str, client: AIOKafkaClient, node: int) -> bool:
        """True if the coordinator took it; False if this broker must not be told."""
        connections = [conn for conn in client._conns.values() if conn.connected()]
        if not all(_CREATE_PARTITIONS in conn._versions for conn in connections):
            return False
        answer = await client.send(node, LeaveGroupRequest(self._group, member), group=ConnectionGroup.COORDINATION)
        if answer.error_code:
            raise for_code(answer.error_code)()
        return True
