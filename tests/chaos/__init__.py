"""The fault run: real processes under load, faults at seeded random times, and an independent oracle at the end."""
