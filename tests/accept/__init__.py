"""Acceptance: measures what issues promise, one line an item."""
