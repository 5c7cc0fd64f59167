"""Pages as received, in bronze: stored whole or not at all, and what is stored is never asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from batch.youtube.patience import Patience
from streamproc.sinks.clickhouse_client import ClickHouse
from streamproc.sinks.native_block import (
    DATETIME_MS,
    block,
    integers,
    same_integer,
    same_text,
    texts,
)

_COLUMNS: Final = (
    "load", "unit", "page", "item", "method", "youtube_channel_id", "as_owner", "request", "etag", "payload", "error",
    "fetched_at",
)  # fmt: skip


@dataclass(slots=True)
class Page:
    """One answer. `items` are as received: objects of the Data API, rows (lists) of a report."""

    load: str
    unit: str
    page: int
    method: str
    channel_id: str
    as_owner: bool
    request: dict[str, Any]
    envelope: dict[str, Any]
    items: list[Any]
    fetched_ms: int
    errors: list[str] = field(default_factory=list)

    @property
    def next_token(self) -> str:
        """Of the page after it; empty if it is the last one."""
        return str(self.envelope.get("nextPageToken", ""))

    @property
    def asked_ids(self) -> list[str]:
        """The ids that the request named."""
        if "id" in self.request:
            return str(self.request["id"]).split(",")
        filters = str(self.request.get("filters", ""))
        return filters.removeprefix("video==").split(",") if filters else []

    @property
    def columns(self) -> list[str]:
        """Of a report: the names of its rows' values."""
        return [str(one.get("name")) for one in self.envelope.get("columnHeaders", ())]


def page_of(answer: dict[str, Any], **of: Any) -> Page:
    """An answer cut into the page itself and its items."""
    rest = dict(answer)
    items = rest.pop("items", None) or rest.pop("rows", None) or []
    return Page(envelope=rest, items=items, **of)


class Pages:
    """Bronze, for one load."""

    def __init__(self, clickhouse: ClickHouse, patience: Patience, load: str) -> None:
        self._clickhouse = clickhouse
        self._patience = patience
        self.load = load

    async def store(self, page: Page) -> None:
        """One insert, one block, one partition. Repeated, it is the same rows.

        Raises:
            RetryableError: ClickHouse was away too long.
            PermanentError: its reason.
        """
        rows = 1 + len(page.items)
        etags = [str(one.get("etag", "")) if isinstance(one, dict) else "" for one in (page.envelope, *page.items)]
        errors = ["", *(page.errors or [""] * len(page.items))]
        columns = (
            same_text("load", page.load, rows), same_text("unit", page.unit, rows),
            same_integer("page", "UInt32", page.page, rows), integers("item", "UInt32", range(rows)),
            same_text("method", page.method, rows), same_text("youtube_channel_id", page.channel_id, rows),
            same_integer("as_owner", "Bool", int(page.as_owner), rows),
            same_text("request", orjson.dumps(page.request, option=orjson.OPT_SORT_KEYS).decode(), rows),
            texts("etag", etags),
            texts("payload", [orjson.dumps(one).decode() for one in (page.envelope, *page.items)]),
            texts("error", errors), same_integer("fetched_at", DATETIME_MS, page.fetched_ms, rows),
        )  # fmt: skip
        encoded = block(columns, rows)
        await self._patience(lambda: self._clickhouse.insert("bronze.youtube", _COLUMNS, encoded))

    async def stored(self) -> list[Page]:
        """The pages of this load without their items, by unit and page."""
        return await self._read("load = {load:String} AND item = 0", {"load": self.load})

    async def items_of(self, unit: str) -> list[Page]:
        """All pages of one unit of this load, with items."""
        return await self._read("load = {load:String} AND unit = {unit:String}", {"load": self.load, "unit": unit})

    async def not_derived(self) -> list[Page]:
        """Pages of any load that silver may not have, oldest first: their process was killed in between."""
        rows = await self._patience(
            lambda: self._clickhouse.rows(
                "SELECT load, unit, page FROM (SELECT load, unit, page, min(fetched_at) AS at FROM bronze.youtube"
                " WHERE item = 0 GROUP BY load, unit, page) AS stored"
                " LEFT ANTI JOIN meta.youtube_units AS done USING (load, unit, page) ORDER BY at"
            )
        )
        found: list[Page] = []
        for load, unit, number in rows:
            found += await self._read(
                "load = {load:String} AND unit = {unit:String} AND page = {page:UInt32}",
                {"load": load, "unit": unit, "page": number},
            )
        return found

    async def mark(self, page: Page, written: int, now_ms: int) -> None:
        """Silver has it."""
        row = (
            texts("load", [page.load]), texts("unit", [page.unit]), integers("page", "UInt32", [page.page]),
            integers("items", "UInt32", [len(page.items)]), integers("written", "UInt32", [written]),
            integers("invalid", "UInt32", [sum(map(bool, page.errors))]), integers("done_at", DATETIME_MS, [now_ms]),
        )  # fmt: skip
        names = tuple(name for name, _, _ in row)
        await self._patience(lambda: self._clickhouse.insert("meta.youtube_units", names, block(row, 1)))

    async def _read(self, where: str, parameters: dict[str, Any]) -> list[Page]:
        rows = await self._patience(
            lambda: self._clickhouse.rows(
                "SELECT load, unit, page, item, method, youtube_channel_id, as_owner, request, payload, error,"  # noqa: S608 (text of ours)
                f" toUnixTimestamp64Milli(fetched_at) FROM bronze.youtube FINAL WHERE {where} ORDER BY unit, page, item",
                parameters,
            )
        )
        return _pages(rows)


def _pages(rows: Sequence[tuple[Any, ...]]) -> list[Page]:
    found: list[Page] = []
    for load, unit, number, item, method, channel_id, as_owner, request, payload, error, fetched_ms in rows:
        content = orjson.loads(payload)
        if item == 0:
            asked = orjson.loads(request)
            found.append(Page(load, unit, number, method, channel_id, as_owner, asked, content, [], fetched_ms))
        else:
            found[-1].items.append(content)
            found[-1].errors.append(error)
    return found
