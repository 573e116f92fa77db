"""The one step of the build that setup.cfg cannot describe: configs and the shipped bundle go into the package.

They stay at the top of the repository, where people read them. In the wheel they are in ``ctcycle/shipped``, where
`ctcycle.config.shipped` finds them. An editable installation copies nothing.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

SHIPPED = ("configs", "bundles/ct_denoiser")
"""Folders that are copied, and nothing else: other bundles in ``bundles/`` are a developer's own."""


def shipped_files() -> list[str]:
    """Return every file of these folders, without compiled Python and hidden files."""
    found = (path for folder in SHIPPED for path in Path(folder).rglob("*"))
    return sorted(str(path) for path in found if path.is_file() and not _is_left_over(path))


def _is_left_over(path: Path) -> bool:
    return path.suffix == ".pyc" or any(part == "__pycache__" or part.startswith(".") for part in path.parts)


class BuildWithShipped(build_py):
    """Copies the shipped files beside the modules, and names them as sources for the sdist."""

    def run(self) -> None:
        """Copy the modules, then the shipped files, in place of those of an earlier build."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib, "ctcycle", "shipped")
        shutil.rmtree(target, ignore_errors=True)
        for file in shipped_files():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(file, str(target / file), preserve_mode=False)

    def get_source_files(self) -> list[str]:
        """Return what an sdist needs to build the same wheel."""
        return [*super().get_source_files(), *shipped_files()]


setup(cmdclass={"build_py": BuildWithShipped})
