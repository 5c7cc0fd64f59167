"""Every fault that a run may draw: all modules of `tests.chaos.faults`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence

from tests.chaos import faults as package
from tests.chaos.fault import Fault
from tests.chaos.world import World


def all_faults() -> list[Fault]:
    """Those of every module, in the order of their names.

    Raises:
        ValueError: two have the same name.
    """
    found: dict[str, Fault] = {}
    for module in pkgutil.iter_modules(package.__path__):
        for fault in importlib.import_module(f"{package.__name__}.{module.name}").faults():
            if fault.name in found:
                raise ValueError(f"two faults are called {fault.name!r}")
            found[fault.name] = fault
    return [found[name] for name in sorted(found)]


def possible_faults(world: World, only: Sequence[str]) -> tuple[list[Fault], dict[str, str]]:
    """Those that this world can have, and the others with the reason why not; `only`: parts of names."""
    wanted = [fault for fault in all_faults() if not only or any(part in fault.name for part in only)]
    left_out = {fault.name: why for fault in wanted if (why := fault.impossible(world))}
    return [fault for fault in wanted if fault.name not in left_out], left_out
