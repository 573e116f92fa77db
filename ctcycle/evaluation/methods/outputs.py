"""Outputs of other programs: a folder of denoised series, matched to the low-dose series of the evaluation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom import dcmread

from ctcycle.ct import series_io
from ctcycle.ct.series import SeriesInfo, hashed
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import match_pairs
from ctcycle.data.slices import SliceData
from ctcycle.data.store import SliceStore, StoredSeries
from ctcycle.errors import SeriesError
from ctcycle.evaluation.methods.method import Method, digest_of
from ctcycle.evaluation.methods.same_slices import check_same_slices
from ctcycle.evaluation.pairs import HUImage, LowDoseSlice


@dataclass(frozen=True)
class OutputSeries:
    """The output that belongs to one low-dose series.

    Attributes:
        stored: the decoded output.
        places: index in the output of each slice of the low-dose series that has one.
    """

    stored: StoredSeries
    places: Mapping[int, int]


def outputs_method(
    name: str, title: str, folder: Path, data: SliceData, store: SliceStore, *, guard: bool = True
) -> Method:
    """Return the method that another program's outputs stand for; HU are rounded to whole numbers as those of scans.

    A series is matched by the source series that its DICOM header refers to; else by a folder or file name that
    contains the patient's or the series' key; else, where only one low-dose series and one output exist, as the only
    one. Slices are matched by position, or by order where a format has no positions and the numbers of slices agree.

    Args:
        name: name of the method.
        title: its title for readers.
        folder: the folder of outputs.
        data: the slices of the evaluation.
        store: where decoded outputs are kept.
        guard: whether to check that outputs show the anatomy of their low dose.

    Raises:
        SeriesError: a low-dose series has no output or several, or their slices cannot be matched or show other
            anatomy; named by its key.
    """
    infos, _skipped = series_io.find_series(folder, store.mu[0], mu_air=store.mu[1])
    sources = {info: _source_uid(info) for info in infos}
    lows = [row for row in data.manifest if row.dose == "low_dose"]
    found: dict[str, OutputSeries] = {}
    for row in lows:
        info = _match(row, infos, sources, only=len(lows) == 1, folder=folder)
        low, output = data.series[row.series], store.open(info)
        found[row.series] = _matched(row, low, output, info)
        if guard:
            where = f"{info.path}: output of series {row.series}"
            check_same_slices(where, low.hu, output.hu, found[row.series].places)
    digest = digest_of("outputs", {key: [one.stored.digests, one.places] for key, one in found.items()})
    return Method(name, title, "outputs", digest, None, _reader(name, found))


def _match(
    row: ManifestRow, infos: Sequence[SeriesInfo], sources: Mapping[SeriesInfo, str], *, only: bool, folder: Path
) -> SeriesInfo:
    """Return the output of a low-dose series, by the first rule that any output meets."""
    referring = [info for info in infos if row.uid and sources[info] == row.uid]
    unknown = [info for info in infos if not sources[info]]
    rules = (
        referring,
        [info for info in unknown if row.series in _names(info, folder)],
        [info for info in unknown if row.patient in _names(info, folder)],
        list(unknown) if only else [],
    )
    candidates = next((rule for rule in rules if rule), [])
    if len(candidates) != 1:
        count = f"{len(candidates)} outputs match" if candidates else "no output matches"
        raise SeriesError(
            f"{folder}: {count} low-dose series {row.series} of patient {row.patient}; put the output of each series "
            "into a folder named after its patient or series, with no other series in it"
        )
    return candidates[0]


def _matched(row: ManifestRow, low: StoredSeries, output: StoredSeries, info: SeriesInfo) -> OutputSeries:
    """Match the slices of an output to those of its low-dose series."""
    where = f"{info.path}: output of series {row.series}"
    if output.shape[1:] != low.shape[1:]:
        raise SeriesError(
            f"{where} has slices of {output.shape[1:]} px, the low dose {low.shape[1:]} px; export it again"
        )
    _check_spacing(where, low, output)
    if row.format != "npy" and info.format != "npy" and len(low.positions_mm) > 1:
        places = dict(match_pairs(low.positions_mm, output.positions_mm))
        if places:
            return OutputSeries(output, places)
        raise SeriesError(f"{where} shares no slice position with it; export it with the positions of the source")
    if output.shape[0] != low.shape[0]:
        raise SeriesError(
            f"{where} has {output.shape[0]} slices, the low dose {low.shape[0]}, and no positions to match them by; "
            "export all slices"
        )
    return OutputSeries(output, {index: index for index in range(low.shape[0])})


def _check_spacing(where: str, low: StoredSeries, output: StoredSeries) -> None:
    known = all(side > 0 for side in (*low.spacing_mm[1:], *output.spacing_mm[1:]))
    if known and not np.allclose(low.spacing_mm[1:], output.spacing_mm[1:], rtol=1e-3):
        raise SeriesError(
            f"{where} has pixels of {output.spacing_mm[1]:g} mm, the low dose of {low.spacing_mm[1]:g} mm; resample it"
        )


def _reader(name: str, found: Mapping[str, OutputSeries]) -> Callable[[LowDoseSlice], HUImage]:
    def read(item: LowDoseSlice) -> HUImage:
        own = found[item.series]
        if item.slice_index not in own.places:
            raise SeriesError(f"{item.where}, method {name}: no output at its position; export all slices")
        image = own.stored.hu[own.places[item.slice_index]]
        return (image if item.window is None else item.window.cut(image)).astype(np.float32)

    return read


def _names(info: SeriesInfo, folder: Path) -> set[str]:
    """Return the names of the folders between ``folder`` and an output, and of its file, without endings."""
    parts = info.path.relative_to(folder).parts if info.path != folder else ()
    return {*parts, *(part.partition(".")[0] for part in parts)}


def _source_uid(info: SeriesInfo) -> str:
    """Return the hash of the series that a DICOM output refers to as its source; empty if it refers to none."""
    if info.format != "dicom":
        return ""
    header = dcmread(info.files[0], stop_before_pixels=True, specific_tags=["ReferencedSeriesSequence"])
    uids = {str(item.get("SeriesInstanceUID") or "") for item in header.get("ReferencedSeriesSequence") or ()}
    return hashed(uids.pop(), 16) if len(uids) == 1 and "" not in uids else ""
