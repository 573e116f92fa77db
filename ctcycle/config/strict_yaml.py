"""YAML without surprises, every value with the place where it was written.

Scalars are what YAML 1.2 says: ``2e-4`` is a number; only ``true`` and ``false`` are booleans; dates, sexagesimal and
octal numbers do not exist. Duplicate keys, tags, merge keys and aliases that multiply are errors.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from ctcycle.errors import ConfigError

MAX_BYTES = 2**20
MAX_DEPTH = 50
MAX_VALUES = 20_000

Scalar = str | int | float | bool | None
KeyPath = tuple[str | int, ...]


@dataclass(frozen=True)
class Node:
    """A value of a config, and where it was written (``configs/x.yaml:12``, or ``command line``)."""

    value: "Scalar | list[Node] | dict[str, Node]"
    where: str

    @property
    def mapping(self) -> "dict[str, Node]":
        """The items of a mapping; nothing for any other value."""
        return self.value if isinstance(self.value, dict) else {}

    def child(self, part: str | int) -> "Node | None":
        """What lies under a key or an index; None if there is nothing."""
        if isinstance(self.value, list) and isinstance(part, int):
            return self.value[part] if part < len(self.value) else None
        return self.mapping.get(str(part))

    def items(self) -> "list[tuple[str | int, Node]]":
        """What lies directly below, with its key or index."""
        return list(enumerate(self.value)) if isinstance(self.value, list) else list(self.mapping.items())

    def find(self, path: KeyPath) -> "Node | None":
        """What lies at ``path``; None if there is nothing."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node else None
        return node

    def nearest(self, path: KeyPath) -> "Node":
        """The last thing that exists on the way along ``path``."""
        node = self
        for part in path:
            if (child := node.child(part)) is None:
                break
            node = child
        return node

    def put(self, path: tuple[str, ...], node: "Node") -> "Node":
        """A copy with ``node`` at ``path``; what is no mapping on the way there gives way to one."""
        if not path:
            return node
        below = self.mapping.get(path[0], Node({}, node.where))
        return Node(self.mapping | {path[0]: below.put(path[1:], node)}, self.where)

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, dict):
            return {key: item.plain() for key, item in self.value.items()}
        return [item.plain() for item in self.value] if isinstance(self.value, list) else self.value


def read_yaml(path: Path) -> Node:
    """The mapping that a YAML file holds.

    Raises:
        ConfigError: the file cannot be read, is too large, is not UTF-8, not YAML, or no mapping.
    """
    node = parse_yaml(_text(path), str(path), numbered=True)
    if node.value is None:
        raise ConfigError(f"{path}: is empty; a config names its task and what the task needs")
    if not isinstance(node.value, dict):
        raise ConfigError(f"{node.where}: a config is a mapping of keys to values, found {describe(node.value)}")
    return node


def parse_yaml(text: str, source: str, *, numbered: bool) -> Node:
    """The value that ``text`` holds; null if it is empty.

    Args:
        text: one YAML document.
        source: where it comes from, for messages.
        numbered: whether lines are worth naming.

    Raises:
        ConfigError: not one strict YAML document.
    """
    builder = _Builder(source, numbered)
    try:
        root = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ConfigError(f"{builder.place(mark)}: is not valid YAML: {_reason(error)}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{source}: is not valid YAML: it holds a character that is not text") from error
    return Node(None, source) if root is None else builder.build(root, root.start_mark)


def dump_yaml(value: Mapping[str, Any]) -> str:
    """``value`` (dicts, lists, scalars) as YAML text, from which `read_yaml` gives the same value again."""
    return yaml.dump(dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def dotted(path: KeyPath) -> str:
    """``data.augmentations[0].prob``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def describe(value: object) -> str:
    """A value for a message: ``'fast'``, ``null``, ``a list``."""
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:50]}…"


class _Loader(yaml.SafeLoader):
    """Gives the node tree; resolves scalars strictly, refuses tags and deep nesting."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (filled below)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """One value with all below it; also where the parser meets an explicit tag, which is refused."""
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
    """Quotes what our reader or any YAML 1.1 reader would not take for text; writes plain lists in one line."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 (the base class's signature)
        """Always: a value that stands twice is written twice."""
        return True

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> yaml.SequenceNode:
        """Lists of scalars as ``[a, b]``, others item by item."""
        short = not any(isinstance(item, (dict, list)) for item in sequence)
        return super().represent_sequence(tag, sequence, flow_style=short or flow_style)


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(rf"(?:{_FLOAT})\Z"), list("-+.0123456789"))


class _Builder:
    """Turns PyYAML's nodes into ours; counts values, since aliases can multiply them."""

    def __init__(self, source: str, numbered: bool) -> None:
        self.source = source
        self.numbered = numbered
        self.values = 0

    def place(self, mark: yaml.Mark | None) -> str:
        """The file and the line; the source alone where lines are not worth naming."""
        return f"{self.source}:{mark.line + 1}" if self.numbered and mark is not None else self.source

    def build(self, node: yaml.Node, mark: yaml.Mark, depth: int = 0) -> Node:
        """Our node for PyYAML's, placed at ``mark``: for the value of a mapping, where its key stands."""
        where = self.place(mark)
        self.values += 1
        if self.values > MAX_VALUES or depth > MAX_DEPTH:
            raise ConfigError(f"{where}: more than {MAX_VALUES} values or {MAX_DEPTH} levels; do aliases multiply?")
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
                raise ConfigError(f"{where}: key '{name}' stands twice, first at {items[name].where}")
            items[name] = self.build(value, key.start_mark, depth + 1)
        return items


def _key(node: yaml.Node, where: str) -> str:
    """Keys are taken as written: ``on:`` is "on", ``1:`` is "1"."""
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{where}: a key is a word, found a list or a mapping")
    if node.value == "<<":
        raise ConfigError(f"{where}: merge keys ('<<') are not supported; 'base: FILE' starts from another config")
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
        raise ConfigError(f"{where}: {text[:50]} is too large a number")
    return value


def _printable(text: str, where: str) -> str:
    if Reader.NON_PRINTABLE.search(text):
        raise ConfigError(f"{where}: {describe(text)} holds a control character")
    return text


def _text(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: there is no such config") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from error
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than {MAX_BYTES} bytes; a config is a small text file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text") from error


def _reason(error: yaml.MarkedYAMLError) -> str:
    problem = ", ".join(part for part in (error.context, error.problem) if part)
    if r"'\t'" in problem:
        return "found a tab; YAML indents with spaces"
    return f"{problem}; does a word with special characters want quotes?" if "character" in problem else problem
