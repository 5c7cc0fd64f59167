"""ClickHouse's HTTP interface over the chDB engine, as a process of its own (`python -m streamproc.embedded.clickhouse`)."""
