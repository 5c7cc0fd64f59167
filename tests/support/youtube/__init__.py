"""A YouTube for tests: answers on loopback by Google's own discovery documents, from data that a seed decides."""
