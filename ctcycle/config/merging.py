"""One tree from a config file, the files it is based on, and the command line."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_origin

from ctcycle.config.problems import joined
from ctcycle.config.renamed import current_file, with_current_keys
from ctcycle.config.schema import Bundle, Evaluate, Pipeline
from ctcycle.config.strict_yaml import MAX_DEPTH, Node, describe, parse_yaml, read_yaml
from ctcycle.errors import ConfigError

COMMAND_LINE = "command line"
USER_KEYED = frozenset(
    name
    for task in (Bundle, Evaluate, Pipeline)
    for name, field in task.model_fields.items()
    if get_origin(field.annotation) is dict
)
"""Keys of a task below which users choose the keys: ``methods``, ``steps``, ``results``, ``changelog``."""

Keys = tuple[str, ...]


def read_tree(path: Path, overrides: Sequence[str] = ()) -> Node:
    """The config at ``path`` merged onto its bases, and the overrides merged onto it.

    Args:
        path: a YAML file. ``base: FILE``, relative to the file that says it, names the config that it changes; a step
            of a pipeline may have a base, too.
        overrides: ``key.sub=value``, each as if it stood in a file based on this one. The value is YAML; nothing
            after ``=`` is null, as in a file, and ``''`` is the empty text. List items cannot be set one by one.
            Unlike in a file, ``methods={...}`` and ``steps={...}`` are the whole mapping.

    Raises:
        ConfigError: a file cannot be read, bases form a circle, or overrides are malformed (with a line for each).
    """
    tree = _read(path, ())
    for keys, value in _parse_overrides(overrides, path):
        change = with_current_keys(Node({}, COMMAND_LINE).put(keys, value))
        if _is_free(keys) and isinstance(value.value, dict):
            tree = tree.put(keys, change.nearest(keys))
        else:
            tree = merge(tree, change)
    return tree


def merge(base: Node, child: Node, keys: Keys = ()) -> Node:
    """Mappings are merged key by key; anything else in ``child`` replaces what is in ``base``.

    So does a mapping that names another ``_target_``: arguments of one component mean nothing to another. Null takes
    an entry of ``methods`` or ``steps`` away.

    Args:
        base: what is changed.
        child: what changes it.
        keys: where in the task both stand.
    """
    if not isinstance(base.value, dict) or not isinstance(child.value, dict) or _another_target(base, child):
        return child
    found = dict(base.value)
    for key, item in child.value.items():
        if key in found and item.value is None and _is_free(keys):
            del found[key]
        else:
            found[key] = merge(found[key], item, (*keys, key)) if key in found else item
    return Node(found, child.where)


def with_defaults(tree: Node, path: Path) -> Node:
    """``tree`` with ``out`` from the file's name; a pipeline's steps below it, with its seed and overwrite."""
    values = {"out": Node(f"runs/{path.stem}", tree.where)} | tree.mapping
    steps = values.get("steps")
    if steps is not None and isinstance(steps.value, dict):
        shared = {key: values[key] for key in ("seed", "overwrite") if key in values}
        filled = {
            name: Node({"out": Node(f"{values['out'].value}/{name}", step.where)} | shared | step.value, step.where)
            if isinstance(step.value, dict)
            else step
            for name, step in steps.value.items()
        }
        values["steps"] = Node(dict(filled), steps.where)
    return Node(values, tree.where)


def _is_free(keys: Keys) -> bool:
    inside = keys[2:] if keys[:1] == ("steps",) and len(keys) > 2 else keys  # a step is a task of its own
    return len(inside) == 1 and inside[0] in USER_KEYED


def _another_target(base: Node, child: Node) -> bool:
    target, former = child.child("_target_"), base.child("_target_")
    return target is not None and (former is None or former.value != target.value)


def _read(path: Path, asking: tuple[Path, ...]) -> Node:
    asking = (*asking, path.resolve())
    tree = with_current_keys(read_yaml(path))
    steps = tree.child("steps")
    if steps is not None and isinstance(steps.value, dict):
        based = {name: _on_base(step, path, asking) for name, step in steps.value.items()}
        tree = Node(tree.mapping | {"steps": Node(dict(based), steps.where)}, tree.where)
    return _on_base(tree, path, asking)


def _on_base(node: Node, path: Path, asking: tuple[Path, ...]) -> Node:
    """``node`` of the file ``path``, merged onto the file that its ``base`` names."""
    base = node.child("base")
    if base is None:
        return node
    if not isinstance(base.value, str):
        raise ConfigError(f"{base.where}: base: {describe(base.value)} is not a file name")
    file = current_file(Path(os.path.normpath(path.parent / base.value)))
    if not file.is_file():
        raise ConfigError(f"{base.where}: base: there is no file {file}; it is sought relative to {path.parent}")
    if file.resolve() in asking:
        raise ConfigError(f"{base.where}: base: {file} is based on this file in turn; the chain never ends")
    own = {key: item for key, item in node.mapping.items() if key != "base"}
    return merge(_read(file, asking), Node(own, node.where))


def _parse_overrides(overrides: Sequence[str], path: Path) -> list[tuple[Keys, Node]]:
    parsed, wrong = [], []
    for text in overrides:
        try:
            parsed.append(_parse_override(text))
        except ConfigError as error:
            wrong.append(str(error))
    if wrong:
        raise ConfigError(joined(wrong, path))
    return parsed


def _parse_override(text: str) -> tuple[Keys, Node]:
    key, equals, value = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts) or len(parts) > MAX_DEPTH:
        raise ConfigError(f"{COMMAND_LINE}: {describe(text)} is not of the form key.sub=value")
    if parts[-1] == "base":
        raise ConfigError(f"{COMMAND_LINE}: base can only be set in a file; --config names the file to start from")
    try:
        return tuple(parts), parse_yaml(value, COMMAND_LINE, numbered=False)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {describe(text)})") from error
