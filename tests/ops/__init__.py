"""Tests of the operations commands and of the independent truth."""
