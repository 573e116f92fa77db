# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Results of earlier runs, known by the ``summary.json`` beside them where their format (npy) records nothing."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from scripts.ct.series import SeriesInfo

NAME = "summary.json"
_MAX_BYTES = 1 << 26


def kind_of(info: SeriesInfo) -> str:
    """Return the kind of a series that ctcycle made: "denoised", "residual" or "uncertainty"; otherwise empty.

    Args:
        info: a series; of an npy series, the folders above are searched for a summary that lists it.
    """
    if info.made_by or info.format != "npy":
        return info.made_by
    path = info.path.absolute()
    found = ((folder, read_results(folder)) for folder in path.parents)
    return next(
        (results[name] for folder, results in found if (name := path.relative_to(folder).as_posix()) in results), ""
    )


def read_results(folder: Path) -> dict[str, str]:
    """Return the results listed in the summary of a folder, by their path relative to it; empty if it has none."""
    path = folder / NAME
    try:
        if not path.is_file() or path.stat().st_size > _MAX_BYTES:
            return {}
        results = json.loads(path.read_bytes())["results"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # not a summary of ctcycle
        return {}
    return {str(name): str(kind) for name, kind in results.items()} if isinstance(results, dict) else {}


def all_results(folder: Path, outputs: Iterable[Mapping[Any, Path]]) -> dict[str, str]:
    """Return the results in a folder, by their path relative to it: those of earlier runs and those of this one.

    Args:
        folder: the output folder.
        outputs: for each series, the path of each kind of output under ``folder``.
    """
    new = {path.relative_to(folder).as_posix(): kind for paths in outputs for kind, path in paths.items()}
    listed = {**read_results(folder), **new}
    return {name: kind for name, kind in sorted(listed.items()) if (folder / name).exists()}
