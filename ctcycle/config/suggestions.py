"""Suggestions for unknown keys, looked up in the JSON schema of the config."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from ctcycle.config.renamed import what_to_write
from ctcycle.config.strict_yaml import KeyPath, Node

Schema = dict[str, Any]


def suggestion(path: KeyPath, tree: Node, schema: Schema) -> str:
    """Return advice for the unknown key at ``path``.

    In this order: the replacement of an old key; the methods that have such a key; a similar key of the same mapping; a
    similar key elsewhere in the same task (``lr``: ``optimizer.lr``); all keys of the mapping.
    """
    if instead := what_to_write(path):
        return instead
    if methods := _methods_that_know(path, tree, schema):
        return f"it belongs to method {' or '.join(methods)}"
    *parents, key = (str(part) for part in path)
    siblings = list(dict.fromkeys(_keys(_variants_at(path[:-1], tree, schema))))
    if similar := near(key, siblings, cutoff=0.7):
        return similar.removeprefix("; ")
    for depth in range(len(parents), -1, -1):
        variants = _variants_at(path[:depth], tree, schema)
        inner = {known.rpartition(".")[2]: known for known in _dotted_keys(variants, schema)}
        if found := difflib.get_close_matches(key, inner, 1, 0.8):
            return f"did you mean '{'.'.join([*parents[:depth], inner[found[0]]])}'?"
    return f"allowed here: {', '.join(siblings)}"


def choices(path: KeyPath, tree: Node, schema: Schema) -> list[str]:
    """Return the allowed values of the missing key at ``path`` that selects a kind of config (``task``, ``method``)."""
    variants = _variants_at(path[:-1], tree, schema)
    return list(dict.fromkeys(str(variant["properties"][path[-1]]["const"]) for variant in variants))


def near(word: object, words: Iterable[str], cutoff: float = 0.6) -> str:
    """Return ``; did you mean 'train'?`` for the most similar word; empty if none is similar."""
    found = difflib.get_close_matches(word, list(words), 1, cutoff) if isinstance(word, str) else []
    return f"; did you mean '{found[0]}'?" if found else ""


def _methods_that_know(path: KeyPath, tree: Node, schema: Schema) -> list[str]:
    tasks: list[tuple[str, ...]] = [(), tuple(str(part) for part in path[:2])]  # the whole config, or one step
    return [
        method
        for keys in tasks
        if (task := tree.find(keys)) and task.child("method")
        for method in _methods(schema)
        if str(path[-1])
        in _keys(_variants_at(path[:-1], tree.put((*keys, "method"), Node(method, task.where)), schema))
    ]


def _methods(schema: Schema) -> list[str]:
    """Return the names of all training methods."""
    methods = (item.get("properties", {}).get("method", {}).get("const") for item in schema["$defs"].values())
    return [method for method in methods if method]


def _variants_at(path: KeyPath, tree: Node, root: Schema) -> list[Schema]:
    """Return the object schemas allowed at ``path``."""
    variants, node = _variants(root, root, tree), tree
    for part in path:
        node = node.child(part) or node
        inner = [schema for variant in variants if (schema := _inner(variant, part))]
        variants = [found for schema in inner for found in _variants(schema, root, node)]
    return variants


def _variants(schema: Schema, root: Schema, node: Node | None) -> list[Schema]:
    """Return the members of a union that match the task and the method named by ``node``."""
    if "$ref" in schema:
        return _variants(root["$defs"][schema["$ref"].rpartition("/")[2]], root, node)
    if options := schema.get("anyOf", schema.get("oneOf")):
        return [found for option in options for found in _variants(option, root, node)]
    for key, item in schema.get("properties", {}).items():
        named = node.child(key) if node else None
        if "const" in item and named is not None and named.value != item["const"]:
            return []
    return [schema]


def _inner(schema: Schema, part: str | int) -> Any:
    if isinstance(part, int):
        return schema.get("items")
    inner = schema.get("properties", {}).get(part, schema.get("additionalProperties"))
    return inner if isinstance(inner, dict) else None


def _keys(variants: list[Schema]) -> Iterator[str]:
    for variant in variants:
        yield from variant.get("properties", {})


def _dotted_keys(variants: list[Schema], root: Schema, prefix: str = "") -> Iterator[str]:
    for variant in variants:
        for key, item in variant.get("properties", {}).items():
            yield prefix + key
            yield from _dotted_keys(_variants(item, root, None), root, f"{prefix}{key}.")
