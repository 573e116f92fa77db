"""Lookup of the configs and the bundle that ship with ctcycle.

A checkout has them in ``configs/`` and ``bundles/`` at its root, an installed package in its ``shipped/`` folder.
"""

from pathlib import Path

from ctcycle.config.renamed import current_file
from ctcycle.config.suggestions import near
from ctcycle.errors import BundleError, ConfigError

BUNDLE = "ct_denoiser"
"""The bundle that ships with ctcycle."""

_PACKAGE = Path(__file__).parent.parent
_FOLDERS = ("configs", "bundles")
_ENDINGS = (".yaml", ".yml")


def config_names() -> list[str]:
    """Return the sorted names of the shipped configs, such as ``cyclegan`` and ``report2024/cyclegan``.

    The configs in ``configs/base`` are left out, since they only serve as bases and cannot be run.
    """
    root = _folder("configs")
    files = (file.relative_to(root) for file in root.rglob("*.yaml"))
    return sorted(file.with_suffix("").as_posix() for file in files if file.parts[0] != "base")


def find_config(name: str | Path) -> Path:
    """Return the path of a config.

    Args:
        name: the name of a shipped config, such as ``report2024/cyclegan``. A `Path`, or a string that ends in
            ``.yaml`` or ``.yml``, is a file; see `located`.

    Raises:
        ConfigError: no shipped config has this name.
    """
    if isinstance(name, Path) or name.endswith(_ENDINGS):
        return located(Path(name))
    names = config_names()
    if name in names:
        return _folder("configs") / f"{name}.yaml"
    known = ", ".join(known for known in names if "/" not in known)
    hint = near(name, names) or f"; give a .yaml file, or one of {known}"
    raise ConfigError(f"command line: no shipped config named '{name}'{hint}")


def shipped_bundle() -> Path:
    """Return the folder of the bundle that ships with ctcycle.

    Raises:
        BundleError: the bundle is missing from this installation.
    """
    path = _folder("bundles") / BUNDLE
    if not path.is_dir():
        raise BundleError(f"{path}: the shipped bundle is missing; reinstall ctcycle, or choose a model")
    return path


def located(path: Path) -> Path:
    """Return the actual location of a path given in a config.

    Returns:
        ``path`` itself; or, if it does not exist, the file or folder of that name that ships with ctcycle, such as
        ``configs/demo.yaml`` or ``bundles/ct_denoiser``.
    """
    path = current_file(path)
    if path.exists() or path.is_absolute() or path.parts[:1] not in {(name,) for name in _FOLDERS}:
        return path
    shipped = current_file(_folder(path.parts[0]).joinpath(*path.parts[1:]))
    return shipped if ".." not in path.parts and shipped.exists() else path


def _folder(name: str) -> Path:
    inside = _PACKAGE / "shipped" / name
    return inside if inside.is_dir() else _PACKAGE.parent / name
