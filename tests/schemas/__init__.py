"""Tests of the exported schemas, their examples, and the command that checks files."""
