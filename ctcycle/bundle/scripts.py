"""The code that travels in a bundle: low modules of ctcycle, copied, their imports renamed.

A bundle runs where ctcycle is not installed, so what its configs name must lie in its own ``scripts`` folder, with all
that it imports in turn.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from ctcycle import __version__
from ctcycle.errors import BundleError

ROOTS = (
    "ctcycle.bundle.runtime.app",
    "ctcycle.bundle.runtime.pairs",
    "ctcycle.bundle.runtime.speed",
    "ctcycle.bundle.runtime.finetuning",
)
"""The modules that the configs of a bundle name."""

ALLOWED = frozenset({"numpy", "torch", "monai", "pydicom", "nibabel"})
"""What a bundle may need beside Python's own modules."""

NEEDS_MORE = ("monai.apps", "monai.engines", "monai.handlers")
"""Parts of MONAI that do nothing without its optional dependencies."""

_PACKAGE = "ctcycle"
_FOLDER = Path(__file__).parent.parent


def scripts() -> dict[str, str]:
    """The files of the ``scripts`` folder by their path in it: their text, ready to be written.

    Raises:
        BundleError: a module that travels imports what a bundle must not need.
    """
    files = travelling().values()
    return {path.relative_to(_FOLDER).as_posix(): _rewritten(path.read_text(encoding="utf-8")) for path in files}


def travelling() -> dict[str, Path]:
    """The modules that travel, by name: the roots and all that they import, with the packages that they lie in.

    Raises:
        BundleError: see `scripts`.
    """
    found: dict[str, Path] = {}
    waiting = sorted(ROOTS)
    while waiting:
        name = waiting.pop()
        path = _path(name)
        if name in found or path is None:
            continue
        found[name] = path
        tree = ast.parse(path.read_text(encoding="utf-8"))
        _check_foreign(name, tree)
        waiting += sorted({part for item in _imported(tree) if _is_ours(item) for part in _with_parents(item)})
    return dict(sorted(found.items()))


def _check_foreign(name: str, tree: ast.Module) -> None:
    guarded = {id(part) for node in ast.walk(tree) if _guards(node) for part in ast.walk(node)}
    for node in ast.walk(tree):
        for item in _names(node):
            top = item.partition(".")[0]
            known = top in ALLOWED | sys.stdlib_module_names | {_PACKAGE}
            if (not known and id(node) not in guarded) or item.startswith(NEEDS_MORE):
                raise BundleError(
                    f"{name}: imports {item}, which a bundle must not need; allowed are Python's own modules, "
                    f"{', '.join(sorted(ALLOWED))}"
                )


def _guards(node: ast.AST) -> bool:
    """Whether the node is a ``try`` that lets an import fail."""
    return isinstance(node, ast.Try) and any("ImportError" in ast.unparse(h.type) for h in node.handlers if h.type)


def _imported(tree: ast.Module) -> set[str]:
    return {item for node in ast.walk(tree) for item in _names(node)}


def _names(node: ast.AST) -> Iterator[str]:
    """What a statement imports; for ``from a import b`` both ``a`` and, as it may be a module, ``a.b``."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == _PACKAGE


def _with_parents(name: str) -> list[str]:
    """``a``, ``a.b``, ``a.b.c``: to import a module runs the packages above it."""
    parts = name.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts) + 1)]


def _path(name: str) -> Path | None:
    """The file of a module of ours; None where the name is not that of a module."""
    place = _FOLDER.joinpath(*name.split(".")[1:])
    return next((path for path in (place / "__init__.py", place.with_suffix(".py")) if path.is_file()), None)


def _rewritten(text: str) -> str:
    """The text with ``ctcycle`` as ``scripts`` in its import statements, and a line that says where it comes from."""
    lines = text.splitlines(keepends=True)
    for node in ast.walk(ast.parse(text)):
        if any(_is_ours(item) for item in _names(node)):
            number = node.lineno - 1  # type: ignore[attr-defined]  # statements have one
            lines[number] = lines[number].replace(_PACKAGE, "scripts", 1)
    return "".join([f"# Copied from ctcycle {__version__} (Apache-2.0) when the bundle was made.\n", *lines])
