"""Delivery of alert transitions: grouping, the outbox, Slack, and the log file that stands in for it."""
