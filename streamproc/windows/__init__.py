"""Columns of events in, cells and merged values out: pure event time and numbers, no Kafka, Redis or ClickHouse."""
