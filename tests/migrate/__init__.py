"""Tests of the ClickHouse migrations."""
