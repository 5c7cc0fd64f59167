"""Alert rules, lifecycle and engine."""
