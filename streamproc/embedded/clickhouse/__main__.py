"""Starts the server: `python -m streamproc.embedded.clickhouse --port 8123 --data-dir DIR`."""

import argparse
import asyncio
import ipaddress
import logging
import os
import shutil
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from streamproc.embedded.clickhouse.app import Server
from streamproc.embedded.clickhouse.engine import Engine
from streamproc.embedded.clickhouse.errors import ClickHouseError
from streamproc.embedded.clickhouse.request import Credentials

_GIB = 1 << 30
_URL_LIMIT = 1 << 20
_BACKLOG = 512
_READ_BUFFER = 1 << 20


class ServerError(Exception):
    """Why the server cannot start or did not end well, in one line for a person."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m streamproc.embedded.clickhouse",
        description="ClickHouse's HTTP interface over chDB, for one machine",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=8123, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--data-dir", type=Path, required=True, help="where the tables are kept")
    parser.add_argument("--user", default="default", help="the user to accept (default %(default)s)")
    parser.add_argument("--password-file", type=Path, help="file whose first line is the user's password")
    parser.add_argument(
        "--max-memory", type=int, default=2 * _GIB, help="bytes that the engine may use (default %(default)s)"
    )
    parser.add_argument("--threads", type=int, default=32, help="statements at a time (default %(default)s)")
    parser.add_argument(
        "--grace", type=float, default=30.0, help="seconds for requests in flight at a stop (default %(default)s)"
    )
    return parser.parse_args()


def _credentials(user: str, password_file: Path | None) -> Credentials | None:
    if password_file is None:
        if user != "default":
            raise ServerError("--user needs --password-file")
        return None
    try:
        lines = password_file.read_text().splitlines()
    except OSError as error:
        raise ServerError(f"cannot read the password file {password_file}: {error.strerror}") from error
    if not lines or not lines[0]:
        raise ServerError(f"the password file {password_file} is empty")
    return Credentials(user, lines[0])


def _listen(host: str, port: int, with_password: bool) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, OverflowError) as error:
        raise ServerError(f"cannot use the address {host}:{port}: {error}") from error
    if not with_password and not ipaddress.ip_address(address[0]).is_loopback:
        raise ServerError(f"listening on {host} needs --password-file: others could read and change the data")
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ServerError(
            f"port {port} on {host} cannot be used ({error.strerror}): stop what listens there or choose another --port"
        ) from error
    return listener


def _open(data_dir: Path, max_memory: int) -> tuple[Engine, Path]:
    """The engine and a private directory for bodies that are too big for memory."""
    if "?" in str(data_dir.resolve()):
        raise ServerError(f"the data directory {data_dir} has a ? in its name: the engine would read options there")
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        engine = Engine(data_dir.resolve(), max_memory)
    except OSError as error:
        raise ServerError(f"cannot use the data directory {data_dir}: {error.strerror}") from error
    except ClickHouseError as error:
        raise ServerError(
            f"cannot open the data directory {data_dir}: another server may be using it ({error.message.strip()})"
        ) from error
    spool = data_dir.resolve() / "http_spool"
    # What a killed server left there belongs to requests that were never acknowledged.
    shutil.rmtree(spool, ignore_errors=True)
    spool.mkdir(mode=0o700)
    return engine, spool


async def _serve(server: Server, listener: socket.socket, ready: str, grace: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(
        server.application(),
        access_log=None,
        handler_cancellation=True,
        auto_decompress=False,
        max_line_size=_URL_LIMIT,
        max_field_size=_URL_LIMIT,
        read_bufsize=_READ_BUFFER,
        shutdown_timeout=grace,
    )
    await runner.setup()
    await web.SockSite(runner, listener).start()
    print(ready, flush=True)
    await stop.wait()
    await runner.cleanup()


def _run(options: argparse.Namespace) -> None:
    credentials = _credentials(options.user, options.password_file)
    # The port first: a taken one is found before the data directory is touched.
    listener = _listen(options.host, options.port, credentials is not None)
    engine, spool = _open(options.data_dir, options.max_memory)
    server = Server(engine, spool, credentials, options.threads)
    port = listener.getsockname()[1]
    ready = f"ClickHouse {engine.version} (chDB) ready on http://{options.host}:{port} with data in {options.data_dir}"
    asyncio.run(_serve(server, listener, ready, options.grace))
    running = server.close()
    if running:
        # The engine cannot be closed below them. Nothing acknowledged is lost: that is in its tables.
        raise ServerError(f"stopped with {running} statements that took longer than {options.grace:g} seconds")
    engine.close()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s %(message)s", stream=sys.stderr)
    try:
        _run(_arguments())
    except ServerError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # The engine's threads can crash an ordinary interpreter exit; everything is closed and on disk by now.
    os._exit(code)
