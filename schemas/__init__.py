"""What crosses a border: topics, events, results, alerts, Redis keys and ClickHouse migrations. Imports nothing of ours."""
