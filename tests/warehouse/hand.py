"""Small months made by hand: a few records, written as the files that `compute` reads."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.warehouse.truth import Truth, compute


def ms(time: str) -> int:
    """RFC 3339 as epoch ms; a day alone is its midnight, and 'DAY HH:MM' is in UTC."""
    moment = datetime.fromisoformat(
        time.replace(" ", "T").removesuffix("Z") + ("T00:00" if len(time) == 10 else "") + "+00:00"
    )
    return round(moment.timestamp() * 1000)


def rfc(time: str) -> str:
    """Such a time as events tell it."""
    return datetime.fromtimestamp(ms(time) / 1000).astimezone().isoformat(timespec="milliseconds")


class Hand:
    """Records in the making; `at` is event time and, if nothing else is said, Kafka's timestamp too."""

    def __init__(self) -> None:
        self._files: dict[str, list[tuple[int, str | None]]] = {}
        self._ids = 0

    def raw(self, topic: str, at: str | int, value: str | None) -> None:
        """Any record; of equal timestamps those added first come first."""
        self._files.setdefault(topic, []).append((at if isinstance(at, int) else ms(at), value))

    def event(
        self, topic: str, at: str, *, log: str | int | None = None, event_id: str | None = None, **fields: Any
    ) -> str:
        """A valid event with these fields; returns its id. Ids count upwards, so that later ones win ties."""
        self._ids += 1
        event_id = event_id or f"00000000-0000-4000-8000-{self._ids:012x}"
        head = {"event_id": event_id, "schema_version": "1.0.0", "occurred_at": rfc(at)}
        self.raw(topic, at if log is None else log, json.dumps(head | fields))
        return event_id

    def user(self, at: str, user_id: int | None = 1, **more: Any) -> str:
        fields: dict[str, Any] = {"user_id": user_id, "activity_type": "login"}
        return self.event("user-events", at, **fields | more)

    def video(self, at: str, video_id: int, status: str, *, log: str | int | None = None, **more: Any) -> str:
        """Times of the status that are not given are those of the event."""
        needed = {"started": 1, "failed": 1, "completed": 2, "published": 3}.get(status, 0)
        times = dict.fromkeys(("started_at", "completed_at", "published_at")[:needed], rfc(at))
        fields: dict[str, Any] = {
            "video_id": video_id,
            "channel_id": 10,
            "user_id": 1,
            "status": status,
            "requested_at": rfc(at),
        }
        youtube = {"youtube_video_id": f"yt{video_id}"} if status == "published" else {}
        told = {name: rfc(value) if name.endswith("_at") and value else value for name, value in more.items()}
        return self.event("video-status", at, log=log, **{**fields, **times, **youtube, **told})

    def cost(self, at: str, amount: str | float, video_id: int | None = None, **more: Any) -> str:
        fields: dict[str, Any] = {"video_id": video_id, "component": "voice", "amount_usd": amount}
        return self.event("cost-events", at, **fields | more)

    def health(self, at: str, ok: bool, service: str = "api", **more: Any) -> str:
        return self.event("ops-events", at, service=service, kind="health", ok=ok, interval_s=60, **more)

    def mrr(self, at: str, kind: str, mrr: str, sub: str = "s1", user_id: int = 1, **more: Any) -> str:
        return self._bill(at, f"subscription_{kind}", sub, user_id, mrr_usd=mrr, **more)

    def pay(self, at: str, amount: str, kind: str = "payment", user_id: int = 1, **more: Any) -> str:
        return self._bill(at, kind, "s1", user_id, amount_usd=amount, **more)

    def _bill(self, at: str, kind: str, sub: str, user_id: int, **more: Any) -> str:
        fields: dict[str, Any] = {"user_id": user_id, "kind": kind, "subscription_id": sub, "started_at": rfc(at)}
        return self.event("billing-events", at, **fields | more)

    def change(
        self,
        table: str,
        op: str,
        lsn: int,
        at: str,
        row: dict[str, Any],
        *,
        log: str | None = None,
        schema: dict[str, Any] | None = None,
    ) -> None:
        """A change record; `row` goes to the side that the op tells."""
        sides = {"before": row, "after": None} if op == "d" else {"before": None, "after": row}
        payload = sides | {"source": {"lsn": lsn, "ts_ms": ms(at), "table": table}, "op": op, "ts_ms": ms(at)}
        value = payload if schema is None else {"schema": schema, "payload": payload}
        self.raw(f"cdc.app.{table}", log or at, json.dumps(value))

    def truth(self, directory: Path) -> Truth:
        """Write the files and compute."""
        for topic, told in self._files.items():
            lines = [
                json.dumps({"ts": ts, "key": None, "value": value}) for ts, value in sorted(told, key=lambda r: r[0])
            ]
            (directory / f"{topic}.ndjson").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return compute(directory)
