"""Merging of a config file, its bases and the command line into one tree."""

import os
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import get_origin

from ctcycle.config.problems import joined
from ctcycle.config.renamed import current_file, with_current_keys
from ctcycle.config.schema import Bench, Bundle, Evaluate, Pipeline
from ctcycle.config.strict_yaml import MAX_DEPTH, Node, describe, parse_yaml, read_yaml
from ctcycle.config.tasks.experiments import Sweep
from ctcycle.config.tasks.node import Serve
from ctcycle.errors import ConfigError

COMMAND_LINE = "command line"
USER_KEYED = frozenset(
    name
    for task in (Bench, Bundle, Evaluate, Pipeline, Serve, Sweep)
    for name, field in task.model_fields.items()
    if get_origin(field.annotation) is dict
)
"""Keys of a task whose entries are named by users: ``methods``, ``steps``, ``results``, ``vary`` and others."""

Keys = tuple[str, ...]


def read_tree(path: Path, overrides: Sequence[str] = ()) -> Node:
    """Return the config at ``path``, merged onto its bases, with the overrides merged onto it.

    Args:
        path: a YAML file. ``base: FILE`` names the config that it modifies, relative to the file containing the key.
            ``base`` may be a list of files, each overriding those before it. Pipeline steps may also have a base.
        overrides: a list of ``key.sub=value``, each treated like a file based on this one. The value is YAML: an
            empty value is null, as in a file, and ``''`` is the empty string. Single list items cannot be set.
            Unlike in a file, ``methods={...}`` and ``steps={...}`` replace the whole mapping.

    Raises:
        ConfigError: a file cannot be read, bases are circular, or overrides are malformed (one line each).
    """
    tree = _Files().read(path)
    for keys, value in _parse_overrides(overrides, path):
        change = with_current_keys(Node({}, COMMAND_LINE).put(keys, value))
        if _is_free(keys) and isinstance(value.value, dict):
            tree = tree.put(keys, change.nearest(keys))
        else:
            tree = merge(tree, change)
    return tree


def merge(base: Node, child: Node, keys: Keys = ()) -> Node:
    """Merge ``child`` into ``base``: mappings key by key, anything else replaced.

    A mapping with a different ``_target_`` is also replaced, since arguments of one component do not apply to another.
    Null removes an entry of ``methods`` or ``steps``.

    Args:
        base: the node to modify.
        child: the changes.
        keys: the path of both nodes within the task.
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
    """Return ``tree`` with ``out`` derived from the file name; pipeline steps inherit ``out``, seed and overwrite."""
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
    inside = keys[2:] if keys[:1] == ("steps",) and len(keys) > 2 else keys  # each step is itself a task
    return len(inside) == 1 and inside[0] in USER_KEYED


def _another_target(base: Node, child: Node) -> bool:
    target, former = child.child("_target_"), base.child("_target_")
    return target is not None and (former is None or former.value != target.value)


class _Files:
    """Reads config files and their bases, each file only once."""

    def __init__(self) -> None:
        self._trees: dict[Path, Node] = {}

    def read(self, path: Path, children: tuple[Path, ...] = ()) -> Node:
        """Return the tree of a file merged onto its bases; ``children`` are the files being read that build on it."""
        if path not in self._trees:
            children = (*children, path.resolve())
            tree = with_current_keys(read_yaml(path))
            steps = tree.child("steps")
            if steps is not None and isinstance(steps.value, dict):
                based = {name: self._on_bases(step, path, children) for name, step in steps.value.items()}
                tree = Node(tree.mapping | {"steps": Node(dict(based), steps.where)}, tree.where)
            self._trees[path] = self._on_bases(tree, path, children)
        return self._trees[path]

    def _on_bases(self, node: Node, path: Path, children: tuple[Path, ...]) -> Node:
        """Return a node of the file ``path``, merged onto the files named by its ``base``."""
        base = node.child("base")
        if base is None:
            return node
        names = base.value if isinstance(base.value, list) and base.value else [base]
        own = Node({key: item for key, item in node.mapping.items() if key != "base"}, node.where)
        return reduce(merge, [*(self.read(_base_file(name, path, children), children) for name in names), own])


def _base_file(name: Node, path: Path, children: tuple[Path, ...]) -> Path:
    if not isinstance(name.value, str):
        raise ConfigError(f"{name.where}: base: {describe(name.value)} is not a file name")
    file = current_file(Path(os.path.normpath(path.parent / name.value)))
    if not file.is_file():
        raise ConfigError(f"{name.where}: base: {file} does not exist; give a path relative to {path.parent}")
    if file.resolve() in children:
        raise ConfigError(f"{name.where}: base: {file} is itself based on this file; remove one of the two bases")
    return file


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
        raise ConfigError(f"{COMMAND_LINE}: base can only be set in a file; choose the config with --config")
    try:
        return tuple(parts), parse_yaml(value, COMMAND_LINE, numbered=False)
    except ConfigError as error:
        raise ConfigError(f"{error} (in {describe(text)})") from error
