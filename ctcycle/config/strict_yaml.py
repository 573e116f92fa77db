"""Strict YAML reader that keeps the location of every value.

Scalars follow YAML 1.2: ``2e-4`` is a number; only ``true`` and ``false`` are booleans; there are no dates, sexagesimal
or octal numbers. Duplicate keys, tags, merge keys and aliases that expand excessively are errors.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from ctcycle.errors import ConfigError, is_text

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 20_000

Scalar = str | int | float | bool | None
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A config value and its location (``configs/x.yaml:12``, or ``command line``)."""

    value: "Scalar | list[Node] | dict[str, Node]"
    where: str

    @property
    def mapping(self) -> "dict[str, Node]":
        """Return the items of a mapping; empty for any other value."""
        return self.value if isinstance(self.value, dict) else {}

    def child(self, part: str | int) -> "Node | None":
        """Return the child at a key or an index; None if there is none."""
        if isinstance(self.value, list) and isinstance(part, int):
            return self.value[part] if part < len(self.value) else None
        return self.mapping.get(str(part))

    def items(self) -> "list[tuple[str | int, Node]]":
        """Return the children, each with its key or index."""
        return list(enumerate(self.value)) if isinstance(self.value, list) else list(self.mapping.items())

    def find(self, path: KeyPath) -> "Node | None":
        """Return the node at ``path``; None if there is none."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node else None
        return node

    def nearest(self, path: KeyPath) -> "Node":
        """Return the deepest existing node along ``path``."""
        node = self
        for part in path:
            if (child := node.child(part)) is None:
                break
            node = child
        return node

    def put(self, path: tuple[str, ...], node: "Node") -> "Node":
        """Return a copy with ``node`` at ``path``; other values along the path become mappings."""
        if not path:
            return node
        below = self.mapping.get(path[0], Node({}, node.where))
        return Node(self.mapping | {path[0]: below.put(path[1:], node)}, self.where)

    def plain(self) -> Any:
        """Return the value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return [item.plain() for item in self.value] if isinstance(self.value, list) else self.value


def read_yaml(path: Path) -> Node:
    """Read a YAML file that holds a mapping.

    Raises:
        ConfigError: the file cannot be read, is too large, is not UTF-8, not YAML, or not a mapping.
    """
    node = parse_yaml(_text(path), str(path), numbered=True)
    if node.value is None:
        raise ConfigError(f"{path}: the file is empty; a config names a task and its settings")
    if not isinstance(node.value, dict):
        raise ConfigError(f"{node.where}: found {describe(node.value)}; a config is a mapping of keys to values")
    return node


def parse_yaml(text: str, source: str, *, numbered: bool) -> Node:
    """Parse a YAML document; an empty text gives null.

    Args:
        text: one YAML document.
        source: its origin, for messages.
        numbered: whether messages include line numbers.

    Raises:
        ConfigError: the text is not a single strict YAML document.
    """
    builder = _Builder(source, numbered)
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{builder.place(mark)}: is not valid YAML: {_reason(error)}") from error
    except yaml.YAMLError as error:
        if not is_text(text):
            raise ConfigError(f"{source}: a name is not UTF-8 text; rename the file or folder") from error
        raise ConfigError(f"{source}: is not valid YAML: it contains a character that is not text") from error
    return Node(None, source) if root is None else builder.build(root, root.start_mark)


def dump_yaml(value: Mapping[str, Any]) -> str:
    """Return ``value`` (dicts, lists, scalars) as YAML text that `read_yaml` reads back to the same value."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def dotted(path: KeyPath) -> str:
    """Return a path in dotted form: ``data.augmentations[0].prob``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def describe(value: object) -> str:
    """Return a short description of a value for messages: ``'fast'``, ``null``, ``a list``."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}…"


class _Loader(yaml.SafeLoader):
    """PyYAML loader that resolves scalars strictly and refuses tags and deep nesting."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (filled below)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a value and its children; refuse explicit tags and deep nesting."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(None, None, f"tags such as {event.tag} are not supported", event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.MarkedYAMLError(None, None, f"nested deeper than {MAX_DEPTH} levels", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self.depth -= 1
        return node


_INT = r"[-+]?(?:0|[1-9][0-9]*)"
_FLOAT = rf"{_INT}(?:\.[0-9]*)?(?:[eE][-+]?[0-9]+)?|[-+]?\.[0-9]+(?:[eE][-+]?[0-9]+)?"
for _name, _pattern, _first in (
    ("null", r"~|null|", ["~", "n", ""]),
    ("bool", r"true|false", list("tf")),
    ("int", _INT, list("-+0123456789")),
    ("float", _FLOAT, list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)


class _Dumper(yaml.SafeDumper):
    """PyYAML dumper that quotes text which a YAML 1.1 or 1.2 reader would misread, and writes short lists inline."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (the base class's signature)
        """Return True: repeated values are written out, not aliased."""
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Write lists of scalars as ``[a, b]``, other lists item by item."""
        short = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=short or flow_style)


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{_FLOAT})\Z"), list("-+.0123456789"))


class _Builder:
    """Converts PyYAML's nodes to `Node`; counts values, since aliases can multiply them."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source = source
        self.numbered = numbered
        self.values = 0

    def place(self, mark: yaml.Mark | None) -> str:
        """Return the source with the line number, or only the source if lines are not numbered."""
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark is not None else self.source

    def build(self, node: yaml.Node, mark: yaml.Mark, depth: int = 0) -> Node:
        """Convert a node of PyYAML; ``mark`` is its location, for a value of a mapping that of its key."""
        where = self.place(mark)
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            raise ConfigError(f"{where}: more than {MAX_VALUES} values or {MAX_DEPTH} levels; check the aliases")
        if isinstance(node, yaml.MappingNode):
            return Node(self._items(node, depth), where)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.build(item, item.start_mark, depth + 1) for item in node.value], where)
        return Node(_scalar(node, where), where)

    def _items(self, node: yaml.MappingNode, depth: int) -> dict[str, Node]:
        items: dict[str, Node] = {}
        for key, value in node.value:
            where = self.place(key.start_mark)
            name = _key(key, where)
            if name in items:
                raise ConfigError(f"{where}: duplicate key '{name}', first used at {items[name].where}")
            items[name] = self.build(value, key.start_mark, depth + 1)
        return items


def _key(node: yaml.Node, where: str) -> str:
    """Return a key as written: ``on:`` is "on", ``1:`` is "1"."""
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{where}: found a list or a mapping as a key; keys must be text")
    if node.value == "<<":
        raise ConfigError(f"{where}: merge keys ('<<') are not supported; use 'base: FILE' to extend another config")
    return _printable(node.value, where)


def _scalar(node: yaml.Node, where: str) -> Scalar:
    text: str = node.value
    match node.tag.rpartition(":")[2]:
        case "null":
            return None
        case "bool":
            return text == "true"
        case "int" if len(text) < 20:
            return int(text)
        case "int" | "float":
            return _finite(text, where)
        case _:
            return _printable(text, where)


def _finite(text: str, where: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ConfigError(f"{where}: the number {text[:50]} is too large")
    return value


def _printable(text: str, where: str) -> str:
    if Reader.NON_PRINTABLE.search(text):
        raise ConfigError(f"{where}: {describe(text)} contains a control character")
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: config not found") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes; a config is a small text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    if r"'\t'" in problem:
        return "found a tab; indent with spaces"
    return f"{problem}; put text with special characters in quotes" if "character" in problem else problem
