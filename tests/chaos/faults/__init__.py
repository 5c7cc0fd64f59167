"""Faults of the matrix, a module for what they strike; each module has `faults() -> list[Fault]`."""
