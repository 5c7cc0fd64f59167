"""Tests of the embedded stack, the doctor and the live view."""
