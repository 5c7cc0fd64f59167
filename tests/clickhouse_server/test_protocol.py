"""ClickHouse's HTTP interface as curl and Grafana use it: URLs, headers, errors, settings, parameters, sessions."""

import json
import shutil
import socket
import subprocess
import threading
import time
import zlib
from pathlib import Path
from urllib.parse import urlencode

import lz4.frame
import pytest
import zstandard

from tests.clickhouse_server.http import Http
from tests.support.clickhouse import ClickHouseHandle


def _curl(*arguments: str, stdin: bytes = b"") -> str:
    program = shutil.which("curl")
    assert program is not None, "these tests drive the server with curl"
    run = subprocess.run([program, "-sS", *arguments], input=stdin, capture_output=True, timeout=60, check=True)
    return run.stdout.decode()


def test_curl(server: ClickHouseHandle, database: str, tmp_path: Path) -> None:
    url = f"{server.url}/?database={database}"
    assert _curl(f"{server.url}/ping") == "Ok.\n"
    assert _curl(f"{server.url}/replicas_status") == "Ok.\n"
    assert _curl(f"{server.url}/") == "Ok.\n"
    assert _curl(f"{server.url}/?query=SELECT%201") == "1\n"
    assert _curl(server.url, "-d", "SELECT 2") == "2\n"
    assert _curl(server.url, "-G", "--data-urlencode", "query=SELECT '5 %'") == "5 %\n"
    assert _curl(url, "-d", "CREATE TABLE t (a UInt32, b String) ENGINE = MergeTree ORDER BY a") == ""
    data = "".join(f"{number},text {number}\n" for number in range(150_000))
    (tmp_path / "data.csv").write_text(data)
    insert = f"{url}&query=INSERT%20INTO%20t%20FORMAT%20CSV"
    # curl asks with `Expect: 100-continue` before it sends a body of this size.
    assert _curl(insert, "--data-binary", f"@{tmp_path / 'data.csv'}") == ""
    assert _curl(insert, "-H", "Transfer-Encoding: chunked", "-T", "-", "-X", "POST", stdin=b"150000,x\n") == ""
    assert _curl(url, "-d", "SELECT count(), max(a) FROM t") == "150001\t150000\n"
    assert _curl(url, "-d", "SELECT a FROM t WHERE a < 2 ORDER BY a FORMAT JSONCompactEachRow") == "[0]\n[1]\n"
    assert "Code: 60. DB::Exception: " in _curl(url, "-d", "SELECT * FROM missing")


def test_response_headers(http: Http) -> None:
    answer = http.post("SELECT number FROM numbers(10)", query_id="my-id", default_format="JSONEachRow")
    assert answer.headers["X-ClickHouse-Query-Id"] == "my-id"
    assert answer.headers["X-ClickHouse-Format"] == "JSONEachRow"
    assert answer.headers["X-ClickHouse-Timezone"] == http.ok("SELECT timezone()").strip()
    assert answer.headers["X-ClickHouse-Server-Display-Name"] == http.ok("SELECT displayName()").strip()
    assert answer.headers["Content-Type"] == "application/x-ndjson; charset=UTF-8"
    summary = json.loads(answer.headers["X-ClickHouse-Summary"])
    assert (summary["read_rows"], summary["result_rows"]) == ("10", "10")
    assert int(summary["elapsed_ns"]) > 0
    assert http.post("SELECT 1 FORMAT JSON").headers["Content-Type"] == "application/json; charset=UTF-8"
    assert http.post("SELECT 1").headers["X-ClickHouse-Query-Id"]


@pytest.mark.parametrize(
    ("query", "code", "name", "status"),
    [
        ("SELECT * FROM missing", 60, "UNKNOWN_TABLE", 404),
        ("SELECT * FROM missing.t", 81, "UNKNOWN_DATABASE", 404),
        ("SELECT missing", 47, "UNKNOWN_IDENTIFIER", 404),
        ("SELECT missing(1)", 46, "UNKNOWN_FUNCTION", 404),
        ("SELEC 1", 62, "SYNTAX_ERROR", 400),
        ("", 62, "SYNTAX_ERROR", 400),
        ("SELECT 1; SELECT 2", 62, "SYNTAX_ERROR", 400),
        ("SELECT 1 FORMAT Missing", 73, "UNKNOWN_FORMAT", 404),
        ("SELECT throwIf(1)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500),
        ("SELECT throwIf(number = 900000) FROM numbers(1000000)", 395, "FUNCTION_THROW_IF_VALUE_IS_NON_ZERO", 500),
        ("SELECT toUInt8('x')", 6, "CANNOT_PARSE_TEXT", 400),
        ("SELECT sleepEachRow(1) FROM numbers(3) SETTINGS max_execution_time = 1, max_block_size = 1", 159, "TIMEOUT_EXCEEDED", 408),
        ("SELECT 1 INTO OUTFILE '/tmp/x'", 358, "INTO_OUTFILE_NOT_ALLOWED", 500),
        ("CREATE TABLE t (a UInt8) ENGINE = Missing", 56, "UNKNOWN_STORAGE", 404),
        ("SELECT {missing:UInt8}", 456, "UNKNOWN_QUERY_PARAMETER", 500),
    ],
)  # fmt: skip
def test_errors(http: Http, query: str, code: int, name: str, status: int) -> None:
    answer = http.post(query)
    assert (answer.code, answer.status) == (code, status), answer.text
    version = http.ok("SELECT version()").strip()
    assert answer.text.startswith(f"Code: {code}. DB::Exception: ")
    assert answer.text.endswith(f" ({name}) (version {version})\n")


def test_unknown_path_and_method(http: Http) -> None:
    assert http.send("GET", path="/missing").status == 404
    assert http.send("DELETE").status == 501


def test_get_only_reads(http: Http) -> None:
    http.ok("CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a")
    for query in ("INSERT INTO t VALUES (1)", "INSERT INTO t SELECT 1", "DROP TABLE t", "CREATE TABLE u AS t"):
        answer = http.get(query)
        assert (answer.code, answer.status) == (164, 500), answer.text
        assert "method GET implies readonly" in answer.text
    assert http.get("SELECT count() FROM t", max_threads="1").text == "0\n"
    assert http.post("INSERT INTO t VALUES (1)", readonly="1").code == 164
    assert http.post("SELECT 1", readonly="1").text == "1\n"
    assert http.get("SELECT 1", readonly="0").text == "1\n"
    assert http.get("DROP TABLE t", readonly="0").code == 164


def test_settings_hold_for_one_query(http: Http) -> None:
    query = "SELECT getSetting('max_threads'), toInt64(1) AS a FORMAT JSONEachRow"
    changed = http.ok(query, max_threads="1", output_format_json_quote_64bit_integers="1")
    assert json.loads(changed)["a"] == "1"
    assert json.loads(http.ok(query))["a"] == 1
    unknown = http.post("SELECT 1", no_such_setting="1")
    assert (unknown.code, unknown.status) == (115, 404)
    bad = http.post("SELECT 1", max_threads="many")
    assert bad.code > 0
    assert bad.status >= 400
    assert http.post("SELECT 1", **{"a = 1, b": "2"}).code == 115
    quoting = "it's \\ 'quoted'"
    assert http.ok("SELECT getSetting('log_comment') FORMAT TSVRaw", log_comment=quoting) == quoting + "\n"


def test_parameters(http: Http) -> None:
    answer = http.post(
        "SELECT {n:UInt32} + 1, {s:String}, {a:Array(String)}, {d:Date}, {o:Nullable(String)} FORMAT TSVRaw",
        param_n="41",
        param_s="tab\\tquote'backslash\\\\",
        param_a="['x','it\\'s']",
        param_d="2026-02-03",
        param_o="\\N",
    )
    assert answer.text == "42\ttab\tquote'backslash\\\t['x','it\\'s']\t2026-02-03\t\\N\n"
    http.ok("CREATE TABLE t (a UInt8) ENGINE = Memory")
    http.ok("INSERT INTO {table:Identifier} VALUES ({value:UInt8})", param_table="t", param_value="7")
    assert http.ok("SELECT * FROM {table:Identifier}", param_table="t") == "7\n"
    assert http.post("SELECT {n:UInt32}", param_n="x").code == 457


def test_database_and_format_from_headers(http: Http) -> None:
    plain = Http(http.port)
    assert plain.ok("SELECT currentDatabase()") == "default\n"
    headers = {"X-ClickHouse-Database": http.database, "X-ClickHouse-Format": "JSONEachRow"}
    assert json.loads(plain.post("SELECT currentDatabase() AS d", headers).text) == {"d": http.database}
    assert plain.ok("SELECT currentDatabase()", database=http.database) == http.database + "\n"
    missing = plain.post("SELECT 1", database="missing")
    assert (missing.code, missing.status) == (81, 404)


def test_query_in_url_and_body(http: Http) -> None:
    assert http.post("+ 1", query="SELECT 1").text == "2\n"
    assert http.post("SELECT 1").text == "1\n"
    assert http.post("", query="SELECT 1").text == "1\n"
    long = "SELECT '" + "x" * 200_000 + "'"
    assert len(http.post(long).body) == 200_001
    assert http.post(long + " " * 100_000).code == 62
    assert http.post(long + " " * 100_000, max_query_size="1000000").status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "zstd", "lz4"])
def test_compressed_responses(http: Http, encoding: str) -> None:
    query = "SELECT number, toString(number) FROM numbers(700000) FORMAT CSV"
    plain = http.post(query).body
    assert http.post(query, {"Accept-Encoding": encoding}).body == plain
    answer = http.post(query, {"Accept-Encoding": encoding}, enable_http_compression="1")
    assert answer.headers["Content-Encoding"] == encoding
    decoded = {
        "gzip": lambda body: zlib.decompress(body, 31),
        "deflate": zlib.decompress,
        "zstd": lambda body: zstandard.ZstdDecompressor().decompressobj().decompress(body),
        "lz4": lz4.frame.decompress,
    }[encoding](answer.body)
    assert decoded == plain
    assert len(answer.body) < len(plain)


def test_native_block_compression_is_refused(http: Http) -> None:
    for name in ("compress", "decompress"):
        answer = http.post("SELECT 1", **{name: "1"})
        assert (answer.code, answer.status) == (48, 501)
        assert http.post("SELECT 1", **{name: "0"}).text == "1\n"


def test_form_with_external_table(http: Http) -> None:
    parts = {"query": ("", "SELECT sum(n) + {x:UInt8} FROM ext"), "param_x": ("", "5"), "ext": ("ext.csv", "1\n2\n")}
    body = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"'
        + (f'; filename="{file}"' if file else "")
        + f"\r\n\r\n{value}\r\n"
        for name, (file, value) in parts.items()
    )
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    answer = http.post(body + "--edge--\r\n", headers, ext_structure="n UInt32", ext_format="CSV")
    assert answer.text == "8\n"
    assert http.post(body + "--edge--\r\n", headers).code == 36


def test_results_of_many_blocks_and_none(http: Http) -> None:
    for data_format in ("TSV", "JSONEachRow", "JSON", "CSV"):
        query = f"SELECT number FROM numbers(3000000) WHERE number % 1000000 = 999999 FORMAT {data_format}"
        assert http.post(query).text.count("999999") == 3
    for data_format in ("TSV", "Native", "RowBinary", "CSV"):
        assert http.ok(f"SELECT number FROM numbers(10) WHERE number > 10 FORMAT {data_format}") == ""
    totals = "SELECT number % 2 AS k, count() FROM numbers(10) GROUP BY k WITH TOTALS ORDER BY k"
    assert http.ok(totals) == "0\t5\n1\t5\n\n0\t10\n"


def test_sessions(http: Http) -> None:
    assert http.post("SELECT 1", session_id="s1", session_check="1").code == 372
    http.ok("SET max_threads = 3", session_id="s1")
    assert http.ok("SELECT getSetting('max_threads')", session_id="s1") == "3\n"
    assert http.ok("SELECT getSetting('max_threads')", session_id="s1", max_threads="2") == "2\n"
    assert http.ok("SELECT getSetting('max_threads')", session_id="s1") == "3\n"
    http.ok("CREATE TEMPORARY TABLE tt (a UInt8)", session_id="s1")
    http.ok("INSERT INTO tt VALUES (4)", session_id="s1", max_threads="1")
    assert http.ok("SELECT a, getSetting('max_threads') FROM tt", session_id="s1") == "4\t3\n"
    assert http.get("SELECT a FROM tt", session_id="s1").text == "4\n"
    assert http.get("INSERT INTO tt VALUES (5)", session_id="s1").code == 164
    http.ok("INSERT INTO tt VALUES (5)", session_id="s1")
    assert http.post("SELECT a FROM tt").code == 60
    assert http.post("SELECT a FROM tt", session_id="s2").code == 60
    assert http.ok("SELECT count() FROM tt", session_id="s1", close_session="1") == "2\n"
    assert http.post("SELECT a FROM tt", session_id="s1").code == 60
    assert http.post("SELECT 1", session_id="s1", session_timeout="7200").code == 374


def test_one_statement_at_a_time_in_a_session(http: Http) -> None:
    slow = threading.Thread(target=http.ok, args=("SELECT sleep(2.25)",), kwargs={"session_id": "busy"})
    slow.start()
    http.wait_running("sleep(2.25)", 1)
    answer = http.post("SELECT 1", session_id="busy")
    slow.join()
    assert (answer.code, answer.status) == (373, 500)
    assert http.ok("SELECT 1", session_id="busy") == "1\n"


def _leave(http: Http, statement: str, body: bytes, marker: str, settings: str = "") -> None:
    """Send a statement and close the connection once it runs."""
    target = f"/?database={http.database}&{urlencode({'query': statement})}{settings}"
    with socket.create_connection(("127.0.0.1", http.port), timeout=30) as connection:
        connection.sendall(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        http.wait_running(marker, 1)


def test_a_select_ends_with_its_client_if_asked_to(http: Http) -> None:
    endless = "SELECT count() FROM (SELECT DISTINCT number % 1017 FROM numbers(1000000000000))"
    _leave(http, endless, b"", "1017", "&cancel_http_readonly_queries_on_client_close=1")
    http.wait_running("1017", 0)


def test_an_insert_goes_on_without_its_client(http: Http) -> None:
    http.ok("CREATE TABLE t (a UInt64) ENGINE = MergeTree ORDER BY a")
    statement = (
        "INSERT INTO t SELECT a + sleepEachRow(0.1) FROM input('a UInt64') SETTINGS max_block_size = 1 FORMAT TSV"
    )
    _leave(http, statement, b"".join(b"%d\n" % number for number in range(20)), "sleepEachRow(0.1)")
    deadline = time.monotonic() + 20
    while http.ok("SELECT count() FROM t") == "0\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert http.ok("SELECT count(), sum(a) FROM t") == "20\t190\n"


def test_slow_statements_block_neither_ping_nor_others(http: Http) -> None:
    slow = [threading.Thread(target=http.ok, args=("SELECT sleep(2)",)) for _ in range(6)]
    for thread in slow:
        thread.start()
    waits = []
    for _ in range(20):
        started = time.monotonic()
        assert http.send("GET", path="/ping").body == b"Ok.\n"
        assert http.ok("SELECT 1") == "1\n"
        waits.append(time.monotonic() - started)
    assert all(thread.is_alive() for thread in slow)
    assert max(waits) < 1.0
    for thread in slow:
        thread.join()


def test_statements_about_tables(http: Http) -> None:
    http.ok("CREATE TABLE t (a UInt8, b String) ENGINE = MergeTree ORDER BY a")
    http.ok("CREATE TABLE u AS t")
    http.ok("INSERT INTO t VALUES (1, 'x')")
    assert http.ok("SHOW TABLES") == "t\nu\n"
    assert http.ok("EXISTS TABLE t") == "1\n"
    assert http.ok("DESCRIBE TABLE t").startswith("a\tUInt8\t")
    http.ok("EXCHANGE TABLES t AND u")
    assert http.ok("SELECT count() FROM u") == "1\n"
    assert http.ok("SELECT count() FROM system.tables WHERE database = currentDatabase()") == "2\n"
    http.ok("DELETE FROM u WHERE a = 1")
    assert http.ok("SELECT count() FROM u") == "0\n"
    http.ok("ALTER TABLE u ADD COLUMN c UInt8 DEFAULT 5")
    http.ok("OPTIMIZE TABLE u FINAL")
    http.ok("KILL QUERY WHERE query_id = 'nobody'")


def test_the_memory_limit_is_an_error_and_no_end(http: Http) -> None:
    answer = http.post(
        "SELECT count() FROM (SELECT DISTINCT number FROM numbers(1000000000))", max_memory_usage="20000000"
    )
    assert answer.code == 241, answer.text
    assert http.ok("SELECT value FROM system.server_settings WHERE name = 'max_server_memory_usage'") == f"{2 << 30}\n"
