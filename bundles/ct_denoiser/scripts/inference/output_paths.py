# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""The paths of the outputs of each series: those of the inputs, under the output folder."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from scripts.ct import nifti
from scripts.ct.series import SeriesInfo, series_uid
from scripts.ct.series_io import check_apart
from scripts.errors import OutputError
from scripts.inference.records import FOLDER

Kind = Literal["denoised", "residual", "uncertainty"]


_OWN = {FOLDER, "config.yaml", "finished", "lock", "log.txt", "summary.json"}
"""Names in an output folder that are not those of series."""


def output_paths(found: Sequence[SeriesInfo], root: Path, out: Path) -> list[Path]:
    """Return the output path of each series: its path relative to ``root``, under ``out``.

    If a folder holds more than one series, or has series below it, each series gets its own subfolder. Slices directly
    in ``root`` go to a folder named after it.
    """
    paths = [_absolute(info.path) for info in found]
    top = _absolute(root)
    base = top if top.is_dir() and top not in paths else min([top, *paths], key=lambda path: len(path.parts)).parent
    shared = {path for path, count in Counter(paths).items() if count > 1}
    shared |= {parent for path in paths for parent in path.parents}
    return [
        out / path.relative_to(base) / (f"series-{short_key(info)}" if path in shared else "")
        for info, path in zip(found, paths, strict=True)
    ]


def with_output_paths(
    found: Sequence[SeriesInfo], source: Path, out: Path, kinds: Sequence[Kind]
) -> list[tuple[SeriesInfo, dict[Kind, Path]]]:
    """Return each series with the paths of its outputs.

    Raises:
        OutputError: two outputs would have the same path, or one that ctcycle needs for its own files, or ``out`` or
            one of them is the source or inside it.
    """
    if source.is_dir() and out.resolve().is_relative_to(source.resolve()):
        raise OutputError(f"{out}: is the input {source} or inside it; choose a location outside it")
    paths = output_paths(found, source, out)
    pairs = [
        (info, {kind: _output_path(path, kind) for kind in kinds}) for info, path in zip(found, paths, strict=True)
    ]
    for info, outputs in pairs:
        for path in outputs.values():
            check_apart(info, path)
            if path.parent == out and path.name in _OWN:
                raise OutputError(
                    f"{path}: ctcycle uses this name for a file of its own; rename {info.path}, or give the folder "
                    "above it as input"
                )
    counts = Counter(path for _info, outputs in pairs for path in outputs.values())
    if twice := [path for path, count in counts.items() if count > 1]:
        raise OutputError(
            f"{twice[0]}: two outputs would have this name; rename one of the inputs, or denoise them separately"
        )
    return pairs


def _output_path(path: Path, kind: Kind) -> Path:
    """Return the path of an output kind: that of the denoised series, with a suffix for residual and uncertainty."""
    if kind == "denoised":
        return path
    suffix = next((end for end in (*nifti.SUFFIXES[::-1], ".npy") if path.name.lower().endswith(end)), "")
    stem = path.name[: len(path.name) - len(suffix)]
    return path.with_name(f"{stem}_{kind}{path.name[len(stem) :]}" if suffix else f"{path.name}-{kind}")


def _absolute(path: Path) -> Path:
    return Path(os.path.normpath(path.absolute()))


def short_key(info: SeriesInfo) -> str:
    """Return eight hexadecimal digits that distinguish a series from others in its folder."""
    return hashlib.sha256(series_uid(info).encode(errors="surrogatepass")).hexdigest()[:8]
