"""I1 in Redis: live values, series, aliases and totals show what the rules give."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import duckdb

from tests.oracle.report import Finding, of_words
from tests.oracle.stores import Redis

_SECONDS = {"1m": 60, "5m": 300, "1h": 3600, "1d": 86_400}
_KEPT = {"1m": 120, "5m": 288, "1h": 168, "1d": 35}
_ALIASES = {"active_users:1d": "dau:1d", "total_cost_usd:1d": "daily_burn_rate_usd:1d"}

#: Window start in epoch s -> (value, count, late).
Windows = dict[int, tuple[float | None, int, int]]


def check(db: duckdb.DuckDBPyConnection, store: Redis) -> list[Finding]:
    """Compare `sp:live`, `sp:series` and `sp:entity` with the expected tables."""
    expected: dict[str, Windows] = defaultdict(dict)
    for metric, win, start, dim, dv, value, n, late in db.execute(
        "SELECT metric, win, start // 1000, dim, dv, value, n, late FROM want_now"
    ).fetchall():
        expected[f"{metric}:{win}" + (f":{dim}={dv}" if dim else "")][start] = (value, n, late)
    names = list(expected)
    live = dict(store.hashes([f"live:{name}" for name in names + list(_ALIASES.values())]))
    wrong_live = [text for name in names for text in _live(name, live[f"live:{name}"], expected[name])]
    for name, alias in _ALIASES.items():
        if name in expected and {**live[f"live:{name}"], "updated_at": ""} != {
            **live[f"live:{alias}"],
            "updated_at": "",
        }:
            wrong_live.append(f"alias {alias} shows {live[f'live:{alias}']}, {name} shows {live[f'live:{name}']}")
    strangers = store.keys("live:*") - {f"live:{name}" for name in (*names, *_ALIASES.values())}
    wrong_live += [text for key, shown in store.hashes(sorted(strangers)) for text in _stranger(key, shown)]
    wrong_series = [
        text
        for key, kept in store.hashes([f"series:{name}" for name in names])
        for text in _series(key.removeprefix("series:"), kept, expected[key.removeprefix("series:")])
    ]
    return [
        of_words("I1", "Redis: live values and aliases", len(live), wrong_live),
        of_words("I1", "Redis: series", sum(map(len, expected.values())), wrong_series),
        _totals(db, store),
    ]


def _same(metric: str, text: str, due: float | None) -> bool:
    if text == "" or due is None:
        return text == "" and due is None
    slack = 0.01 * abs(due) if "_p50_" in metric or "_p95_" in metric or "_p99_" in metric else 1e-9 * max(abs(due), 1)
    return abs(float(text) - due) <= slack + 1e-9


def _stranger(key: str, shown: dict[str, str]) -> Iterator[str]:
    """A metric that the log knows nothing of may only be an empty window."""
    if shown.get("count", "0") != "0" or shown.get("value", "") not in ("", "0"):
        yield f"{key} shows {shown.get('value')} of {shown.get('count')}, but the log holds nothing of it"


def _live(name: str, shown: dict[str, str], due: Windows) -> Iterator[str]:
    if not shown:
        yield f"live {name} is missing"
        return
    start, newest = int(shown["window_start"]), max(due)
    if start < newest:
        yield f"live {name} shows the window of {start}, the newest is {newest}"
    if int(shown["window_end"]) - start != _SECONDS[name.split(":")[1]]:
        yield f"live {name} ends at {shown['window_end']}, begins at {start}"
    if start in due:
        value, n, late = due[start]
        if not _same(name, shown["value"], value) or int(shown["count"]) != n or int(shown["late"]) != late:
            got = f"{shown['value']!r} of {shown['count']} ({shown['late']} late)"
            yield f"live {name} at {start}: {got}, due {value} of {n} ({late} late)"
    elif shown["count"] != "0" or shown["value"] not in ("", "0"):
        yield f"live {name} at {start}: {shown['value']!r} of {shown['count']} in a window without events"
    before = int(shown.get("final_window_start") or 0)
    if before in due and not _same(name, shown["final_value"], due[before][0]):
        yield f"live {name}: the window before shows {shown['final_value']!r}, due {due[before][0]}"


def _series(name: str, kept: dict[str, str], due: Windows) -> Iterator[str]:
    keep = _KEPT[name.split(":")[1]]
    found = {int(start): value for start, value in kept.items()}
    if len(found) > keep:
        yield f"series {name} holds {len(found)} windows, more than {keep}"
    # A series keeps its newest windows: once full, its oldest tells which have gone.
    oldest = min(found) if len(found) >= keep else 0
    for start, (value, _, _) in due.items():
        if start not in found:
            if start >= oldest:
                yield f"series {name} lacks {start}: due {value}"
        elif not _same(name, found[start], value):
            yield f"series {name} at {start}: {found[start]!r}, due {value}"
    for start in found.keys() - due.keys():
        if found[start] not in ("", "0"):
            yield f"series {name} at {start}: {found[start]!r}, but the log holds nothing of it"


def _totals(db: duckdb.DuckDBPyConnection, store: Redis) -> Finding:
    due = {f"entity:{m}:{e}": (int(e4), n) for m, e, e4, n in db.execute("FROM want_total").fetchall()}
    wrong = []
    for key, shown in store.hashes(list(due)):
        e4, n = due[key]
        if not shown:
            wrong.append(f"{key} is missing: due {e4 / 10_000} of {n}")
        elif abs(float(shown["value"]) - e4 / 10_000) > 1e-9 * max(1, abs(e4)) or int(shown["count"]) != n:
            wrong.append(f"{key} shows {shown['value']} of {shown['count']}, due {e4 / 10_000} of {n}")
    wrong += [f"{key}: the log holds nothing of it" for key in sorted(store.keys("entity:*") - due.keys())]
    return of_words("I1", "Redis: totals by entity", len(due), wrong)
