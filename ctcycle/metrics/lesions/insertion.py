"""Insertion response: how much of a small lesion, added to real slices, a denoiser passes; needs no second dose.

Source: Li, ..., Gang, "perturbation response", SPIE 12031, 2022.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

SliceFilter = Callable[[NDArray[np.float64]], NDArray[np.floating]]
"""A denoiser: slice (H, W) in HU to slice (H, W) in HU."""

TransferFunction = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Modulation at spatial frequencies in cycles/mm, 1 at frequency 0."""

Site = tuple[int, int]
"""Row and column of a window's top-left corner, in pixels."""

WINDOW_PX = 32
OVERSAMPLING = 9
"""Sub-pixels along each side of a pixel; odd, so that one lies at the pixel's centre."""

SPREAD_PERCENTILES = (5.0, 95.0)
ANGLES = 64
PROFILE_STEP_PX = 0.05


@dataclass(frozen=True)
class Lesion:
    """A disc.

    Attributes:
        radius_mm: its radius.
        contrast_hu: its difference to the tissue around it, before any blur.
    """

    radius_mm: float
    contrast_hu: float


LESIONS: tuple[Lesion, ...] = (
    *(Lesion(radius, sign * hu) for radius in (1.5, 3.0, 5.0) for hu in (10.0, 20.0, 40.0) for sign in (1, -1)),
    Lesion(1.0, 300.0),
)
"""What the insertion bench inserts: lesions of three sizes and six contrasts, and a calcification."""


@dataclass(frozen=True)
class Stamp:
    """A lesion as it is added to a window.

    Attributes:
        lesion: what it shows.
        spacing_mm: pixel size.
        image_hu: (N, N) the blurred lesion, 0 far from it.
        centre_px: row and column of its centre, not always a whole number.
    """

    lesion: Lesion
    spacing_mm: float
    image_hu: NDArray[np.float64]
    centre_px: tuple[float, float]

    @property
    def core(self) -> NDArray[np.bool_]:
        """(N, N), True within half the radius of the centre, and always at the pixel nearest to it."""
        distance = _distance_px(self.image_hu.shape[0], self.centre_px)
        inside: NDArray[np.bool_] = distance <= max(self.lesion.radius_mm / 2 / self.spacing_mm, distance.min())
        return inside


@dataclass(frozen=True)
class InsertionResponse:
    """How much of a lesion is left after denoising.

    Attributes:
        lesion: what was inserted.
        sites: how many windows it was inserted into.
        response_hu: (N, N) mean over sites of D(x + s) - D(x).
        contrast_recovered: mean of the response over the core (r < R/2) over that of the inserted lesion.
        contrast_p5: 5th percentile over sites of the contrast recovered.
        contrast_p95: 95th percentile.
        volume_recovered: sum of the response over that of the inserted lesion.
        fwhm_mm: full width at half maximum of the mean response; NaN where it never falls to half.
        inserted_fwhm_mm: that of the inserted lesion.
    """

    lesion: Lesion
    sites: int
    response_hu: NDArray[np.float64]
    contrast_recovered: float
    contrast_p5: float
    contrast_p95: float
    volume_recovered: float
    fwhm_mm: float
    inserted_fwhm_mm: float


def gaussian_transfer(sigma_mm: float) -> TransferFunction:
    """Return the transfer function exp(-2 pi^2 sigma^2 f^2) of a Gaussian blur; ``sigma_mm`` 0 blurs nothing."""
    return lambda frequency: np.exp(-2 * (np.pi * sigma_mm * frequency) ** 2)


def make_stamp(
    lesion: Lesion,
    spacing_mm: float,
    transfer: TransferFunction,
    size_px: int = WINDOW_PX,
    offset_px: tuple[float, float] = (0.0, 0.0),
) -> Stamp:
    """Return a disc blurred by the scan's transfer function and sampled at the pixels' centres.

    Args:
        lesion: the disc.
        spacing_mm: pixel size.
        transfer: the scan's own, pixel aperture included, or `gaussian_transfer`.
        size_px: side N of the window.
        offset_px: where the centre is, relative to pixel (N // 2, N // 2).

    Raises:
        ValueError: the disc does not fit into the window.
    """
    centre = (size_px // 2 + offset_px[0], size_px // 2 + offset_px[1])
    radius_px = lesion.radius_mm / spacing_mm
    if not radius_px < min(*centre, size_px - 1 - max(centre)):
        raise ValueError(
            f"lesion: radius {radius_px:.1f} px at {centre} in a window of {size_px} px; use a wider window"
        )
    fine = (np.arange(size_px * OVERSAMPLING) - OVERSAMPLING // 2) / OVERSAMPLING
    distance = np.hypot(fine[:, np.newaxis] - centre[0], fine - centre[1])
    # the edge is one sub-pixel wide, so that the disc's area does not jump with the offset
    disc = np.clip((radius_px - distance) * OVERSAMPLING + 0.5, 0.0, 1.0)
    frequency = np.fft.fftfreq(fine.size, spacing_mm / OVERSAMPLING)
    gain = transfer(np.hypot(frequency[:, np.newaxis], frequency))
    blurred = np.fft.ifft2(np.fft.fft2(disc) * gain).real
    middle = slice(OVERSAMPLING // 2, None, OVERSAMPLING)
    return Stamp(lesion, spacing_mm, lesion.contrast_hu * blurred[middle, middle], centre)


def lesion_responses(
    denoise: SliceFilter,
    slice_hu: NDArray[np.floating],
    sites: Sequence[Site],
    stamps: Stamp | Sequence[Stamp],
    output_hu: NDArray[np.floating] | None = None,
) -> NDArray[np.float64]:
    """Return D(x + s) - D(x) in each window, (S, N, N) in HU; all windows of a slice get their lesion at once.

    Args:
        denoise: D.
        slice_hu: (H, W) the noisy slice x.
        sites: windows that do not overlap.
        stamps: the lesion s, the same in all windows or one for each, all of one size.
        output_hu: (H, W) D(x), where it is known already; it is the same for every lesion.

    Raises:
        ValueError: a window leaves the slice or overlaps another.
    """
    each = [stamps] * max(len(sites), 1) if isinstance(stamps, Stamp) else stamps
    size = each[0].image_hu.shape[0]
    _check_sites(sites, size, slice_hu.shape)
    before = slice_hu.astype(np.float64)
    after = before.copy()
    windows = [(slice(row, row + size), slice(column, column + size)) for row, column in sites]
    for window, stamp in zip(windows, each[: len(windows)], strict=True):
        after[window] += stamp.image_hu
    plain = denoise(before) if output_hu is None else output_hu
    difference = np.asarray(denoise(after), dtype=np.float64) - plain
    return np.array([difference[window] for window in windows]).reshape(-1, size, size)


def insertion_response(responses_hu: NDArray[np.float64], stamp: Stamp) -> InsertionResponse:
    """Summarise the responses to one lesion at all sites, of one or more slices.

    Args:
        responses_hu: (S, N, N) what `lesion_responses` returned, concatenated.
        stamp: the lesion that was inserted.

    Raises:
        ValueError: no site.
    """
    if not len(responses_hu):
        raise ValueError("insertion response: no site; at least one flat window is needed")
    mean = responses_hu.mean(axis=0)
    core, inserted = stamp.core, stamp.image_hu
    contrasts = responses_hu[:, core].mean(axis=1) / inserted[core].mean()
    low, high = np.percentile(contrasts, SPREAD_PERCENTILES)
    return InsertionResponse(
        lesion=stamp.lesion,
        sites=len(responses_hu),
        response_hu=mean,
        contrast_recovered=float(contrasts.mean()),
        contrast_p5=float(low),
        contrast_p95=float(high),
        volume_recovered=float(mean.sum() / inserted.sum()),
        fwhm_mm=_fwhm_mm(mean, stamp),
        inserted_fwhm_mm=_fwhm_mm(inserted, stamp),
    )


def _distance_px(size: int, centre: tuple[float, float]) -> NDArray[np.float64]:
    pixel = np.arange(size)
    distance: NDArray[np.float64] = np.hypot(pixel[:, np.newaxis] - centre[0], pixel - centre[1])
    return distance


def radial_profile(image_hu: NDArray[np.float64], stamp: Stamp, radius_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of an image over all directions at each radius from a lesion's centre, by quintic splines.

    Args:
        image_hu: (N, N) a response, or the inserted lesion itself.
        stamp: the lesion that was inserted.
        radius_mm: (R), within the window.
    """
    angle = np.arange(ANGLES) * (2 * np.pi / ANGLES)
    radius = radius_mm[:, np.newaxis] / stamp.spacing_mm
    rows = stamp.centre_px[0] + radius * np.sin(angle)
    columns = stamp.centre_px[1] + radius * np.cos(angle)
    profile: NDArray[np.float64] = ndimage.map_coordinates(image_hu, [rows, columns], order=5).mean(axis=1)
    return profile


def full_width_mm(profile: NDArray[np.float64], radius_mm: NDArray[np.float64]) -> float:
    """Return twice the radius beyond its top at which a profile (R) first falls to half of it.

    NaN where it never does, or where its top is not positive.
    """
    top = int(np.argmax(profile))
    below = np.flatnonzero(profile[top:] <= profile[top] / 2)
    if profile[top] <= 0 or not below.size:
        return float("nan")
    end = top + int(below[0])
    return float(2 * np.interp(profile[top] / 2, profile[[end, end - 1]], radius_mm[[end, end - 1]]))


def _fwhm_mm(image_hu: NDArray[np.float64], stamp: Stamp) -> float:
    reach = min(*stamp.centre_px, image_hu.shape[0] - 1 - max(stamp.centre_px))
    radius = np.arange(0.0, reach, PROFILE_STEP_PX) * stamp.spacing_mm
    return full_width_mm(radial_profile(image_hu, stamp, radius) * np.sign(stamp.lesion.contrast_hu), radius)


def _check_sites(sites: Sequence[Site], size: int, shape: tuple[int, ...]) -> None:
    taken = np.zeros(shape, dtype=np.bool_)
    for row, column in sites:
        if not (0 <= row <= shape[0] - size and 0 <= column <= shape[1] - size):
            raise ValueError(f"site ({row}, {column}): a window of {size} px leaves the slice of {shape} px")
        window = taken[row : row + size, column : column + size]
        if window.any():
            raise ValueError(f"site ({row}, {column}): overlaps another window of {size} px; leave one out")
        window[...] = True
