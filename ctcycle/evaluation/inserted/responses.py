"""Responses to one lesion size and contrast, of both signs, at all sites."""

from collections.abc import Sequence
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
class Responses:
    """What is left of one lesion at the sites of one slice.

    Attributes:
        patient: of the slice.
        where: series and index of the slice.
        contrasts: (S) share of the contrast kept at each site.
        volume_hu: sum of the responses over all sites and pixels, times the sign of the lesion.
        inserted_hu: the same of the inserted lesion.
        profile_hu: (R) sum over sites of the response by radius at `RADIUS_MM`, times the sign.
        inserted_profile_hu: (R), the same of the inserted lesion.
    """

    patient: str
    where: str
    contrasts: Array
    volume_hu: float
    inserted_hu: float
    profile_hu: Array
    inserted_profile_hu: Array


def slice_responses(denoise: HUFilter, chosen: SiteSlice, lesion: Lesion, sigma_mm: float) -> Responses:
    """Insert one lesion at all sites of a slice and measure the responses.

    Args:
        denoise: the method.
        chosen: the slice.
        lesion: what is inserted.
        sigma_mm: blur of the scan.
    """
    stamp = blurred(
        lesion, chosen.pair.spacing_mm[0], round(sigma_mm / SIGMA_STEP_MM) * SIGMA_STEP_MM, chosen.window_px
    )

    def on_hu(hu: NDArray[np.float64]) -> NDArray[np.float32]:
        return denoise(hu.astype(np.float32))

    found = lesion_responses(on_hu, chosen.pair.low_hu, chosen.sites, stamp, chosen.output_hu)
    sign, sites = float(np.sign(lesion.contrast_hu)), len(found)
    inserted = stamp.image_hu * sign
    return Responses(
        patient=chosen.pair.patient,
        where=f"{chosen.pair.series}:{chosen.pair.slice_index}",
        contrasts=found[:, stamp.core].mean(axis=1) / stamp.image_hu[stamp.core].mean(),
        volume_hu=float(found.sum()) * sign,
        inserted_hu=float(inserted.sum()) * sites,
        profile_hu=radial_profile(found.sum(axis=0) * sign, stamp, RADIUS_MM),
        inserted_profile_hu=radial_profile(inserted, stamp, RADIUS_MM) * sites,
    )


@lru_cache(maxsize=256)
def blurred(lesion: Lesion, spacing_mm: float, sigma_mm: float, size_px: int) -> Stamp:
    """Return a lesion as a scan of that blur shows it."""
    return make_stamp(lesion, spacing_mm, gaussian_transfer(sigma_mm), size_px)


def response_figures(parts: Sequence[Responses]) -> dict[str, float]:
    """Return contrast and volume kept, width ratio, and spread over sites (5th to 95th percentile), of all slices."""
    contrasts = np.concatenate([part.contrasts for part in parts])
    low, high = np.percentile(contrasts, (5, 95))
    profile, inserted = (sum(hu) for hu in zip(*((p.profile_hu, p.inserted_profile_hu) for p in parts), strict=True))
    return {
        "contrast_kept": float(contrasts.mean()),
        "volume_kept": sum(part.volume_hu for part in parts) / sum(part.inserted_hu for part in parts),
        "width_ratio": full_width_mm(np.asarray(profile), RADIUS_MM) / full_width_mm(np.asarray(inserted), RADIUS_MM),
        "contrast_spread": float(high - low),
    }
