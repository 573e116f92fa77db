"""Error messages for invalid configs: all errors at once, one sentence each, with its location and what to do."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import ErrorDetails

from ctcycle.config.strict_yaml import KeyPath, Node, describe, dotted
from ctcycle.config.suggestions import Schema, choices, near, suggestion


@dataclass(frozen=True)
class Problem:
    """An error in a config: its key, its location and its message."""

    path: KeyPath
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


def joined(sentences: Sequence[str], path: Path) -> str:
    """Join error messages, one per line, with a closing line if there are several.

    Args:
        sentences: the messages; at least one.
        path: the config that was requested.
    """
    closing = [f"{path}: {len(sentences)} errors; nothing was run"] if len(sentences) > 1 else []
    return "\n".join([*sentences, *closing])


_EXPRESSIONS = "expressions are never evaluated, even with --trust; write the value"


def find_expressions(tree: Node, path: KeyPath = ()) -> Iterator[Problem]:
    """Yield strings that MONAI would evaluate or resolve, and components nested in arguments of components."""
    if isinstance(tree.value, str) and (tree.value.startswith(("$", "@", "%")) or "${" in tree.value):
        yield Problem(path, tree.where, f"{dotted(path)}: {describe(tree.value)}: {_EXPRESSIONS}")
    for key, item in tree.items():
        if str(key).startswith(("$", "@", "%")):
            yield Problem((*path, key), item.where, f"key '{dotted((*path, key))}': {_EXPRESSIONS}")
        elif "_target_" in tree.mapping and _names_target(item):
            text = f"{dotted((*path, key))}: a '_target_' nested in the arguments of another is not supported"
            yield Problem((*path, key), item.where, text)
        else:
            yield from find_expressions(item, (*path, key))


def explain(errors: Sequence[ErrorDetails], tree: Node, schema: Callable[[], Schema]) -> list[Problem]:
    """Convert pydantic's errors to problems, one for each actual mistake.

    Args:
        errors: from validating ``tree.plain()``.
        tree: the config.
        schema: returns the JSON schema; called only to suggest a replacement for an unknown key.
    """
    grouped: dict[KeyPath, list[ErrorDetails]] = {}
    for error in errors:
        if not _follows_from_others(error, tree):
            grouped.setdefault(_path(error, tree), []).append(error)
    # Steps share the node of the pipeline's seed: report it once.
    once = {id(tree.find(path) or path): path for path in reversed(grouped)}
    return [
        Problem(path, tree.nearest(path).where, _sentence(path, tree, same, schema))
        for path, same in grouped.items()
        if path in once.values()
    ]


_UNKNOWN = {"extra_forbidden", "unexpected_keyword_argument"}
_MISSING = {"missing", "missing_argument", "missing_keyword_only_argument"}
_NO_MAPPING = "{value} is not a mapping of keys to values"
_NO_LIST = "{value} is not a list; write the whole list: [a, b]"
_COMPLAINTS = {
    "int_type": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "float_type": "{value} is not a number",
    "bool_type": "{value} is not true or false",
    "string_type": "{value} is not text; put text in quotes",
    "tuple_type": _NO_LIST,
    "list_type": _NO_LIST,
    "dict_type": _NO_MAPPING,
    "model_type": _NO_MAPPING,
    "dataclass_type": _NO_MAPPING,
    "model_attributes_type": _NO_MAPPING,
    "greater_than": "must be greater than {gt:g}, got {value}",
    "greater_than_equal": "must be at least {ge:g}, got {value}",
    "less_than": "must be less than {lt:g}, got {value}",
    "less_than_equal": "must be at most {le:g}, got {value}",
    "too_short": "has {actual_length} items, needs at least {min_length}",
    "too_long": "has {actual_length} items, takes at most {max_length}",
    "string_pattern_mismatch": "{value} does not match the pattern {pattern}",
    "value_error": "{error}",
}


def _sentence(path: KeyPath, tree: Node, errors: list[ErrorDetails], schema: Callable[[], Schema]) -> str:
    name, kind, node = dotted(path), errors[0]["type"], tree.find(path)
    if kind in _UNKNOWN:
        return f"unknown key '{name}'; {suggestion(path, tree, schema())}"
    if kind in _MISSING:
        return f"{name} is missing"
    if kind == "union_tag_not_found":
        if meant := _step_meant(path, tree):
            return f"unknown step '{path[1]}'{meant}"
        return f"{name} is missing; choose one of {', '.join(choices(path, tree, schema()))}"
    value = node.value if node else None
    first, *others = (_complaint(error, value) for error in errors)
    both = " and ".join([first, *(text.removeprefix(f"{describe(value)} ") for text in others)])
    # Sections that check their own values start the message with their name: "split: ..."
    own_name = re.compile(re.escape(name.rpartition(".")[2].replace("_", " ")) + ": ", re.IGNORECASE)
    text = own_name.sub("", both, count=1) if own_name.match(both) else both
    return f"{name}: {text}" if name else text


def _step_meant(path: KeyPath, tree: Node) -> str:
    """Suggest the step meant by a step that has no task but a name like that of another; else return nothing."""
    steps = tree.child("steps")
    if steps is None or len(path) != 3 or path[-1] != "task":
        return ""
    return near(path[1], [name for name, step in steps.mapping.items() if step.child("task")])


def _complaint(error: ErrorDetails, value: object) -> str:
    context = error.get("ctx", {})
    allowed = re.findall(r"'([^']*)'", str(context.get("expected_tags", context.get("expected", ""))))
    if len(allowed) > 1:
        return f"{describe(value)} is not one of {', '.join(word or 'empty' for word in allowed)}{near(value, allowed)}"
    if allowed:
        return f"{describe(value)} is not {allowed[0]}"
    template = _COMPLAINTS.get(error["type"], "{value}: " + error["msg"].lower().replace("{", "{{").replace("}", "}}"))
    return template.format(**context | {"value": describe(value)})


def _follows_from_others(error: ErrorDetails, tree: Node) -> bool:
    """Return whether a "too short" error only follows from invalid items: pydantic reports both."""
    node = tree.find(_path(error, tree))
    return error["type"] == "too_short" and node is not None and bool(node.value)


def _path(error: ErrorDetails, tree: Node) -> KeyPath:
    """Return the keys leading to an error, without the names of union members that pydantic inserts."""
    path: KeyPath = ()
    node: Node | None = tree
    tags = _tags(tree)
    for position, part in enumerate(error["loc"], 1):
        last = position == len(error["loc"])
        if tags and part == tags[0]:
            tags = tags[1:]
        elif node is not None and (child := node.child(part)):
            path, node, tags = (*path, part), child, _tags(child)
        elif last and error["type"] in _MISSING:
            path = (*path, part)
    if error["type"].startswith("union_tag"):
        discriminator = error.get("ctx", {}).get("discriminator", "").strip("'")
        return (*path, discriminator) if discriminator else path
    return path


def _tags(node: Node) -> list[Any]:
    task, method = (node.mapping.get(key) for key in ("task", "method"))
    values = [task, method] if task is not None and task.value == "train" else [task]
    return [tag.value for tag in values if tag is not None]


def _names_target(node: Node) -> bool:
    return "_target_" in node.mapping or any(_names_target(item) for _, item in node.items())
