"""How the reference of configs writes the type and the default of a key."""

import json
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_BOUNDS = (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
_PLAIN = {"boolean": "true or false", "null": "null", "object": "mapping", "string": "text"}
_NUMBERS = {"integer": "whole number", "number": "number"}


def type_text(schema: Schema) -> str:
    """Return the type of a key in Markdown, such as ``number ≥ 0``; sections are linked."""
    if "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(_literal(value) for value in schema["enum"])
    if members := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(dict.fromkeys(type_text(member) for member in members))
    return _simple(schema)


def default_text(value: Any, section: Schema | None) -> str:
    """Return the default of a key in Markdown.

    Args:
        value: the default.
        section: the definition of the section that the key holds, or None; of a section, only what differs from the
            section's own defaults is returned.
    """
    if section is not None and isinstance(value, dict):
        own = {key: item.get("default") for key, item in section.get("properties", {}).items()}
        value = {key: item for key, item in value.items() if own.get(key) != item}
        return f"`{_yaml(value)}`" if value else ""
    return _literal(value)


def _simple(schema: Schema) -> str:
    kind = schema.get("type")
    if kind in _NUMBERS:
        bounds = [f"{sign} {_number(schema[key])}" for key, sign in _BOUNDS if key in schema]
        if "multipleOf" in schema:
            bounds.append(f"multiple of {_number(schema['multipleOf'])}")
        return " ".join([_NUMBERS[kind], ", ".join(bounds)]).strip()
    if kind == "array":
        return _list(schema)
    if kind == "string" and schema.get("format") == "path":
        return "path"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"mapping of names: {type_text(schema['additionalProperties'])}"
    return _PLAIN.get(str(kind), "any value")


def _list(schema: Schema) -> str:
    if "prefixItems" in schema:
        members = [type_text(item) for item in schema["prefixItems"]]
        return f"list of {len(members)}: {members[0] if len({*members}) == 1 else ', '.join(members)}"
    return f"list of {type_text(schema.get('items', {}))}"


def _literal(value: Any) -> str:
    return f"`{_yaml(value)}`"


def _yaml(value: Any) -> str:
    """Return a value in YAML's flow style, as it is written in a config."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_yaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_yaml, value)) + "]"
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return value or "''"
    return json.dumps(value)


def _number(value: float) -> str:
    """Return a number without rounding it; those of the schema have few digits."""
    if value == 2**31:
        return "2^31"
    return f"{value:.0e}".replace("e+0", "e") if value >= 1e6 and value == float(f"{value:.0e}") else f"{value:.12g}"
