"""Tests of producers and demo traffic."""
