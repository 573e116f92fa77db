"""Task transfer function: how much of each frequency an image keeps at the edge of a rod of one contrast.

As in AAPM TG-233 (Samei et al. 2019, doi 10.1002/mp.13763; Richard et al. 2012, doi 10.1118/1.4725171): the edge of a
rod, seen at all angles, gives a finely sampled edge profile; the spectrum of its derivative is the transfer function.
A denoiser is not linear, so its transfer holds for the contrast and the noise of the rod.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_RADIUS_PX = 10
"""Edges of smaller rods are too curved for the profile along the radius."""

REACH_PX = 10.0
"""The profile extends this far to both sides of the edge."""

STEP_PX = 0.1
MIN_CONTRAST_TO_NOISE = 15.0
"""Contrast over noise of the averaged image below which the transfer function is unreliable."""

MAX_FREQUENCY_PER_PX = 1.0
_PLATEAU_PX = 5.0
_LENGTH = 8192
_CENTRINGS = 3


@dataclass(frozen=True)
class TaskTransfer:
    """The transfer function of one rod.

    Attributes:
        frequency_per_mm: (F), from 0 to one cycle a pixel.
        transfer: (F), 1 at frequency 0.
        f50_per_mm: where ``transfer`` falls to 0.5; NaN where it does not.
        f10_per_mm: where it falls to 0.1; NaN where it does not.
        contrast_hu: of the rod to its surroundings, as imaged.
        noise_hu: standard deviation around the profile, away from the edge.
        centre_px: (row, column) of the rod's centre.
    """

    frequency_per_mm: NDArray[np.float64]
    transfer: NDArray[np.float64]
    f50_per_mm: float
    f10_per_mm: float
    contrast_hu: float
    noise_hu: float
    centre_px: tuple[float, float]

    @property
    def contrast_to_noise(self) -> float:
        """Contrast over noise, to be at least `MIN_CONTRAST_TO_NOISE`."""
        return abs(self.contrast_hu) / self.noise_hu if self.noise_hu > 0 else math.inf


@dataclass(frozen=True)
class TransferRatio:
    """A transfer function relative to that of the image without noise and without denoising.

    Attributes:
        frequency_per_mm: (F), where the reference passes at least 0.1.
        ratio: (F), transfer over the reference's.
        f50_ratio: over the reference's; 0.9 for a loss of 10 %.
        f10_ratio: the same at 10 % of the transfer.
    """

    frequency_per_mm: NDArray[np.float64]
    ratio: NDArray[np.float64]
    f50_ratio: float
    f10_ratio: float


def realisations_needed(contrast_hu: float, noise_hu: float) -> int:
    """Return how many images of independent noise to average for `MIN_CONTRAST_TO_NOISE`."""
    return max(1, math.ceil((MIN_CONTRAST_TO_NOISE * noise_hu / contrast_hu) ** 2 - 1e-9))


def task_transfer(
    image_hu: NDArray[np.floating], pixel_mm: float, radius_px: float, centre_px: tuple[float, float] | None = None
) -> TaskTransfer:
    """Measure the transfer function at the edge of a rod in uniform surroundings.

    The derivative of the edge profile is tapered beyond 5 px from the edge only (Tukey): a Hann window over the whole
    raises f50 by up to 10 %.

    Args:
        image_hu: (H, W), HU; the mean of enough realisations, see `realisations_needed`.
        pixel_mm: side of a pixel.
        radius_px: radius of the rod.
        centre_px: (row, column) near which the rod's centre is; by default the image's. It is refined by the centroid.

    Raises:
        ValueError: the rod is too small, or it and its surroundings do not fit into the image.
    """
    _check_rod(image_hu.shape, radius_px)
    image = image_hu.astype(np.float64)
    middle = ((image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2)
    centre = rod_centre(image, radius_px, middle if centre_px is None else centre_px)
    profile, noise_hu = edge_profile(image, radius_px, centre)
    frequency, transfer = edge_transfer(profile, radius_px)
    plateau = round(_PLATEAU_PX / STEP_PX)
    return TaskTransfer(
        frequency_per_mm=frequency / pixel_mm,
        transfer=transfer,
        f50_per_mm=falls_to(0.5, frequency, transfer) / pixel_mm,
        f10_per_mm=falls_to(0.1, frequency, transfer) / pixel_mm,
        contrast_hu=float(profile[:plateau].mean() - profile[-plateau:].mean()),
        noise_hu=noise_hu,
        centre_px=centre,
    )


def compare_transfer(output: TaskTransfer, reference: TaskTransfer) -> TransferRatio:
    """Relate a transfer function to that of a reference with the same pixels, such as FBP without noise.

    Raises:
        ValueError: the two have different frequencies.
    """
    if not np.allclose(output.frequency_per_mm, reference.frequency_per_mm):
        raise ValueError("task transfer: different frequencies; compare rods in images of one pixel size")
    passed = np.logical_and.accumulate(reference.transfer >= 0.1)
    return TransferRatio(
        frequency_per_mm=reference.frequency_per_mm[passed],
        ratio=output.transfer[passed] / reference.transfer[passed],
        f50_ratio=output.f50_per_mm / reference.f50_per_mm,
        f10_ratio=output.f10_per_mm / reference.f10_per_mm,
    )


def rod_centre(image_hu: NDArray[np.float64], radius_px: float, near_px: tuple[float, float]) -> tuple[float, float]:
    """Refine the centre of a rod: the centroid of what rises above, or falls below, its surroundings.

    Args:
        image_hu: (H, W), HU.
        radius_px: radius of the rod.
        near_px: (row, column), within a few pixels of the centre.

    Returns:
        (row, column) with fractions of a pixel.

    Raises:
        ValueError: nothing rises above its surroundings, or its centroid is not near.
    """
    row, column = near_px
    rows, columns = np.indices(image_hu.shape)
    for _ in range(_CENTRINGS):
        distance = np.hypot(rows - row, columns - column)
        around = (distance > radius_px + REACH_PX / 2) & (distance < radius_px + REACH_PX)
        weight = (image_hu - np.median(image_hu[around])) * (distance <= radius_px + REACH_PX / 2)
        whole = weight.sum()
        if whole == 0:
            break
        row, column = float((rows * weight).sum() / whole), float((columns * weight).sum() / whole)
        if math.hypot(row - near_px[0], column - near_px[1]) > REACH_PX / 2:
            break
    else:
        return row, column
    raise ValueError(f"task transfer: no rod is seen near {near_px}; average more realisations or correct its place")


def edge_profile(
    image_hu: NDArray[np.float64], radius_px: float, centre_px: tuple[float, float]
) -> tuple[NDArray[np.float64], float]:
    """Return the mean HU by distance from the edge, and the noise around it.

    Args:
        image_hu: (H, W), HU.
        radius_px: radius of the rod.
        centre_px: (row, column).

    Returns:
        (P) HU, in steps of `STEP_PX` from `REACH_PX` inside the edge to as far outside; and the standard deviation of
        the pixels farther than 5 px outside the edge around that profile, HU.
    """
    rows, columns = np.indices(image_hu.shape)
    from_edge = np.hypot(rows - centre_px[0], columns - centre_px[1]) - radius_px
    count = round(2 * REACH_PX / STEP_PX)
    step = np.floor((from_edge + REACH_PX) / STEP_PX).astype(int)
    near = (step >= 0) & (step < count)
    pixels = np.bincount(step[near], minlength=count)
    filled = pixels > 0
    at, value = (
        np.bincount(step[near], weights=weights[near], minlength=count)[filled] / pixels[filled]
        for weights in (from_edge, image_hu)
    )
    profile = np.interp((np.arange(count) + 0.5) * STEP_PX - REACH_PX, at, value)
    outside = near & (from_edge > _PLATEAU_PX)
    return profile, float(np.std(image_hu[outside] - profile[step[outside]]))


def edge_transfer(profile_hu: NDArray[np.float64], radius_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the transfer function of an edge profile: the normalised spectrum of its derivative.

    Args:
        profile_hu: (P), as from `edge_profile`.
        radius_px: radius of the rod; a blurred disc falls along the radius r like a straight edge times √(R / r).

    Returns:
        Frequencies in cycles per pixel, and the transfer at each; the steps' own blur is divided out.
    """
    from scipy.signal.windows import tukey

    from_edge = np.arange(1, len(profile_hu)) * STEP_PX - REACH_PX
    line = np.diff(profile_hu) * np.sqrt(np.maximum(1 + from_edge / radius_px, 0.0))
    spectrum = np.abs(np.fft.rfft(line * tukey(len(line), 0.5), _LENGTH))
    frequency = np.asarray(np.fft.rfftfreq(_LENGTH, STEP_PX), dtype=np.float64)
    shown = frequency <= MAX_FREQUENCY_PER_PX
    blur = np.sinc(STEP_PX * frequency[shown]) ** 2
    return frequency[shown], np.asarray(spectrum[shown] / spectrum[0] / blur, dtype=np.float64)


def falls_to(level: float, frequency: NDArray[np.float64], transfer: NDArray[np.float64]) -> float:
    """Return the frequency at which a transfer function first falls to a level; NaN where it does not."""
    below = np.flatnonzero(transfer <= level)
    if below.size == 0 or below[0] == 0:
        return math.nan
    after = slice(below[0] - 1, below[0] + 1)
    return float(np.interp(-level, -transfer[after], frequency[after]))


def _check_rod(shape: tuple[int, ...], radius_px: float) -> None:
    if radius_px < MIN_RADIUS_PX:
        raise ValueError(f"task transfer: radius_px={radius_px:g}; rods of at least {MIN_RADIUS_PX} px are needed")
    side = 2 * (radius_px + REACH_PX)
    if len(shape) != 2 or min(shape) < side:
        raise ValueError(f"task transfer: shape {shape}; a slice of at least {side:g} px a side is needed")
