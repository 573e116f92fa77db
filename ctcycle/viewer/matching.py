"""Finds the denoised series of each series: where `denoise` writes it, or by its shape if it is the only one."""

from dataclasses import dataclass
from pathlib import Path

from ctcycle.ct.finding import find_series
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import as_written
from ctcycle.errors import SeriesError
from ctcycle.inference.output_paths import with_output_paths
from ctcycle.inference.own_results import kind_of


@dataclass(frozen=True)
class Match:
    """A series, and the same series denoised."""

    before: SeriesInfo
    after: SeriesInfo


def match_series(source: Path, denoised: Path, slice_axis: int | None = None) -> tuple[list[Match], int]:
    """Return the series that are in both folders, and how many of the source have no result.

    Args:
        source: a series, a volume, or a folder of them.
        denoised: the output folder of `denoise`, or the same series denoised by another program.
        slice_axis: axis of stored arrays that NIfTI and npy volumes are cut along; None to choose it for each.

    Raises:
        SeriesError: a folder does not exist, or none of the series has a result.
    """
    if not denoised.exists():
        raise SeriesError(f"{denoised}: does not exist; give the output folder of ctcycle denoise")
    found = [info for info in find_series(source, slice_axis=slice_axis)[0] if not kind_of(info)]
    if not found:
        raise SeriesError(f"{source}: no CT found; give the folder that was denoised")
    matches = []
    for info, paths in with_output_paths(found, source, denoised, ("denoised",)):
        if paths["denoised"].exists():
            matches.append(Match(info, _written(info, paths["denoised"])))
    if not matches:
        matches = _by_shape(found, denoised, slice_axis)
    return matches, len(found) - len(matches)


def _written(info: SeriesInfo, path: Path) -> SeriesInfo:
    """Return the denoised series at a path.

    Raises:
        SeriesError: it has another number of files than its source.
    """
    result = as_written(info, path)
    if info.format == "dicom" and len(result.files) != info.shape[0]:
        found = [one for one in find_series(path)[0] if one.shape == info.shape]
        if len(found) != 1:
            raise SeriesError(f"{path}: does not hold the {info.shape[0]} slices of its source; denoise it again")
        return found[0]
    return result


def _by_shape(found: list[SeriesInfo], denoised: Path, slice_axis: int | None) -> list[Match]:
    """Match series of another program: those whose shape occurs once in both folders.

    Raises:
        SeriesError: there is none.
    """
    results = [info for info in find_series(denoised, slice_axis=slice_axis)[0] if kind_of(info) in {"", "denoised"}]
    matches = []
    for info in found:
        alike = [one for one in results if one.shape == info.shape]
        if len(alike) == 1 and sum(one.shape == info.shape for one in found) == 1:
            matches.append(Match(info, alike[0]))
    if not matches:
        raise SeriesError(
            f"{denoised}: holds no result of the {len(found)} series in the input; give the output folder of "
            "ctcycle denoise, and the same input"
        )
    return matches
