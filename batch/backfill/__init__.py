"""Deriving a range again from bronze: silver as its views (or the decoder of changes) would make it now, then gold."""
