"""Servers and helpers that tests share."""
