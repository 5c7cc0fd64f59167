"""Reconciling: a day's windows recomputed from silver, compared with what the stream published, and put right."""
