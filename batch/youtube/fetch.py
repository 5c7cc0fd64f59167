"""One page from Google to silver, in an order in which the process may end anywhere: ledger, request, bronze, silver, mark."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from batch.youtube.client import Client
from batch.youtube.errors import ChannelError, QuotaSpentError
from batch.youtube.ledger import Ledger
from batch.youtube.pages import Page, Pages, page_of
from batch.youtube.report import Report
from batch.youtube.silver import Silver
from batch.youtube.values import read_items
from streamproc import failpoints
from streamproc.errors import RetryableError
from streamproc.logs import get_logger

if TYPE_CHECKING:
    from batch.youtube.load import Progress

log = get_logger("youtube")


class Fetcher:
    """Everything that a load needs. `stored` are the pages that are there already, by unit, without their items."""

    def __init__(
        self, client: Client, ledger: Ledger, pages: Pages, silver: Silver, report: Report, progress: Progress,
        now_ms: Callable[[], int], restated_limit: float,
    ) -> None:  # fmt: skip
        self.client = client
        self.ledger = ledger
        self.pages = pages
        self.silver = silver
        self.report = report
        self.stored: dict[str, list[Page]] = {}
        self._progress = progress
        self._now_ms = now_ms
        self._limit = restated_limit
        self._last_ms = 0

    async def begin(self) -> None:
        """See what is stored already."""
        for page in await self.pages.stored():
            self._last_ms = max(self._last_ms, page.fetched_ms)
            self.stored.setdefault(page.unit, []).append(page)

    async def recover(self) -> None:
        """Bring pages to silver that a killed process left in bronze alone, of any load. Costs no quota."""
        for page in await self.pages.not_derived():
            self._progress(f"{page.unit} into silver", 0, 1)
            await self._derive(page, read_items(page))
            self.report.recovered += 1

    async def page(self, unit: str, method: str, request: dict[str, Any], *, owner: str, channel_id: str = "") -> Page:
        """Ask for the next page of a unit, and keep it.

        Raises:
            QuotaSpentError, ChannelError, ListChangedError, ConfigError, RetryableError: as `Client.call`.
            PermanentError: ClickHouse's reason.
        """
        before = self.stored.setdefault(unit, [])
        planned, spent = sum(self.report.planned.values()), sum(self.ledger.spent_here.values())
        self._progress(unit, spent, max(planned, spent + 1))
        answer = await self.client.call(method, request, owner)
        # Once more, now that there is something to write: the wait for it may have been long, and somebody else at work by now.
        self._progress(unit, sum(self.ledger.spent_here.values()), max(planned, spent + 1))
        page = page_of(
            answer, load=self.report.load, unit=unit, page=len(before), method=method, channel_id=channel_id,
            as_owner=bool(owner), request=request, fetched_ms=self._stamp(),
        )  # fmt: skip
        values = read_items(page)
        await self.pages.store(page)
        failpoints.passing("youtube_stored")
        await self._derive(page, values)
        before.append(page)
        self.report.pages += 1
        self.report.items += len(page.items)
        return page

    def _stamp(self) -> int:
        """The time, and always later than the page before, whatever the clock does: in silver the newer page wins."""
        self._last_ms = max(self._last_ms + 1, self._now_ms())
        return self._last_ms

    async def _derive(self, page: Page, values: list[Any]) -> None:
        derived = await self.silver.take(page, values)
        failpoints.passing("youtube_derived")
        await self.pages.mark(page, derived.written, self._now_ms())
        self.report.take(derived, [f"{page.unit}: {one}" if one else "" for one in page.errors], self._limit)

    async def for_channel(self, channel_id: str, act: Callable[[], Awaitable[None]], part: str = "") -> None:
        """Do something for a channel; what only concerns it is noted, and the others go on.

        Raises:
            QuotaSpentError, ConfigError: concern all.
            RetryableError, PermanentError: ClickHouse's reason.
        """
        name = f"{channel_id} ({part})" if part else channel_id
        try:
            await act()
        except QuotaSpentError:
            raise
        except ChannelError as error:
            log.warning("youtube: a channel is left out", channel=channel_id, part=part, reason=error.reason)
            self.report.skipped[name] = str(error)
        except RetryableError as error:
            if error.reason != "youtube":
                raise
            log.warning("youtube: a channel is to be tried again", channel=channel_id, part=part)
            self.report.failed[name] = str(error)
            self.report.complete = False
