"""Reads the rules file: the user's, or the one that is shipped."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from streamproc.alerts.rules import RuleSet
from streamproc.alerts.rules_file import parse_rules
from streamproc.errors import ConfigError

SHIPPED = "default_rules.yaml"


def load_rules(path: Path | None = None) -> RuleSet:
    """The rules of the file, or the shipped ones if `path` is None.

    Raises:
        ConfigError: the file cannot be read, or one of its rules cannot be used (file, line, field, value).
    """
    if path is None:
        return parse_rules(resources.files("streamproc.alerts").joinpath(SHIPPED).read_text("utf-8"), SHIPPED)
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"STREAMPROC_ALERT_RULES = {str(path)!r}: cannot be read ({error})") from None
    return parse_rules(text, str(path))
