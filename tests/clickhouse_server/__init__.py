"""Conformance of the embedded ClickHouse server with what its clients use."""
