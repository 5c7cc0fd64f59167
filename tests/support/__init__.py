"""Servers and helpers that tests share."""

import os

# One master key for all workers and commands that tests, acceptance and fault runs start, whatever their data directories:
# several of them share one ClickHouse. Known to everybody, so it protects nothing. Independent truths read it from here too.
os.environ.setdefault("STREAMPROC_MASTER_KEY", "dGVzdHMgb25seTogaXQgcHJvdGVjdHMgbm90aGluZyE=")
