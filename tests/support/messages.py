"""The messages of the program, taken from its source: the text between the values that it fills in."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "ctcycle"

_SHORTEST = 13
"""Characters of text that make a pattern; shorter ones occur by chance."""


@cache
def fixed_texts() -> tuple[tuple[str, ...], ...]:
    """Return the fixed parts of each string of the package that may be a message."""
    found = {
        parts
        for file in sorted(PACKAGE.rglob("*.py"))
        for parts in _strings(ast.parse(file.read_text(encoding="utf-8")))
        if len("".join(parts)) >= _SHORTEST
    }
    return tuple(sorted(found))


def share_found(message: str) -> float:
    """Return the share of a message, from 0 to 1, that is fixed text of messages of the program."""
    covered: set[int] = set()
    for parts in fixed_texts():
        if all(part in message for part in parts):  # a quick test before the exact one
            match = re.search(".*?".join(f"({re.escape(part)})" for part in parts), message)
            for group in range(1, len(parts) + 1) if match else ():
                covered |= set(range(*match.span(group)))
    return len(covered) / len(message)


def _strings(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """Yield the fixed parts of each string, of its log placeholders (%d) and of its f-string expressions."""
    inside = {
        id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }  # parts of f-strings are yielded with them
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values]
            yield _fixed("".join(parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield _fixed(re.sub(r"%(?:\.\d+)?[dfs]", "\0", node.value).replace("%%", "%"))


def _fixed(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split("\0") if part.strip())
