"""Records what Debezium really sends: PostgreSQL, its connector in every mode, Apache Kafka; `python -m tests.cdc.record`.

Needs PostgreSQL's server programs (Debian: `apt-get install postgresql`), Java 17 and Maven, and takes some minutes. The
messages of each mode become tests/cdc/samples/MODE.ndjson, what the tables held at the end tests/cdc/samples/tables.json.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.cdc.samples import SAMPLES, Message, by_mode, problems, save
from tests.support.kafka import start_kafka
from tests.support.ports import free_port

HERE: Final = Path(__file__).parent
TOPIC: Final = "recorded"
DECIMALS: Final = ("string", "double", "precise")
TIMES: Final = ("adaptive", "adaptive_time_microseconds", "connect", "isostring", "microseconds", "nanoseconds")
MODES: Final = ["-".join(mode) for mode in itertools.product(DECIMALS, ("schema", "plain"), TIMES)]
#: Rows of the scenario from before, and records that end each mode: the signal's snapshot reads the users that are left.
_READ_FIRST: Final = 4
_READ_AGAIN: Final = 2
_READ_IN_ALL: Final = 10
_PATIENCE_S: Final = 1500.0
_TABLES: Final = "app.users,app.channels,app.subscriptions,app.signals"


def missing() -> str:
    """What is not on this machine, '' if nothing is."""
    lacks = [name for name in ("java", "mvn") if shutil.which(name) is None]
    return ", ".join(lacks + ([] if _postgres_programs() else ["PostgreSQL's server programs"]))


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "/nowhere")]
    return found[-1].parent if found[-1].exists() else None


@contextmanager
def postgres(directory: Path) -> Iterator[int]:
    """A server with logical decoding on a free port, gone at the end; it never runs as root."""
    programs = _postgres_programs()
    assert programs is not None
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user: dict[str, Any] = {"user": user, "cwd": "/"} if os.geteuid() == 0 else {"cwd": "/"}
    directory.mkdir()
    shutil.chown(directory, user)
    port = free_port()
    data = directory / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "app", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"],
        check=True, stdout=subprocess.DEVNULL, **as_user,
    )  # fmt: skip
    settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off"}
    settings |= {"wal_level": "logical", "max_replication_slots": 60, "max_wal_senders": 60, "max_connections": 400}
    options = [text for name, value in settings.items() for text in ("-c", f"{name}={value}")]
    with (directory.parent / "postgres.log").open("wb") as log:
        server = subprocess.Popen([programs / "postgres", "-D", data, *options], stdout=log, stderr=log, **as_user)
    try:
        _until(
            "PostgreSQL",
            lambda: (
                subprocess.run(
                    [programs / "pg_isready", "-p", str(port), "-h", "127.0.0.1"], stdout=subprocess.DEVNULL
                ).returncode
                == 0
            ),
        )
        yield port
    finally:
        server.terminate()
        server.wait(60)


def sql(port: int, text: str) -> str:
    """Run statements as one person types them; what they gave, one line a row."""
    argv = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "app", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-qAt"]
    return subprocess.run(
        argv, input=text, capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC", "PGTZ": "UTC"}
    ).stdout


def properties(mode: str, port: int, directory: Path, **more: str) -> Path:
    """The connector's configuration of one mode, as a file."""
    decimals, schema, times = mode.split("-")
    name = mode.replace("-", "_")
    lines = {
        "name": name,
        "connector.class": "io.debezium.connector.postgresql.PostgresConnector",
        "offset.storage": "org.apache.kafka.connect.storage.FileOffsetBackingStore",
        "offset.storage.file.filename": directory / f"{mode}.offsets",
        "offset.flush.interval.ms": 100,
        "database.hostname": "127.0.0.1",
        "database.port": port,
        "database.user": "app",
        "database.password": "-",
        "database.dbname": "postgres",
        "topic.prefix": f"cdc_{name}",
        "plugin.name": "pgoutput",
        "slot.name": name,
        "publication.name": name,
        "publication.autocreate.mode": "filtered",
        "table.include.list": _TABLES,
        "signal.data.collection": "app.signals",
        "decimal.handling.mode": decimals,
        "time.precision.mode": times,
        "converter.schemas.enable": str(schema == "schema").lower(),
        "heartbeat.interval.ms": 10000,
        "provide.transaction.metadata": "true",
        "skipped.operations": "none",
        "tombstones.on.delete": "true",
        **more,
    }
    path = directory / f"{mode}.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    return path


class Connectors:
    """The Java process that runs connectors."""

    def __init__(self, jars: Path, bootstrap: str, files: list[Path]) -> None:
        argv = [
            "java",
            "-Xmx1g",
            "-XX:+UseSerialGC",
            "-cp",
            f"{jars}/*",
            HERE / "Recorder.java",
            bootstrap,
            TOPIC,
            *files,
        ]
        self._process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=sys.stderr)

    def check(self) -> bool:
        """Whether they run."""
        if self._process.poll() is not None:
            raise SystemExit("a connector failed: see above")
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.kill()
        self._process.communicate(b"\n", timeout=_PATIENCE_S)


class Log:
    """All that was recorded so far, in the order of arrival."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self.messages: list[Message] = []

    def read(self) -> list[Message]:
        """Read on to the end of the topic."""
        asyncio.run(self._read())
        return self.messages

    async def _read(self) -> None:
        consumer = AIOKafkaConsumer(bootstrap_servers=self._bootstrap, enable_auto_commit=False)
        await consumer.start()
        try:
            tp = TopicPartition(TOPIC, 0)
            consumer.assign([tp])
            consumer.seek(tp, len(self.messages))
            end = (await consumer.end_offsets([tp]))[tp]
            while len(self.messages) < end:
                for record in (await consumer.getmany(timeout_ms=500)).get(tp, []):
                    headers = {name: value.decode() for name, value in record.headers}
                    topic = headers["destination"].replace("cdc_" + headers["mode"].replace("-", "_"), "cdc")
                    key, value = (None if raw is None else raw.decode() for raw in (record.key, record.value))
                    self.messages.append(Message(headers["mode"], topic, key, value))
        finally:
            await consumer.stop()

    def reads(self) -> Counter[str]:
        """Rows read by snapshots, by mode."""
        return Counter(each.mode for each in self.read() if '"op":"r"' in (each.value or ""))

    def wait_for(self, what: str, condition: Callable[[], bool], connectors: Connectors) -> None:
        """Wait until a condition holds, while the connectors live."""
        _until(what, lambda: connectors.check() and condition())

    def changes(self, text: str) -> int:
        """Messages in which a text occurs."""
        return sum(text in (each.value or "") for each in self.read())


def _until(what: str, condition: Any) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"waited {_PATIENCE_S:.0f} s for {what}")
        time.sleep(1.0)


async def _make_topic(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, 1, 1)])
    finally:
        await admin.close()


def _held(port: int) -> str:
    """What the tables hold, as JSON with every digit."""
    tables = [
        f'"{name}": ' + sql(port, f"SELECT coalesce(json_agg(t ORDER BY id), '[]') FROM app.{name} t").strip()
        for name in ("users", "channels", "subscriptions")
    ]
    return "{" + ",\n".join(tables) + "}"


def record(directory: Path, modes: list[str]) -> tuple[list[Message], str]:
    """The scenario as the connectors of all modes saw it, and what the tables held when they were stopped, as JSON."""
    jars = directory / "jars"
    fetch = ["mvn", "-B", "-q", "-f", HERE / "pom.xml", "dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
    subprocess.run(fetch, check=True)
    before, _, after = (HERE / "scenario.sql").read_text(encoding="utf-8").partition("/* now */")
    with postgres(directory / "postgres") as port, start_kafka(directory / "kafka") as kafka:
        asyncio.run(_make_topic(kafka.bootstrap))
        sql(port, before)
        log = Log(kafka.bootstrap)
        with Connectors(jars, kafka.bootstrap, [properties(mode, port, directory) for mode in modes]) as first:
            log.wait_for("the first snapshots", lambda: all(log.reads()[mode] >= _READ_FIRST for mode in modes), first)
            sql(port, after)
            log.wait_for(
                "the signalled snapshots",
                lambda: all(log.reads()[m] >= _READ_FIRST + _READ_AGAIN for m in modes),
                first,
            )
        held = _held(port)
        sql(port, "UPDATE app.users SET username = 'meanwhile' WHERE id = 2;")
        restarted = [mode for mode in modes if mode.endswith("-adaptive")]
        files = [properties(mode, port, directory, **{"snapshot.mode": "always"}) for mode in restarted]
        with Connectors(jars, kafka.bootstrap, files) as again:
            log.wait_for(
                "snapshots of a new start", lambda: all(log.reads()[m] >= _READ_IN_ALL for m in restarted), again
            )
            sql(port, "UPDATE app.subscriptions SET status = 'paused' WHERE id = 6;")
            log.wait_for("the last change", lambda: log.changes('"paused"') >= len(restarted), again)
        restarted_held = _held(port)
        return log.read(), f'{{"stopped": {held},\n"restarted": {restarted_held}}}\n'


def main() -> None:
    """Record all modes, or those named."""
    if lacks := missing():
        raise SystemExit(f"skipped: there is no {lacks} on this machine")
    with tempfile.TemporaryDirectory(prefix="streamproc-cdc-") as folder:
        Path(folder).chmod(0o755)
        messages, held = record(Path(folder), sys.argv[1:] or MODES)
    save(messages, held)
    wrong = [f"{mode}: {text}" for mode, of_mode in by_mode(messages).items() for text in problems(of_mode, held)]
    if wrong:
        raise SystemExit("\n".join(wrong))
    print(f"{len(messages)} messages in {SAMPLES}")


if __name__ == "__main__":
    # Servers are stopped on the way out, also where somebody ends this.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
