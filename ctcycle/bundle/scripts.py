"""Copy whole packages of ctcycle into a bundle and rename their imports.

A bundle runs without ctcycle, so its ``scripts`` folder contains all code that its configs use.
``tests/test_layout.py`` checks that this code imports only itself, the standard library and packages a bundle needs.
"""

import ast
import re
from pathlib import Path

from ctcycle import __version__

TRAVELS = ("errors", "atomic", "ct", "networks", "inference", "bundle.runtime")
"""The packages and modules of ctcycle that are copied into a bundle."""

_FOLDER = Path(__file__).parent.parent
_IMPORT = re.compile(r"\b(from|import) ctcycle\b")
_INITS = {
    "__init__.py": f'"""The code of ctcycle that this bundle runs."""\n\n__version__ = "{__version__}"\n',
    "bundle/__init__.py": '"""The parts of ctcycle that only bundles run."""\n',
}


def scripts() -> dict[str, str]:
    """Return the contents of the files in the ``scripts`` folder, by relative path."""
    copied = {path.relative_to(_FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in _copied_files()}
    note = f"# Copied from ctcycle {__version__} (Apache-2.0) when the bundle was made.\n"
    return {name: note + _renamed(text) for name, text in sorted({**_INITS, **copied}.items())}


def _copied_files() -> list[Path]:
    bases = [_FOLDER.joinpath(*name.split(".")) for name in TRAVELS]
    return [path for base in bases for path in (base.with_suffix(".py"), *base.rglob("*.py")) if path.is_file()]


def _renamed(text: str) -> str:
    """Return the source code with ``ctcycle`` replaced by ``scripts`` in its imports."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1] = _IMPORT.sub(r"\1 scripts", lines[node.lineno - 1], count=1)
    return "\n".join(lines)
