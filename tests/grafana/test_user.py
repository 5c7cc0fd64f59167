"""clickhouse_user.sql: it parses, wants a password, and its rights are enough for every panel and for nothing else.

chDB keeps no users, so none is made here: its one user gets the file's grants and limits by a configuration, and readonly = 1
by SET. What only a ClickHouse server knows is not tried: CHANGEABLE_IN_READONLY beyond its syntax, and the log-in.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.grafana.conftest import Warehouse
from tests.grafana.files import ROOT, panels, provisioned, statements
from tests.grafana.macros import expand
from tests.grafana.reader_process import __file__ as READER
from tests.warehouse.clickhouse import ClickHouse, ReadError

pytestmark = [pytest.mark.xdist_group("grafana"), pytest.mark.timeout(600)]

_CONFIG = "<clickhouse><user_directories><users_xml><path>{}</path></users_xml></user_directories></clickhouse>"
_USERS = """<clickhouse>
  <profiles><default>{settings}<constraints>{constraints}</constraints></default></profiles>
  <quotas><default/></quotas>
  <users><default><password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants>{grants}</grants></default></users>
</clickhouse>"""
#: No other order of words is used in the file; a statement that fits none of these fails the test.
_GRANT = re.compile(r"GRANT SELECT(?:\(([^)]*)\))? ON (\w+\.\w+) TO streamproc_reader")
_READ_ONLY = "SET readonly = 1"
_SETTING = re.compile(r"(\w+) = (\d+)(?: MIN (\d+) MAX (\d+) CHANGEABLE_IN_READONLY)?")


def _grants() -> dict[str, tuple[str, ...]]:
    """Tables, and the columns that may be read of them; none: all."""
    found = {}
    for match in filter(None, map(_GRANT.fullmatch, statements())):
        found[match[2]] = tuple(name.strip() for name in match[1].split(",")) if match[1] else ()
    return found


def _profile() -> dict[str, tuple[str, str, str]]:
    """Settings of the profile: value, and its bounds if a read-only user may change it."""
    (profile,) = (each for each in statements() if each.startswith("CREATE SETTINGS PROFILE"))
    parts = [_SETTING.fullmatch(part.strip()) for part in profile.split("SETTINGS", 2)[2].split(",")]
    return {part[1]: (part[2], part[3] or "", part[4] or "") for part in parts if part is not None}


def _users() -> str:
    profile = _profile()
    # As the whole process's profile it would stop views with SETTINGS of their own from being loaded.
    settings = [f"<{name}>{value}</{name}>" for name, (value, _, _) in profile.items() if name != "readonly"]
    bounded = {name: bounds for name, (_, *bounds) in profile.items() if all(bounds)}
    limits = [f"<{name}><min>{least}</min><max>{most}</max></{name}>" for name, (least, most) in bounded.items()]
    allowed = ((f"({', '.join(columns)})" if columns else "", table) for table, columns in _grants().items())
    grants = "".join(f"<query>GRANT SELECT{columns} ON {table}</query>" for columns, table in allowed)
    return _USERS.format(settings="".join(settings), constraints="".join(limits), grants=grants)


def _run(connection: str, asked: list[str]) -> list[str | None]:
    done = subprocess.run(
        [sys.executable, READER, connection], input=json.dumps(asked), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


@pytest.fixture(scope="module")
def reader(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A connection with the reader's rights to databases with the tables of the real ones."""
    directory = tmp_path_factory.mktemp("reader")
    there = warehouse.ask(
        """SELECT create_table_query FROM system.tables
           WHERE database IN ('bronze', 'silver', 'gold', 'meta') AND engine != 'MaterializedView'
           ORDER BY engine = 'View', database, name"""
    ).column("create_table_query")
    made = [f"CREATE DATABASE {name}" for name in ("bronze", "silver", "gold", "meta")] + there
    made.append("CREATE TABLE gold.dim_user__dbt_backup AS gold.dim_user")
    assert _run(f"{directory}/db", made) == [None] * len(made)
    (directory / "users.xml").write_text(_users(), encoding="utf-8")
    (directory / "config.xml").write_text(_CONFIG.format(directory / "users.xml"), encoding="utf-8")
    return f"{directory}/db?config-file={directory / 'config.xml'}"


def test_every_statement_is_one_that_is_held_to_something() -> None:
    """What the tests below take out of the file is all of it."""
    rest = [each for each in statements() if not _GRANT.fullmatch(each)]
    assert [" ".join(each.split()[:3]) for each in rest] == [
        "SELECT throwIf(length({password:String}) <",
        "CREATE SETTINGS PROFILE",
        "CREATE ROLE IF",
        "CREATE USER IF",
        "GRANT streamproc_reader TO",
    ]
    assert len(_grants()) == len(statements()) - len(rest)
    assert _profile() == {
        "readonly": ("1", "", ""),
        "max_execution_time": ("35", "1", "90"),
        "max_memory_usage": ("2000000000", "", ""),
    }
    assert "PROFILE 'streamproc_reader'" in rest[2]
    assert "PROFILE 'streamproc_reader'" in rest[3]


def test_clickhouse_reads_every_statement(warehouse: Warehouse) -> None:
    for statement in statements():
        sql = f"EXPLAIN AST {statement}".replace("{password:String}", "'a long password'")
        assert ClickHouse(warehouse.url).run(sql), statement


def test_no_user_is_made_without_a_password(warehouse: Warehouse) -> None:
    """Neither with none nor with one that is too short; the server cannot make users, but reads so far."""
    check, *_ = statements()
    client = ClickHouse(warehouse.url)
    with pytest.raises(ReadError, match="password"):
        client.run(check)
    for given in ("", "short"):
        with pytest.raises(ReadError, match="12 characters"):
            client.run(check.replace("{password:String}", f"'{given}'"))
    assert client.run(check.replace("{password:String}", "'a long password'"))
    (user,) = (each for each in statements() if each.startswith("CREATE USER"))
    with pytest.raises(ReadError, match="password"):
        client.run(f"EXPLAIN AST {user}")


def test_the_rights_are_enough_for_every_panel(reader: str, warehouse: Warehouse) -> None:
    asked = [expand(panel.sql, warehouse.view()) for panel in panels()]
    errors = _run(reader, [_READ_ONLY, *asked])
    assert [error for error in errors if error] == []


def test_the_rights_are_enough_for_nothing_else(reader: str) -> None:
    denied = {
        "SELECT payload FROM bronze.user_events": "ACCESS_DENIED",
        "SELECT user_id FROM silver.user_activity": "ACCESS_DENIED",
        "SELECT email FROM gold.dim_user": "ACCESS_DENIED",
        "SELECT * FROM gold.dim_user": "ACCESS_DENIED",
        "SELECT email FROM gold.dim_user__dbt_backup": "ACCESS_DENIED",
        "SELECT ip_address FROM gold.fact_user_activity": "ACCESS_DENIED",
        "SELECT payload FROM meta.dead_letters": "ACCESS_DENIED",
        "SELECT error FROM meta.dead_letters": "ACCESS_DENIED",
        "SELECT data FROM meta.window_sources": "ACCESS_DENIED",
        "INSERT INTO gold.daily_metrics (metric) VALUES ('x')": "ACCESS_DENIED",
        "DROP TABLE gold.windows": "ACCESS_DENIED",
        "SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')": "ACCESS_DENIED",
        "SELECT 1 SETTINGS max_execution_time = 0": "SETTING_CONSTRAINT_VIOLATION",
        "SELECT 1 SETTINGS max_execution_time = 91": "SETTING_CONSTRAINT_VIOLATION",
    }
    changes = ("SELECT 1 SETTINGS max_memory_usage = 0", "SELECT 1 SETTINGS readonly = 0", "SET readonly = 0")
    asked = denied | {_READ_ONLY: ""} | dict.fromkeys(changes, "READONLY")
    for (sql, due), error in zip(asked.items(), _run(reader, list(asked)), strict=True):
        assert due in (error or "") and bool(due) == bool(error), f"{sql}: {error}"
    allowed = ["SELECT user_id, subscription_tier FROM gold.dim_user", "SELECT user_id FROM gold.fact_user_activity"]
    # What the plugin asks for besides: its timeout of 30 s and 5 more.
    allowed.append("SELECT 1 SETTINGS max_execution_time = 35")
    assert _run(reader, allowed) == [None] * len(allowed)


def test_the_data_source_waits_no_longer_than_the_user_may() -> None:
    """The plugin's client asks ClickHouse for its own timeout and 5 s."""
    (source,) = provisioned("datasources")["datasources"]
    value, _, most = _profile()["max_execution_time"]
    assert int(source["jsonData"]["queryTimeout"]) + 5 == int(value) <= int(most)


def test_all_of_gold_is_readable_but_personal_data(warehouse: Warehouse) -> None:
    """A new table of gold is granted, or not, by somebody who thought of it: clickhouse_user.sql has to name it."""
    sql = "SELECT name FROM system.tables WHERE database = 'gold' AND name NOT LIKE 'int\\_%'"
    assert {f"gold.{name}" for name in warehouse.ask(sql).column("name")} == {
        n for n in _grants() if n.startswith("gold.")
    }
    path = ROOT / "batch/dbt/models/gold/schema.yml"
    personal = 0
    for model in yaml.safe_load(path.read_text(encoding="utf-8"))["models"]:
        columns = {each["name"]: "Personal data" in each["description"] for each in model["columns"]}
        columns |= dict.fromkeys({"user_agent"} & set(columns), True)
        due = {name for name, is_personal in columns.items() if not is_personal}
        granted = set(_grants()[f"gold.{model['name']}"])
        assert granted == (due if any(columns.values()) else set()), model["name"]
        personal += sum(columns.values())
    assert personal >= 4


def test_the_lineage_knows_what_the_dashboard_reads() -> None:
    """dbt's exposure, by which one sees what a change of a model touches."""
    path: Path = ROOT / "batch/dbt/models/gold/schema.yml"
    file = yaml.safe_load(path.read_text(encoding="utf-8"))
    (exposure,) = (each for each in file["exposures"] if each["name"] == "grafana")
    read = {name for panel in panels() for name in re.findall(r"FROM gold\.(\w+)", panel.sql)}
    models = {model["name"] for model in file["models"]}
    assert set(exposure["depends_on"]) == {f"ref('{name}')" for name in read & models}
