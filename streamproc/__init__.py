"""Events in, live metrics, windows and alerts out.

The way of an event, folder by folder: `agents/` (Kafka in) -> `decode/` (bytes to columns) -> `windows/` (cells, merged
values) -> `alerts/` (rules) -> `sinks/` (Redis, ClickHouse). `catalogue/` says which metrics there are; `embedded/`
runs broker, Redis and ClickHouse on a laptop; `cli/` is what people type; `app.py` wires it all.
"""

__version__ = "0.1.0"
