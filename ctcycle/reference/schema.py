"""The JSON schema of configs with a description at each key, and its form for editors."""

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from ctcycle.config.loading import json_schema

Schema = dict[str, Any]

URL = "https://json-schema.org/draft/2020-12/schema"
"""The dialect that pydantic writes."""

_BASE: Schema = {
    "description": "config that this one modifies, relative to this file; or a list of them, each overriding those "
    "before it",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
}
_DROPPED = ("title", "discriminator")


def described_schema() -> Schema:
    """Return the JSON schema of a complete config, with the meaning of each key in its ``description``.

    Dataclasses describe their keys in the docstring, where a JSON schema does not look for them.
    """
    schema = deepcopy(json_schema())
    for definition in schema["$defs"].values():
        text, meanings = split_docstring(definition.get("description", ""))
        definition["description"] = text
        for key, value in definition.get("properties", {}).items():
            value["description"] = _plain(value.get("description") or meanings.get(key, ""))
    return schema


def editor_schema() -> Schema:
    """Return the JSON schema of config files, for editors.

    A file may be based on others, which hold what it does not set: so ``base`` is a key, no key of a section is
    required, and null removes an entry that the user named.
    """
    schema: Schema = _without_noise(described_schema())
    listed = set(_listed(schema["$defs"]))
    for name, definition in schema["$defs"].items():
        if name not in listed:
            definition.pop("required", None)
        for value in definition.get("properties", {}).values():
            _allow_removal(value)
    for name in task_names(schema):
        schema["$defs"][name]["properties"]["base"] = _BASE
    return {"$schema": URL, "title": "Config of ctcycle", "$defs": schema["$defs"], "anyOf": _references(schema)}


def task_names(schema: Mapping[str, Any]) -> list[str]:
    """Return the names of the definitions of tasks, in the order of the schema."""
    return [reference["$ref"].rpartition("/")[2] for reference in _references(schema)]


def split_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Return a Google-style docstring without its attributes, and the text of each attribute."""
    body, _, listed = text.partition("Attributes:")
    entries = re.split(r"^ {4}(\w+): ", listed, flags=re.MULTILINE)[1:]
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return _plain(body), dict(pairs)


def _plain(text: str) -> str:
    """Return a text in one line, with code as in Markdown."""
    return re.sub(r"\s+", " ", text).replace("``", "`").strip()


def _references(schema: Mapping[str, Any]) -> list[Schema]:
    found: list[Schema] = []
    for item in schema.get("oneOf", schema.get("anyOf", [])):
        found += [item] if "$ref" in item else _references(item)
    return found


def _without_noise(part: Any) -> Any:
    """Return a part of a schema without titles and discriminators; alternatives need not exclude each other."""
    if isinstance(part, list):
        return [_without_noise(item) for item in part]
    if not isinstance(part, dict):
        return part
    kept = {key: value for key, value in part.items() if not (key in _DROPPED and isinstance(value, str | dict))}
    return {"anyOf" if key == "oneOf" else key: _inside(key, value) for key, value in kept.items()}


def _inside(key: str, value: Any) -> Any:
    if key in {"properties", "$defs"}:  # its keys are names of the user's, which may be "title"
        return {name: _without_noise(item) for name, item in value.items()}
    return value if key == "default" else _without_noise(value)


def _listed(part: Any, *, inside: bool = False) -> Iterator[str]:
    """Yield the names of definitions used as items of lists, which no base completes."""
    if isinstance(part, list):
        for item in part:
            yield from _listed(item, inside=inside)
    elif isinstance(part, dict):
        if inside and "$ref" in part:
            yield str(part["$ref"]).rpartition("/")[2]
        for key, value in part.items():
            yield from _listed(value, inside=inside or key in {"items", "prefixItems"})


def _allow_removal(value: Schema) -> None:
    """Allow null for the entries of a mapping whose names are the user's."""
    entries = value.get("additionalProperties")
    if isinstance(entries, dict):
        value["additionalProperties"] = {"anyOf": [entries, {"type": "null"}]}
