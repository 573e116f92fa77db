"""Renamed keys and files: the old name works for one release, with a warning that gives the new one."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ctcycle.config.strict_yaml import KeyPath, Node
from ctcycle.data.settings import path_problem
from ctcycle.errors import ConfigError

_log = logging.getLogger(__name__)
Values = tuple[Node, ...]


def _same_value(value: Node) -> Values:
    return (value,)


@dataclass(frozen=True)
class Renamed:
    """A key of a task that was replaced by one or more other keys.

    Attributes:
        old: the dotted old key.
        new: the dotted keys that replace it.
        instead: advice shown when the value cannot be translated.
        translate: converts the old value to the values of the new keys; returns None if they cannot express it.
    """

    old: str
    new: tuple[str, ...]
    instead: str
    translate: Callable[[Node], Values | None] = _same_value


_CROPS = ("RandSpatialCrop", "monai.transforms.RandSpatialCrop")


def _split_transforms(transforms: Node) -> Values | None:
    """Return the size of the leading crop, and the transforms after it."""
    crop = transforms.child(0)
    if crop is None or not isinstance(transforms.value, list):
        return None
    arguments = {key: node.plain() for key, node in crop.mapping.items()}
    random_size = arguments.pop("random_size", False)
    if arguments.keys() != {"_target_", "roi_size"} or arguments["_target_"] not in _CROPS or random_size is not False:
        return None
    return crop.mapping["roi_size"], Node(transforms.value[1:], transforms.where)


RENAMED = (
    Renamed(
        "data.transforms",
        ("data.patch_size", "data.augmentations"),
        "write data.patch_size for the crop, which comes first, and data.augmentations for the other transforms",
        _split_transforms,
    ),
    Renamed("twins", ("low_dose",), "write low_dose"),
    Renamed("baselines", ("filters",), "write filters"),
)
"""Keys that were replaced since the last release."""
FILES = {"twins.yaml": "low_dose.yaml"}
"""Shipped configs that were renamed since the last release: old name to new name."""


def with_current_keys(tree: Node) -> Node:
    """Return the tree of one file or override with old keys replaced, including those in pipeline steps.

    An old key is kept, and later refused as unknown (see `what_to_write`), if the new keys cannot express its value or
    if one of them is also set.
    """
    tree = _current(tree)
    steps = tree.child("steps")
    if steps is None or not steps.mapping:
        return tree
    return tree.put(("steps",), Node({name: _current(step) for name, step in steps.mapping.items()}, steps.where))


def current_file(path: Path) -> Path:
    """Return the replacement next to ``path`` if ``path`` is missing and has an old name; otherwise ``path``.

    Raises:
        ConfigError: no file can have this path.
    """
    if problem := path_problem(path):
        raise ConfigError(f"{path}: {problem}")
    if path.name not in FILES or path.exists() or not (new := path.with_name(FILES[path.name])).exists():
        return path
    _warn(f"{path}: this file name is deprecated and works for this release only; use {new}")
    return new


def what_to_write(path: KeyPath) -> str:
    """Return advice for the old key at ``path``; empty if it is not an old key."""
    inside = path[2:] if path[:1] == ("steps",) else path
    return next((entry.instead for entry in RENAMED if tuple(entry.old.split(".")) == inside), "")


def _current(task: Node) -> Node:
    for entry in RENAMED:
        task = _replace(task, entry)
    return task


def _replace(task: Node, entry: Renamed) -> Node:
    *above, key = entry.old.split(".")
    parent = task.find(tuple(above))
    old = parent.child(key) if parent else None
    if parent is None or old is None or any(task.find(tuple(name.split("."))) for name in entry.new):
        return task
    if (values := entry.translate(old)) is None:
        return task
    _warn(
        f"{old.where}: key '{entry.old}' is deprecated and works for this release only; use {' and '.join(entry.new)}"
    )
    task = task.put(
        tuple(above), Node({name: item for name, item in parent.mapping.items() if name != key}, parent.where)
    )
    for name, value in zip(entry.new, values, strict=True):
        task = task.put(tuple(name.split(".")), value)
    return task


@cache  # warn once, however often the file is read
def _warn(text: str) -> None:
    _log.warning("%s", text)
