"""dbt over HTTP: `dbt build` (seed, run, snapshot, test) of a small project, twice."""

import os
import subprocess
import sys
from pathlib import Path

from tests.clickhouse_server.http import Http

FILES = {
    "dbt_project.yml": """
name: tiny
version: "1.0"
profile: tiny
flags: {send_anonymous_usage_stats: false}
""",
    "profiles.yml": """
tiny:
  target: dev
  outputs:
    dev: {type: clickhouse, driver: http, host: 127.0.0.1, port: PORT, user: default, password: "", schema: DATABASE, threads: 2}
""",
    "seeds/raw_items.csv": "id,name,amount\n1,a,1.5\n2,b,2.5\n3,c,3.5\n",
    "models/v_items.sql": """
{{ config(materialized='view') }}
select id, name, amount from {{ ref('raw_items') }}
""",
    "models/t_items.sql": """
{{ config(materialized='table', engine='MergeTree()', order_by='id') }}
select id, name, amount * 2 as doubled from {{ ref('v_items') }}
""",
    "models/by_key.sql": """
{{ config(materialized='incremental', unique_key='id', engine='MergeTree()', order_by='id') }}
select id, name, amount from {{ ref('v_items') }}
{% if is_incremental() %} where id >= 2 {% endif %}
""",
    "models/by_delete.sql": """
{{ config(materialized='incremental', unique_key='id', order_by='id', incremental_strategy='delete_insert') }}
select id, name, amount from {{ ref('v_items') }}
{% if is_incremental() %} where id >= 2 {% endif %}
""",
    "models/appended.sql": """
{{ config(materialized='incremental', order_by='id', incremental_strategy='append') }}
select id, name from {{ ref('v_items') }}
""",
    "models/schema.yml": """
version: 2
models:
  - name: t_items
    columns:
      - {name: id, data_tests: [unique, not_null]}
      - {name: name, data_tests: [{accepted_values: {arguments: {values: [a, b, c, d, z]}}}]}
""",
    "snapshots/items.sql": """
{% snapshot items_snapshot %}
{{ config(unique_key='id', strategy='check', check_cols=['name', 'amount']) }}
select id, name, amount from {{ ref('raw_items') }}
{% endsnapshot %}
""",
}
# One process for several commands: importing dbt takes longer than running it.
SCRIPT = """
import sys
from dbt.cli.main import dbtRunner

for command in sys.argv[1:]:
    outcome = dbtRunner().invoke([command, "--no-use-colors"])
    if not outcome.success:
        sys.exit(f"dbt {command} failed: {outcome.exception}")
"""


def _dbt(project: Path, *commands: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, *commands],
        cwd=project,
        env={**os.environ, "DBT_PROFILES_DIR": str(project)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_a_project_twice(http: Http, tmp_path: Path) -> None:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text.replace("PORT", str(http.port)).replace("DATABASE", http.database))
    _dbt(tmp_path, "debug", "build")
    three = "1\ta\t1.5\n2\tb\t2.5\n3\tc\t3.5\n"
    for table in ("v_items", "by_key", "by_delete"):
        assert http.ok(f"SELECT * FROM {table} ORDER BY id") == three
    assert http.ok("SELECT sum(doubled) FROM t_items") == "15\n"

    (tmp_path / "seeds/raw_items.csv").write_text("id,name,amount\n1,z,1.5\n2,b,20\n3,c,3.5\n4,d,4.5\n")
    _dbt(tmp_path, "build")
    # Row 1 changed, too, but the incremental models look at 2 and up only.
    for table in ("by_key", "by_delete"):
        assert http.ok(f"SELECT * FROM {table} ORDER BY id") == "1\ta\t1.5\n2\tb\t20\n3\tc\t3.5\n4\td\t4.5\n"
    assert http.ok("SELECT id, doubled FROM t_items ORDER BY id") == "1\t3\n2\t40\n3\t7\n4\t9\n"
    assert http.ok("SELECT count() FROM appended") == "7\n"
    closed = "SELECT id, name, dbt_valid_to IS NULL FROM items_snapshot ORDER BY id, dbt_valid_from"
    assert http.ok(closed) == "1\ta\t0\n1\tz\t1\n2\tb\t0\n2\tb\t1\n3\tc\t1\n4\td\t1\n"
