"""How many times longer than usual tests wait: TEST_PATIENCE=3 for machines that do a lot beside them."""

from __future__ import annotations

import os

PATIENCE = float(os.environ.get("TEST_PATIENCE", "1"))
