"""Reading YAML with line numbers: typed fields of a mapping node, and problems collected instead of raised one by one."""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from streamproc.errors import ConfigError

_DURATION: Final = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)\Z")
_WHOLE: Final = re.compile(r"[0-9]{1,15}\Z")
_UNIT_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DEEPEST: Final = 20
_TRUE: Final = ("true", "yes", "on")
_FALSE: Final = ("false", "no", "off")
_TAG: Final = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Problems:
    """What is wrong in one file; raised together, so that a user mends it in one go."""

    file: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, name: str, value: object, why: str) -> None:
        """Remember that field `name` on `line` holds `value`, and why that will not do."""
        self.found.append((line, f"{self.file}, line {line}: {name} = {value!r}: {why}"))

    def raise_if_any(self) -> None:
        """Raises:
        ConfigError: one line a problem, in the order of the file.
        """
        if self.found:
            raise ConfigError("\n".join(text for _, text in sorted(self.found, key=lambda item: item[0])))


class _Loader(yaml.SafeLoader):
    """Refuses deep nesting: PyYAML's time grows with its square (3,000 brackets took a second), then recursion ends."""

    def fetch_flow_collection_start(self, TokenClass: Any) -> None:
        self._check_depth(self.flow_level)
        super().fetch_flow_collection_start(TokenClass)

    def add_indent(self, column: int) -> bool:
        self._check_depth(len(self.indents))
        return bool(super().add_indent(column))

    def _check_depth(self, depth: int) -> None:
        if depth >= _DEEPEST:
            raise yaml.MarkedYAMLError(problem=f"nested more than {_DEEPEST} levels", problem_mark=self.get_mark())


def line_of(node: Node) -> int:
    """The node's line, counted from 1."""
    return int(node.start_mark.line) + 1


def compose(text: str, problems: Problems) -> Node | None:
    """The document's root node, or None (an empty file, or no YAML, which becomes a problem)."""
    try:
        return yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problems.add(line, "file", error.problem or "", "this is no YAML")
    except yaml.YAMLError as error:
        problems.add(1, "file", str(error).splitlines()[0], "this is no YAML")
    return None


def shown(node: Node) -> object:
    """A node's content for an error message."""
    if isinstance(node, ScalarNode):
        return node.value
    return "(a list)" if isinstance(node, SequenceNode) else "(a mapping)"


class Fields:
    """The fields of one mapping: each getter returns the default if absent, and notes a problem if unusable."""

    def __init__(self, node: MappingNode, problems: Problems, allowed: Collection[str]) -> None:
        self.line = line_of(node)
        self.problems = problems
        self._nodes: dict[str, Node] = {}
        for key, value in node.value:
            # The raw text of the key: YAML 1.1 reads a plain `on` as a boolean.
            name = str(shown(key))
            if name not in allowed:
                problems.add(line_of(key), name, shown(value), f"unknown field; allowed: {', '.join(allowed)}")
            elif name in self._nodes:
                problems.add(line_of(key), name, shown(value), "given twice")
            else:
                self._nodes[name] = value

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        node = self._nodes.get(name)
        return node is not None and node.tag != _TAG + "null"

    def line_for(self, name: str) -> int:
        """The field's line, or the mapping's if the field is absent."""
        return line_of(self._nodes[name]) if name in self._nodes else self.line

    def bad(self, name: str, why: str) -> None:
        """Note a problem with this field."""
        node = self._nodes.get(name)
        self.problems.add(self.line_for(name), name, shown(node) if node else None, why)

    def text(self, name: str, default: str = "", allowed: Collection[str] = ()) -> str:
        """A string, one of `allowed` if given."""
        if not self.has(name):
            return default
        node = self._nodes[name]
        if not isinstance(node, ScalarNode) or (allowed and node.value not in allowed):
            self.bad(name, f"allowed: {', '.join(allowed)}" if allowed else "must be a text")
            return default
        return str(node.value)

    def number(self, name: str) -> float | None:
        """A finite number."""
        if not self.has(name):
            return None
        node = self._nodes[name]
        if isinstance(node, ScalarNode) and node.style is None and node.tag != _TAG + "bool":
            try:
                value = float(node.value)
            except ValueError:
                value = math.nan
            if math.isfinite(value):
                return value
        self.bad(name, "must be a finite number")
        return None

    def integer(self, name: str, default: int) -> int:
        """An integer of at least 0."""
        if not self.has(name):
            return default
        node = self._nodes[name]
        if isinstance(node, ScalarNode) and node.style is None and _WHOLE.match(node.value):
            return int(node.value)
        self.bad(name, "must be an integer of at least 0 and at most 15 digits")
        return default

    def boolean(self, name: str, default: bool) -> bool:
        """true or false."""
        if not self.has(name):
            return default
        raw = str(shown(self._nodes[name])).lower()
        if raw not in (*_TRUE, *_FALSE):
            self.bad(name, "must be true or false")
        return raw in _TRUE

    def duration_ms(self, name: str, default: int) -> int:
        """A duration such as 90s, 5m or 4h; 0 is 0."""
        if not self.has(name):
            return default
        raw = str(shown(self._nodes[name]))
        match = _DURATION.match("0s" if raw == "0" else raw)
        if match:
            return int(match[1]) * _UNIT_MS[match[2]]
        self.bad(name, "must be a duration: a whole number of at most 9 digits and one of ms, s, m, h, d (or 0)")
        return default

    def texts(self, name: str) -> tuple[str, ...] | None:
        """A list of strings (one string is a list of one), or None if absent."""
        if not self.has(name):
            return None
        node = self._nodes[name]
        items = node.value if isinstance(node, SequenceNode) else [node]
        if not all(isinstance(item, ScalarNode) for item in items):
            self.bad(name, "must be a text or a list of texts")
            return ()
        return tuple(str(item.value) for item in items)

    def mapping(self, name: str) -> MappingNode | None:
        """A mapping, or None if absent."""
        if not self.has(name):
            return None
        node = self._nodes[name]
        if isinstance(node, MappingNode):
            return node
        self.bad(name, "must be a mapping")
        return None

    def sequence(self, name: str) -> list[Node]:
        """A list of nodes; empty if absent."""
        if not self.has(name):
            return []
        node = self._nodes[name]
        if isinstance(node, SequenceNode):
            return list(node.value)
        self.bad(name, "must be a list")
        return []
