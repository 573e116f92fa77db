"""Responses to inserted lesions, one for each lesion and site."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.inserted.sites import REACH_MM, SiteSlice
from ctcycle.evaluation.methods.method import HUFilter
from ctcycle.metrics.lesions.insertion import (
    Lesion,
    Stamp,
    full_width_mm,
    gaussian_transfer,
    lesion_responses,
    make_stamp,
    radial_profile,
)

Array = NDArray[np.float64]
RADIUS_MM: Array = np.arange(0.0, REACH_MM - 1.0, 0.05)
SIGMA_STEP_MM = 0.01


@dataclass(frozen=True, eq=False)
class Response:
    """What is left of one lesion at one site.

    Attributes:
        patient: of the slice.
        place: series, index of the slice, and site.
        contrast: share of the contrast kept.
        volume_hu: sum of the response over all pixels, times the sign of the lesion.
        inserted_hu: the same of the inserted lesion.
        profile_hu: (R), the response by radius at `RADIUS_MM`, times the sign.
        inserted_profile_hu: (R), the same of the inserted lesion.
    """

    patient: str
    place: str
    contrast: float
    volume_hu: float
    inserted_hu: float
    profile_hu: Array
    inserted_profile_hu: Array


def pass_responses(
    denoise: HUFilter, chosen: SiteSlice, lesions: Sequence[Lesion], sigma_mm: float
) -> Iterator[tuple[Lesion, Response]]:
    """Insert a lesion at every site of a slice, denoise once, and yield the response to each.

    Args:
        denoise: the method.
        chosen: the slice.
        lesions: a lesion for each site.
        sigma_mm: blur of the scan.
    """
    sigma_mm = round(sigma_mm / SIGMA_STEP_MM) * SIGMA_STEP_MM
    stamps = [blurred(lesion, chosen.pair.spacing_mm[0], sigma_mm, chosen.window_px) for lesion in lesions]

    def on_hu(hu: NDArray[np.float64]) -> NDArray[np.float32]:
        return denoise(hu.astype(np.float32))

    found = lesion_responses(on_hu, chosen.pair.low_hu, chosen.sites, stamps, chosen.output_hu)
    for site, stamp, response_hu in zip(chosen.sites, stamps, found, strict=True):
        place = f"{chosen.pair.series}:{chosen.pair.slice_index}:{site}"
        yield stamp.lesion, _response(response_hu, stamp, chosen.pair.patient, place)


def _response(response_hu: Array, stamp: Stamp, patient: str, place: str) -> Response:
    sign = float(np.sign(stamp.lesion.contrast_hu))
    return Response(
        patient,
        place,
        contrast=float(response_hu[stamp.core].mean() / stamp.image_hu[stamp.core].mean()),
        volume_hu=float(response_hu.sum()) * sign,
        inserted_hu=float(stamp.image_hu.sum()) * sign,
        profile_hu=radial_profile(response_hu * sign, stamp, RADIUS_MM),
        inserted_profile_hu=radial_profile(stamp.image_hu * sign, stamp, RADIUS_MM),
    )


@lru_cache(maxsize=256)
def blurred(lesion: Lesion, spacing_mm: float, sigma_mm: float, size_px: int) -> Stamp:
    """Return a lesion as a scan of that blur shows it."""
    return make_stamp(lesion, spacing_mm, gaussian_transfer(sigma_mm), size_px)


def response_figures(parts: Sequence[Response]) -> dict[str, float]:
    """Return contrast and volume kept, width ratio, and spread over sites (5th to 95th percentile), of all sites."""
    contrasts = [part.contrast for part in parts]
    low, high = np.percentile(contrasts, (5, 95))
    profile = np.sum([part.profile_hu for part in parts], axis=0)
    inserted = np.sum([part.inserted_profile_hu for part in parts], axis=0)
    return {
        "contrast_kept": float(np.mean(contrasts)),
        "volume_kept": sum(part.volume_hu for part in parts) / sum(part.inserted_hu for part in parts),
        "width_ratio": full_width_mm(profile, RADIUS_MM) / full_width_mm(inserted, RADIUS_MM),
        "contrast_spread": float(high - low),
    }
