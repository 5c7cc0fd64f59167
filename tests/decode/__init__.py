"""Tests of decoding against an independent reading of the rules."""
