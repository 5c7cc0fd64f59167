"""Tests of streamproc."""
