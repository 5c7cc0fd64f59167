"""`streamproc dead-letters list|show|replay`: what was refused, why, and sending it again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import typer

if TYPE_CHECKING:
    from rich.table import Table

    from streamproc.config import Settings
    from streamproc.deadletters.replay import Outcome
    from streamproc.deadletters.store import DeadLetterStore, Filters, Letter

_T = TypeVar("_T")

_LIST_HELP = """List dead letters, newest first.

[bold]Examples[/bold]

  streamproc dead-letters list

  streamproc dead-letters list --topic cost-events --error malformed --since 2h

  streamproc dead-letters list --error amount_usd --limit 5
"""
_SHOW_HELP = """Show one dead letter: why it was refused, where it lies, and its payload (e-mail and IP addresses masked).

[bold]Example[/bold]

  streamproc dead-letters show user-events 3 1042
"""
_REPLAY_HELP = """Send dead letters to their topic again. What was replayed is recorded, so that a second replay sends nothing.

Letters that would be refused again are left alone unless they are mended (--set) or wanted (--send-invalid).

[bold]Examples[/bold]

  streamproc dead-letters replay --dry-run

  streamproc dead-letters replay --error future_event --since 1d

  streamproc dead-letters replay --topic user-events --error unknown_version --set schema_version=1.0.0
"""

_TOPIC = typer.Option("", "--topic", help="Only letters of this topic.")
_ERROR = typer.Option(
    "", "--error", help="A reason (malformed, unknown_version, future_event, too_large) or a part of the error."
)
_SINCE = typer.Option("", "--since", help="Recorded since: a duration back from now (2h) or an RFC 3339 time.")
_EVENT_ID = typer.Option("", "--event-id", help="Only letters whose payload holds this id.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the application."""
    group = typer.Typer(help="Events that were refused: list, show, replay.", no_args_is_help=True)
    group.command("list", help=_LIST_HELP)(list_letters)
    group.command("show", help=_SHOW_HELP)(show_letter)
    group.command("replay", help=_REPLAY_HELP)(replay_letters)
    app.add_typer(group, name="dead-letters")


def list_letters(
    topic: str = _TOPIC,
    error: str = _ERROR,
    since: str = _SINCE,
    event_id: str = _EVENT_ID,
    limit: int = typer.Option(50, min=1, max=10_000, help="At most so many."),
) -> None:
    """Print a table of letters and the number of all that match."""
    from rich.console import Console

    from streamproc.deadletters.store import Count

    filters = _filters(topic, error, since, event_id)

    async def read(store: DeadLetterStore) -> tuple[list[Letter], list[Count]]:
        return await store.letters(filters, limit), await store.counts(filters)

    letters, counts = _with_store(lambda _settings, store: read(store), sealed=True)
    console = Console()
    if not letters:
        console.print("no dead letters match")
        return
    console.print(_letters_table(letters))
    whole = sum(count.letters for count in counts)
    console.print(
        f"{len(letters):,} of {whole:,} shown; one of them: streamproc dead-letters show TOPIC PARTITION OFFSET"
    )


def show_letter(
    topic: str = typer.Argument(help="The topic that it was sent to."),
    partition: int = typer.Argument(min=0),
    offset: int = typer.Argument(min=0),
    log_id: str = typer.Option("", "--log-id", help="Which log, if the topic was made again; default: the newest."),
    raw: bool = typer.Option(False, "--raw", help="The payload as it came, nothing masked."),
) -> None:
    """Print one letter."""
    from rich.console import Console

    from streamproc.deadletters.show import readable
    from streamproc.errors import PermanentError

    found = _with_store(lambda _settings, store: store.at(topic, partition, offset, log_id))
    if not found:
        raise PermanentError("not_found", f"no dead letter at {topic} {partition} {offset}")
    letter = found[0]
    console = Console()
    for name, value in (
        ("reason", letter.reason),
        ("error", letter.error),
        ("topic", letter.place.topic),
        ("partition", letter.place.partition),
        ("log_id", letter.place.log_id),
        ("offset", letter.place.offset),
        ("key", letter.key.decode(errors="backslashreplace")),
        ("sent at", _time(letter.kafka_ms)),
        ("recorded at", _time(letter.recorded_ms)),
        ("replay", letter.state),
    ):
        console.print(f"{name:>12}  {value}", markup=False, highlight=False)
    console.print(f"{'payload':>12}  {len(letter.payload):,} bytes", highlight=False)
    console.print(readable(letter.payload, raw=raw), markup=False, highlight=False, soft_wrap=True)
    for other in found[1:]:
        console.print(f"Also at this offset, of another log: --log-id {other.place.log_id}", style="yellow")


def replay_letters(
    topic: str = _TOPIC,
    error: str = _ERROR,
    since: str = _SINCE,
    event_id: str = _EVENT_ID,
    limit: int = typer.Option(1_000_000, min=1, help="Look at so many at most."),
    changes: list[str] = typer.Option([], "--set", help="field=value to set in the JSON first; may be repeated."),  # noqa: B008 (typer's way)
    send_invalid: bool = typer.Option(False, "--send-invalid", help="Send also what would be refused again."),
    retry_begun: bool = typer.Option(
        False,
        "--retry-begun",
        help="Send also letters whose earlier replay was never acknowledged (it may have arrived).",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Count only."),
) -> None:
    """Replay and print counts by reason."""
    from rich.console import Console

    from streamproc.deadletters.replay import FAILED, SENT, STILL_INVALID, Options, replay
    from streamproc.deadletters.store import BEGUN, Count

    filters = _filters(topic, error, since, event_id)
    options = Options(_changes(changes), send_invalid, retry_begun, dry_run, limit)

    async def run(settings: Settings, store: DeadLetterStore) -> tuple[list[Count], Outcome]:
        before = await store.counts(filters)
        return before, await replay(settings, store, filters, options)

    before, outcome = _with_store(run)
    console = Console()
    console.print(_outcome_table(before, outcome))
    begun = sum(count.letters for count in before if count.state == BEGUN)
    if begun and not retry_begun:
        console.print(
            f"{begun:,} were begun earlier and never acknowledged: --retry-begun sends them again", style="yellow"
        )
    if outcome.number(STILL_INVALID):
        console.print("still invalid: would come back; mend them with --set field=value, or use --send-invalid")
    if not dry_run:
        console.print(f"{outcome.number(SENT):,} sent, {outcome.number(FAILED):,} not acknowledged")
    if outcome.number(FAILED):
        raise typer.Exit(1)


def _with_store(act: Callable[[Settings, DeadLetterStore], Awaitable[_T]], *, sealed: bool = False) -> _T:
    """Run with a store. If payloads may stay as they are stored (`sealed`), no master key is needed."""
    from streamproc.cli.with_clickhouse import with_clickhouse
    from streamproc.config import load_settings
    from streamproc.deadletters.store import DeadLetterStore
    from streamproc.logs import setup_logs
    from streamproc.sinks.sealing import unsealing

    settings = load_settings()
    setup_logs(settings.log_format, "warning")
    return with_clickhouse(
        settings,
        lambda clickhouse: act(
            settings, DeadLetterStore(clickhouse, None if sealed else unsealing(settings, clickhouse))
        ),
    )


def _filters(topic: str, error: str, since: str, event_id: str) -> Filters:
    from schemas.topics import CHANGES, SOURCES
    from streamproc.deadletters.store import Filters
    from streamproc.errors import ConfigError

    if topic and topic not in SOURCES and topic not in CHANGES:
        raise ConfigError(f"--topic {topic!r} is no event stream; there are: {', '.join((*SOURCES, *CHANGES))}")
    return Filters(topic=topic, error=error, since_ms=_since_ms(since), event_id=event_id.strip())


def _since_ms(text: str) -> int:
    from datetime import datetime

    from streamproc.clock import now_ms
    from streamproc.embedded.durations import parse_duration
    from streamproc.errors import ConfigError

    if not text:
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return now_ms() - int(parse_duration(text) * 1000)
    if moment.tzinfo is None:
        raise ConfigError(f"--since {text}: give an offset, such as {text}Z")
    return int(moment.timestamp() * 1000)


def _changes(pairs: list[str]) -> dict[str, Any]:
    import orjson

    from streamproc.errors import ConfigError

    changes: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise ConfigError(f"--set {pair!r}: write field=value")
        try:
            changes[name] = orjson.loads(value)
        except orjson.JSONDecodeError:
            changes[name] = value
        try:
            orjson.dumps(changes[name])
        except TypeError as error:
            raise ConfigError(f"--set {name}: {error}") from None
    return changes


def _time(epoch_ms: int) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _letters_table(letters: list[Letter]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("recorded", "topic", "part.", "offset", "reason", "error", "event_id", "replay"):
        table.add_column(name, overflow="fold", justify="right" if name in ("part.", "offset") else "left")
    for letter in letters:
        topic, partition, _, offset = letter.place
        where = (_time(letter.recorded_ms), topic, str(partition), str(offset))
        table.add_row(*where, letter.reason, escape(letter.error), escape(letter.event_id[:36]), letter.state)
    return table


def _outcome_table(before: list[Any], outcome: Outcome) -> Table:
    from rich.table import Table

    from streamproc.deadletters.store import REPLAYED

    columns = sorted({what for _, what in outcome.letters})
    table = Table("reason", "letters", "replayed before", *columns, box=None, header_style="bold", pad_edge=False)
    for reason in sorted({count.reason for count in before}):
        whole = sum(count.letters for count in before if count.reason == reason)
        earlier = sum(count.letters for count in before if count.reason == reason and count.state == REPLAYED)
        table.add_row(reason, f"{whole:,}", f"{earlier:,}", *(f"{outcome.letters[reason, what]:,}" for what in columns))
    return table
