"""`python -m tests.oracle.producer`: messy traffic at a given rate, with a ledger of what the broker acknowledged."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
import time
from pathlib import Path

from tests.oracle.sending import Ledger, Sender
from tests.oracle.traffic import TOPICS, Mix, Traffic

_TICK_S = 0.02
#: Events that may wait for the broker; above, no more are made until it takes them.
_MOST_WAITING = 30_000
#: After a stall at most this much of the missed time is made up for.
_MAKE_UP_S = 1.0


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.oracle.producer", description=__doc__)
    parser.add_argument("--bootstrap", required=True, help="host:port, several with commas")
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--seconds", type=float, required=True, help="how long (SIGTERM ends it earlier)")
    parser.add_argument("--seed", type=int, required=True, help="two producers need two: it names their videos and ids")
    parser.add_argument("--ledger", type=Path, required=True, help="JSON lines are added to this file")
    for name, value in Mix.__dataclass_fields__.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=float, default=value.default, help="a share, 0 to 1")
    parser.add_argument("--behind-hours", type=float, default=0.0, help="event time begins so far back and ends now")
    parser.add_argument("--linger-ms", type=float, default=20.0, help="how long a partition gathers a batch")
    parser.add_argument("--compression", choices=("gzip", "snappy", "lz4", "zstd"), help="of the batches")
    parser.add_argument("--topic-prefix", default="", help="before each topic's name")
    parser.add_argument("--patience", type=float, default=20.0, help="seconds for what waits when the time is over")
    return parser.parse_args(argv)


async def run(args: argparse.Namespace) -> dict[str, float]:
    """Produce; returns how many records had which outcome, and the rate that was held."""
    mix = Mix(**{name: getattr(args, name) for name in Mix.__dataclass_fields__})
    traffic, ledger = Traffic(args.seed, mix), Ledger(args.ledger)
    sender = Sender(args.bootstrap, ledger, args.linger_ms / 1000, args.compression, args.topic_prefix)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await sender.start(TOPICS)
        began = time.monotonic()
        made = await _pace(args, traffic, sender, stop)
        spent = time.monotonic() - began
        await sender.finish(args.patience)
    finally:
        ledger.close()
    return {"made": made, "seconds": round(spent, 2), "per_second": round(made / max(spent, 0.001)), **ledger.counts}


async def _pace(args: argparse.Namespace, traffic: Traffic, sender: Sender, stop: asyncio.Event) -> int:
    """Make as many events as are due, tick by tick, while the broker takes them."""
    began = last = time.monotonic()
    behind_ms = args.behind_hours * 3_600_000
    due, made, refreshed = 0.0, 0, began
    while not stop.is_set() and (now := time.monotonic()) - began < args.seconds:
        due = min(due + (now - last) * args.rate, max(_MAKE_UP_S * args.rate, 1.0))
        last = now
        if now - refreshed > 1:
            refreshed = now
            sender.refresh()
        wall_ms = int(time.time() * 1000)
        event_ms = wall_ms - int(behind_ms * (1 - (now - began) / args.seconds))
        share = min(int(due), 2000, _MOST_WAITING - sender.waiting)
        for _ in range(share):
            sender.take(traffic.next(event_ms), wall_ms)
        due -= max(share, 0)
        made += max(share, 0)
        # With more due than one turn makes, the lanes still get the loop in between.
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0 if due >= 1 and share > 0 else _TICK_S)
    return made


def main() -> int:
    """Run, and print what became of the records as one JSON line."""
    # A broker that is away is part of the game: aiokafka warns of it several times a second.
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    print(json.dumps(asyncio.run(run(arguments()))), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
