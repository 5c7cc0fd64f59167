"""A deterministic simulator: the real windows role over modelled servers, a virtual clock and a seeded scheduler."""

import os

# Before NumPy is imported: its threads would wait, at full speed, for matrices that never come.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
