"""The code that travels in a bundle: whole packages of ctcycle, copied, their imports renamed.

A bundle runs where ctcycle is not installed, so its ``scripts`` folder holds all that its configs name.
``tests/test_layout.py`` holds what may travel to each other, Python's own modules and the packages that a bundle needs.
"""

import ast
import re
from pathlib import Path

from ctcycle import __version__

TRAVELS = ("errors", "atomic", "ct", "networks", "inference", "bundle.runtime")
"""The packages and single modules of ctcycle that are copied."""

_FOLDER = Path(__file__).parent.parent
_IMPORT = re.compile(r"\b(from|import) ctcycle\b")
_INITS = {
    "__init__.py": f'"""The code of ctcycle that this bundle runs."""\n\n__version__ = "{__version__}"\n',
    "bundle/__init__.py": '"""The parts of ctcycle that only bundles run."""\n',
}


def scripts() -> dict[str, str]:
    """Return the files of the ``scripts`` folder by their path in it: their text, ready to be written."""
    copied = {path.relative_to(_FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in _travelling()}
    note = f"# Copied from ctcycle {__version__} (Apache-2.0) when the bundle was made.\n"
    return {name: note + _renamed(text) for name, text in sorted({**_INITS, **copied}.items())}


def _travelling() -> list[Path]:
    places = [_FOLDER.joinpath(*name.split(".")) for name in TRAVELS]
    return [path for place in places for path in (place.with_suffix(".py"), *place.rglob("*.py")) if path.is_file()]


def _renamed(text: str) -> str:
    """Return the text with ``ctcycle`` as ``scripts`` in its import statements."""
    lines = text.split("\n")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            lines[node.lineno - 1] = _IMPORT.sub(r"\1 scripts", lines[node.lineno - 1], count=1)
    return "\n".join(lines)
