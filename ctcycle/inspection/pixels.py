"""Measures a sample of the slices of a series: unit, range, padding, noise, its spectrum, and a small picture."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctcycle.ct import dicom, nifti, npy
from ctcycle.ct.measures import soft_tissue_noise
from ctcycle.ct.series import Format, Series, SeriesInfo, check_hu
from ctcycle.ct.stored_values import StoredValues
from ctcycle.errors import SeriesError
from ctcycle.evaluation.page.regions import body_region
from ctcycle.inference.routine_dose import dose_level
from ctcycle.inspection.facts import Pixels
from ctcycle.metrics.protocols import body_mask
from ctcycle.metrics.spectral.spectra import detrended_spectra, mean_power
from ctcycle.metrics.windows import WINDOW_PX, cut_windows, flat_windows
from ctcycle.report.pixels import grey_png

PICTURE_HU = (-160.0, 240.0)
"""Window of the small pictures, the same for all."""

WINDOW_TOP_HU = 1000.0
"""Upper end of the HU window that networks are trained in; brighter pixels are left as they are."""

_PICTURE_PX = 200
_SPECTRUM_SLICES = 4
_READERS: dict[Format, Callable[[SeriesInfo, Sequence[int]], Iterator[StoredValues]]] = {
    "dicom": dicom.read_stored,
    "nifti": nifti.read_stored,
    "npy": npy.read_stored,
}

HU = NDArray[np.float32]


def read_slices(info: SeriesInfo, indices: Sequence[int]) -> Iterator[tuple[StoredValues, HU]]:
    """Yield stored values and HU (H, W) of slices of a series; only these are decoded.

    Raises:
        SeriesError: a file is damaged or has changed, or a slice holds values that are not finite.
    """
    for index, stored in zip(indices, _READERS[info.format](info, indices), strict=True):
        hu = stored.hu()[0]
        if not np.isfinite(hu).all():
            raise SeriesError(f"{info.file_of(index)}: slice {index} contains NaN or infinity; repair or remove it")
        yield stored, hu


def spread(length: int, count: int) -> list[int]:
    """Return at most ``count`` indices below ``length``, evenly spread, with the first and the last."""
    picked: list[int] = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist()
    return picked


def measure_pixels(info: SeriesInfo, count: int, *, every: bool, picture: bool = True) -> Pixels:
    """Measure a series on ``count`` of its slices.

    Args:
        info: the series.
        count: slices to measure, evenly spread.
        every: whether to read all slices, to find copies of single slices.
        picture: whether to make the small picture.

    Raises:
        SeriesError: a slice cannot be decoded, or the values do not look like HU.
    """
    measured = spread(info.shape[0], count)
    sample = _Sample()
    chosen = set(measured)
    wanted = list(range(info.shape[0])) if every else measured
    for index, (stored, hu) in zip(wanted, read_slices(info, wanted), strict=True):
        sample.digests[index] = _digest(hu)
        if index in chosen:
            sample.add(index, stored, hu)
    return sample.pixels(info, picture=picture)


@dataclass
class _Sample:
    """The slices of one series that are measured."""

    slices: list[HU] = field(default_factory=list)
    padding: list[NDArray[np.bool_]] = field(default_factory=list)
    noise_hu: dict[int, float] = field(default_factory=dict)
    digests: dict[int, str] = field(default_factory=dict)
    rescale: set[tuple[float, float]] = field(default_factory=set)

    def add(self, index: int, stored: StoredValues, hu: HU) -> None:
        """Measure one slice."""
        self.slices.append(hu)
        self.padding.append(stored.padding[0])
        self.rescale.add((float(stored.slope), float(stored.intercept)))
        if np.isfinite(noise := soft_tissue_noise(hu)):
            self.noise_hu[index] = noise

    def pixels(self, info: SeriesInfo, *, picture: bool) -> Pixels:
        """Return what the slices say together.

        Raises:
            SeriesError: the values do not look like HU.
        """
        hu, padding = np.stack(self.slices), np.stack(self.padding)
        check_hu(Series(info, hu, padding if padding.any() else None))
        low, high = (float(value) for value in np.percentile(hu[~padding][::7], [1, 99]))
        power, windows = _power(self.slices)
        middle = self.slices[len(self.slices) // 2]
        return Pixels(
            unit=_unit(info, self.rescale),
            low_hu=low,
            high_hu=high,
            padding=float(padding.mean()),
            beyond_window=_beyond(middle),
            noise_hu=self.noise_hu,
            level=dose_level(info, self.slices),
            power_hu2=power,
            windows=windows,
            digests=self.digests,
            picture=_picture(middle) if picture else b"",
        )


def _digest(hu: HU) -> str:
    """Return a digest of a slice that is the same in every file format."""
    rounded = np.rint(hu).astype(np.int32)
    return hashlib.blake2b(repr(hu.shape).encode() + rounded.tobytes(), digest_size=16).hexdigest()


def _unit(info: SeriesInfo, rescale: set[tuple[float, float]]) -> str:
    if info.format != "dicom":
        return "HU" if rescale == {(1.0, 0.0)} or info.format == "nifti" else "attenuation in 1/mm, converted to HU"
    shown = " or ".join(f"{slope:g} x value {intercept:+g}" for slope, intercept in sorted(rescale)[:2])
    return f"stored values, HU = {shown}"


def _beyond(hu: HU) -> float:
    body = body_mask(hu)
    return float((hu[body] > WINDOW_TOP_HU).mean()) if body.any() else 0.0


def _power(slices: Sequence[HU]) -> tuple[NDArray[np.float64], int]:
    """Return the summed power of flat windows of some slices, and their number."""
    total, count = np.zeros((WINDOW_PX, WINDOW_PX)), 0
    for number in spread(len(slices), _SPECTRUM_SLICES):
        if corners := flat_windows(slices[number]):
            spectra = detrended_spectra(cut_windows(slices[number], corners))
            total += mean_power(spectra, spectra) * len(spectra)
            count += len(spectra)
    return total, count


def _picture(hu: HU) -> bytes:
    """Return a slice as a small PNG, cropped to the body and averaged over blocks of pixels."""
    crop = hu[body_region(hu)]
    step = max(1, -(-max(crop.shape) // _PICTURE_PX))
    rows, columns = (side // step for side in crop.shape)
    blocks = crop[: rows * step, : columns * step].reshape(rows, step, columns, step)
    return grey_png(blocks.mean(axis=(1, 3)), PICTURE_HU)
