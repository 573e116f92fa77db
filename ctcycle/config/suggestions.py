"""What an unknown key may have meant: looked up in the config's JSON schema, so that it knows every key there is."""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from ctcycle.config.renamed import what_to_write
from ctcycle.config.strict_yaml import KeyPath, Node

Schema = dict[str, Any]


def suggestion(path: KeyPath, tree: Node, schema: Schema) -> str:
    """What to write instead of the unknown key at ``path``.

    It is what replaced an old key; or another method, where the key would be right; or else a key of the same mapping,
    or one that stands elsewhere in the same task (``lr``: ``optimizer.lr``), or else all that the mapping knows.
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
    return f"known here: {', '.join(siblings)}"


def choices(path: KeyPath, tree: Node, schema: Schema) -> list[str]:
    """The words among which the missing key at ``path`` chooses a kind of config (``task``, ``method``)."""
    variants = _variants_at(path[:-1], tree, schema)
    return list(dict.fromkeys(str(variant["properties"][path[-1]]["const"]) for variant in variants))


def near(word: object, words: Iterable[str], cutoff: float = 0.6) -> str:
    """``; did you mean 'train'?``, or nothing where no word is like it."""
    found = difflib.get_close_matches(word, list(words), 1, cutoff) if isinstance(word, str) else []
    return f"; did you mean '{found[0]}'?" if found else ""


def _methods_that_know(path: KeyPath, tree: Node, schema: Schema) -> list[str]:
    tasks: list[tuple[str, ...]] = [(), tuple(str(part) for part in path[:2])]  # the whole config, or a step of it
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
    """The object schemas that what stands at ``path`` may follow."""
    variants, node = _variants(root, root, tree), tree
    for part in path:
        node = node.child(part) or node
        inner = [schema for variant in variants if (schema := _inner(variant, part))]
        variants = [found for schema in inner for found in _variants(schema, root, node)]
    return variants


def _variants(schema: Schema, root: Schema, node: Node | None) -> list[Schema]:
    """The members of unions, as far as the task and the method that ``node`` names leave them open."""
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
