"""What can be measured of a denoiser without pairs: noise, HU, edges, texture, and the contrast of inserted discs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.metrics.lesions.insertion import (
    Lesion,
    SliceFilter,
    Stamp,
    gaussian_transfer,
    insertion_response,
    lesion_responses,
    make_stamp,
)
from ctcycle.metrics.spectral.nps import noise_power, texture_distance
from ctcycle.metrics.truth_free import NOISE_BAR, RECOVERY_BAR, STRUCTURE_BAR, TEXTURE_BAR
from ctcycle.training.monitor.simulated_pairs import SimulatedPair, error_gain_db, simulated_pairs
from ctcycle.training.simulated_noise.calibration import (
    ANATOMY_RINGS,
    PATCH_PX,
    Place,
    Spectrum,
    flat_places,
    mean_power,
    tissue_places,
)

Image = NDArray[np.float64]

LESION = Lesion(radius_mm=1.5, contrast_hu=20.0)
BANDS = {"low": slice(ANATOMY_RINGS, 7), "middle": slice(7, 12), "high": slice(12, PATCH_PX // 2 + 1)}
"""Rings of 1/32 cycles per pixel: 0.09 to 0.2, to 0.36, and to 0.5 cycles per pixel."""

TISSUES_HU = {"soft": (0.0, 120.0), "fat": (-140.0, -60.0), "air": (-1200.0, -950.0)}
SHIFT_BAR_HU = 2.0
EDGE_HU_PER_PX = 30.0
_DOMAIN_SLICES, _PER_SLICE, _LEAST_PIXELS = 48, 8, 200
_PAIRS = 4
_GAIN_WEIGHT = 3.0
"""Weight of a dB of `gain_db` in the penalty, against the mean of the other measures in units of their bars."""

_FINE_PX, _COARSE_PX = 1.5, 4.0
_EDGE_BLUR_PX = 0.5


@dataclass(frozen=True)
class Domains:
    """Noise of the two training domains, from their flattest patches.

    Attributes:
        low: power of the low-dose noise by ring, see `calibration.mean_power`.
        full: power of the full-dose noise.
        full_patches: (K, 32, 32) flat full-dose patches, HU.
        pairs: full-dose slices with the noise that low dose has beyond full dose.
    """

    low: Spectrum
    full: Spectrum
    full_patches: Image
    pairs: tuple[SimulatedPair, ...] = ()

    @classmethod
    def measure(cls, low: Sequence[NDArray[np.int16]], full: Sequence[NDArray[np.int16]]) -> "Domains":
        """Measure up to 48 evenly spaced slices of each domain, and simulate low dose of 4 of full dose.

        Raises:
            SeriesError: a domain has no flat soft tissue.
        """
        patches = [_flat_patches(domain) for domain in (low, full)]
        more, noise = mean_power(list(patches[0])), mean_power(list(patches[1]))
        return cls(more, noise, patches[1], simulated_pairs(_spread(full, _PAIRS), noise, more))

    def expected(self, rings: slice = slice(ANATOMY_RINGS, None)) -> float:
        """Return the share of the low-dose noise power that full dose does not have, in rings of frequency."""
        low = power_in(self.low, rings)
        return (low - power_in(self.full, rings)) / low


@dataclass(frozen=True)
class FixedSlice:
    """A low-dose slice on which the denoiser is measured after every epoch.

    Attributes:
        hu: (H, W).
        places: its flattest patches of soft tissue.
        stamp: the disc that is inserted.
    """

    hu: Image
    places: tuple[Place, ...]
    stamp: Stamp

    @classmethod
    def of(cls, image: NDArray[np.int16], spacing_mm: float) -> "FixedSlice":
        """Return a slice with its flattest places; there are none if it has no soft tissue."""
        found = sorted(tissue_places(0, image), key=lambda place: place.flatness_hu)
        stamp = make_stamp(LESION, spacing_mm, gaussian_transfer(_EDGE_BLUR_PX * spacing_mm))
        return cls(image.astype(np.float64), tuple(found[:_PER_SLICE]), stamp)

    @property
    def sites(self) -> list[tuple[int, int]]:
        """Top-left corners of the places that do not overlap a flatter one."""
        kept: list[tuple[int, int]] = []
        for row, column in ((place.row, place.column) for place in self.places):
            if all(max(abs(row - y), abs(column - x)) >= PATCH_PX for y, x in kept):
                kept.append((row, column))
        return kept


def power_in(power: Spectrum, rings: slice) -> float:
    """Return the noise power in rings of frequency, each weighted by its circumference, in HU²."""
    return float((power * np.arange(len(power)))[rings].sum())


def measure(denoise: SliceFilter, slices: Sequence[FixedSlice], domains: Domains) -> dict[str, float]:
    """Measure a denoiser on fixed low-dose slices; what cannot be measured on them is left out.

    Returns:
        ``removed``: share of the noise power removed, over the share that the domains differ by; also by band.
        ``noise_over_full``: noise left over the noise of full dose. ``shift_*_hu``: mean change of flat tissue.
        ``structure``: share of the detail of strong edges that was removed. ``contrast``: share of the contrast of
        inserted discs that is kept. ``texture``: texture distance to the full-dose domain. ``gain_db``: by how much
        the error of full-dose slices with simulated noise falls, see `ctcycle.training.monitor.simulated_pairs`.
        ``penalty``: see `penalty`.
    """
    outputs = [np.asarray(denoise(item.hu), dtype=np.float64) for item in slices]
    found = _noise(slices, outputs, domains) | _changes(slices, outputs)
    responses = [
        lesion_responses(denoise, item.hu, item.sites, item.stamp, output)
        for item, output in zip(slices, outputs, strict=True)
    ]
    kept = [insertion_response(part, item.stamp) for part, item in zip(responses, slices, strict=True) if len(part)]
    found["contrast"] = float(np.mean([one.contrast_recovered for one in kept])) if kept else math.nan
    found["gain_db"] = error_gain_db(denoise, domains.pairs)
    found = {name: value for name, value in found.items() if not math.isnan(value)}
    return found | {"penalty": penalty(found)}


def penalty(found: dict[str, float]) -> float:
    """Return a penalty that ranks checkpoints of a training without truth; lower is better.

    It is the mean of texture distance, noise beyond that of full dose, mean HU shift of soft tissue and fat,
    contrast lost or added, and detail of edges removed, each in units of its bar; see `ctcycle.metrics.truth_free`.
    From it, three times the fall of the error on simulated noise is taken, in dB: the others alone hardly change while
    PSNR rises.
    """
    shifts = [abs(found[f"shift_{name}_hu"]) for name in ("soft", "fat") if f"shift_{name}_hu" in found]
    parts = (
        found["texture"] / TEXTURE_BAR,
        max(found["noise_over_full"] - 1, 0.0) / NOISE_BAR,
        float(np.mean(shifts)) / SHIFT_BAR_HU if shifts else 0.0,
        abs(1 - found.get("contrast", 1.0)) / RECOVERY_BAR,
        abs(found.get("structure", 0.0)) / STRUCTURE_BAR,
    )
    return sum(parts) / len(parts) - _GAIN_WEIGHT * found.get("gain_db", 0.0)


def _flat_patches(domain: Sequence[NDArray[np.int16]]) -> Image:
    images = _spread(domain, _DOMAIN_SLICES)
    return np.stack([place.cut(images[place.index]) for place in flat_places(images)])


def _spread(domain: Sequence[NDArray[np.int16]], most: int) -> list[NDArray[np.int16]]:
    """Return up to ``most`` evenly spaced slices."""
    chosen = np.unique(np.linspace(0, len(domain) - 1, min(most, len(domain))).astype(int))
    return [domain[int(index)] for index in chosen]


def _noise(slices: Sequence[FixedSlice], outputs: Sequence[Image], domains: Domains) -> dict[str, float]:
    before = [place.cut(item.hu) for item in slices for place in item.places]
    after = [place.cut(output) for item, output in zip(slices, outputs, strict=True) for place in item.places]
    power, rest = mean_power(before), mean_power(after)
    found = {"removed": _removed(power, rest, domains, slice(ANATOMY_RINGS, None))}
    found |= {f"removed_{name}": _removed(power, rest, domains, rings) for name, rings in BANDS.items()}
    rings = slice(ANATOMY_RINGS, None)
    left = power_in(rest, rings) / power_in(power, rings)
    found["noise_over_full"] = math.sqrt(left / (1 - domains.expected()))
    pair = noise_power(np.stack(after), 1.0), noise_power(domains.full_patches, 1.0)
    return found | {"texture": texture_distance(*pair) if power_in(rest, rings) > 0 else 1.0}


def _removed(before: Spectrum, after: Spectrum, domains: Domains, rings: slice) -> float:
    expected = domains.expected(rings)
    share = 1 - power_in(after, rings) / power_in(before, rings)
    return share / expected if expected > 0 else math.nan


def _changes(slices: Sequence[FixedSlice], outputs: Sequence[Image]) -> dict[str, float]:
    """Return the mean change of flat tissue, and how much of the detail of edges is in the residual."""
    change = np.concatenate([(output - item.hu).ravel() for item, output in zip(slices, outputs, strict=True)])
    fine = [ndimage.gaussian_filter(item.hu, _FINE_PX) for item in slices]
    coarse = [ndimage.gaussian_filter(item.hu, _COARSE_PX) for item in slices]
    slope = np.concatenate([np.hypot(*np.gradient(image)).ravel() for image in fine])
    level = np.concatenate([image.ravel() for image in coarse])
    detail = np.concatenate([image.ravel() for image in fine]) - level
    flat, edge = slope < EDGE_HU_PER_PX / 2, slope > EDGE_HU_PER_PX
    found = {
        f"shift_{name}_hu": _mean(change, flat & (level > low) & (level < high))
        for name, (low, high) in TISSUES_HU.items()
    }
    part = detail[edge]
    enough = part.size >= _LEAST_PIXELS
    return found | {"structure": float(-(change[edge] @ part) / (part @ part)) if enough else math.nan}


def _mean(values: Image, where: NDArray[np.bool_]) -> float:
    return float(values[where].mean()) if np.count_nonzero(where) >= _LEAST_PIXELS else math.nan
