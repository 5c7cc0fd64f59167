"""Google's discovery documents, as google-api-python-client ships them: what a request may ask, and what an answer looks like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient

_FOLDER = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
_NAMES = {"youtube": "youtube.v3.json", "youtubeAnalytics": "youtubeAnalytics.v2.json"}
# The Analytics document hides what it requires in its descriptions: "required: true, pattern: [a-z]+".
_HIDDEN_PATTERN = re.compile(r'pattern:\s*"?(\S+?)"?$')


@cache
def document(api: str) -> dict[str, Any]:
    """The discovery document of `youtube` or `youtubeAnalytics`."""
    found: dict[str, Any] = json.loads((_FOLDER / _NAMES[api]).read_text(encoding="utf-8"))
    return found


class Method:
    """One method of an API, e.g. youtube.videos.list."""

    def __init__(self, api: str, resource: str, name: str) -> None:
        self.document = document(api)
        self.description = self.document["resources"][resource]["methods"][name]
        self.id: str = self.description["id"]
        self.path: str = "/" + self.document["servicePath"] + self.description["path"]
        self.answer: str = self.description["response"]["$ref"]

    def problem(self, given: Iterable[tuple[str, str]]) -> str:
        """What is wrong with a request's parameters, in Google's words; empty if nothing is."""
        known = {**self.document["parameters"], **self.description["parameters"]}
        seen: dict[str, list[str]] = {}
        for name, value in given:
            if name not in known:
                return f'Invalid JSON payload received. Unknown name "{name}": Cannot bind query parameter.'
            seen.setdefault(name, []).append(value)
            wrong = _wrong(known[name], value)
            if wrong:
                return f"Invalid value at '{name}' ({wrong}), \"{value}\""
        for name, values in seen.items():
            if len(values) > 1 and not known[name].get("repeated"):
                return f"Invalid value at '{name}': Proto field is not repeating, cannot start list."
        for name, one in self.description["parameters"].items():
            required = one.get("required") or "required: true" in one.get("description", "")
            if required and name not in seen:
                return f"The request is missing a required parameter: {name}."
        return ""

    def mistakes(self, answer: Mapping[str, Any]) -> list[str]:
        """Where an answer of ours is not what the document promises."""
        return _mistakes(self.document["schemas"], {"$ref": self.answer}, answer, "answer")


def _wrong(parameter: Mapping[str, Any], value: str) -> str:
    kind = parameter["type"]
    if kind == "integer":
        if not re.fullmatch(r"-?[0-9]+", value):
            return f"TYPE_{parameter.get('format', 'int32').upper()}"
        low, high = parameter.get("minimum"), parameter.get("maximum")
        if (low is not None and int(value) < int(low)) or (high is not None and int(value) > int(high)):
            return f"not within [{low}, {high}]"
    if kind == "boolean" and value not in ("true", "false"):
        return "TYPE_BOOL"
    if "enum" in parameter and value not in parameter["enum"]:
        return "TYPE_ENUM"
    hidden = _HIDDEN_PATTERN.search(parameter.get("description", ""))
    if hidden and not re.fullmatch(hidden[1], value):
        return f"does not match {hidden[1]}"
    return ""


def _mistakes(schemas: Mapping[str, Any], schema: Mapping[str, Any], value: Any, path: str) -> list[str]:
    if "$ref" in schema:
        return _mistakes(schemas, schemas[schema["$ref"]], value, path)
    kind = schema["type"]
    if kind == "any":
        return []
    if kind == "object":
        if not isinstance(value, dict):
            return [f"{path}: no object"]
        known, others = schema.get("properties", {}), schema.get("additionalProperties")
        found = []
        for name, inner in value.items():
            if name in known or others:
                found += _mistakes(schemas, known.get(name, others), inner, f"{path}.{name}")
            else:
                found.append(f"{path}.{name}: not in the schema")
        return found
    if kind == "array":
        if not isinstance(value, list):
            return [f"{path}: no array"]
        return [
            each for n, one in enumerate(value) for each in _mistakes(schemas, schema["items"], one, f"{path}[{n}]")
        ]
    return _scalar_mistakes(schema, value, path)


def _scalar_mistakes(schema: Mapping[str, Any], value: Any, path: str) -> list[str]:
    kind, form = schema["type"], schema.get("format", "")
    types: dict[str, tuple[type, ...]] = {
        "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float)
    }  # fmt: skip
    if not isinstance(value, types[kind]) or (kind != "boolean" and isinstance(value, bool)):
        return [f"{path}: no {kind}"]
    # 64-bit integers travel as decimal text.
    if form in ("uint64", "int64") and kind == "string" and not re.fullmatch(r"-?[0-9]+", value):
        return [f"{path}: no {form}"]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{path}: {value!r} is not one of {schema['enum']}"]
    return []
