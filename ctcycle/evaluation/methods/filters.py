"""Classical denoisers that need no training, with strengths by rule or tuned.

Their strength is relative to the noise that `soft_tissue_noise` measures in the slice. The rules were tuned on
simulated scans (filtered back-projection with three kernels, 20 to 190 HU of noise); those of `bilateral` and `tv` were
chosen on six real quarter-dose slices (Mayo 2016, B30f and D45f).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from threading import Lock

import numpy as np
from scipy import ndimage
from skimage.restoration import denoise_bilateral, denoise_nl_means, denoise_tv_chambolle

from ctcycle.evaluation.methods.method import HUFilter, Kind, Method, digest_of
from ctcycle.evaluation.pairs import HUImage
from ctcycle.metrics.noise import soft_tissue_noise

AIR_HU = -1000.0

NLM_STRENGTH = 0.8
"""Filter parameter h as a factor of the noise, as scikit-image recommends when `sigma` is given."""

NLM_PATCH_PX = 7
NLM_REACH_PX = 9
MEDIAN_PX = 3
BILATERAL_PX = 1.5
BILATERAL_STRENGTH = 1.0
TV_STRENGTH = 0.6
VERSION = 1
"""Increased whenever a filter here changes its output."""


def identity(low: HUImage) -> HUImage:
    """Return the low-dose slice unchanged: the result that every method has to beat."""
    return low


def constant(low: HUImage) -> HUImage:
    """Return a slice of constant mean HU, with values below air counted as air: the output of a collapsed model."""
    return np.full_like(low, np.mean(np.maximum(low, AIR_HU), dtype=np.float64))


def median(low: HUImage) -> HUImage:
    """Apply a median filter of 3x3 pixels."""
    smooth: HUImage = ndimage.median_filter(low, MEDIAN_PX, mode="reflect")
    return smooth


def gaussian(low: HUImage, strength: float = 1.0) -> HUImage:
    """Apply a Gaussian filter with ``sigma = strength * (noise / 240 HU) ** (1/3)`` pixels.

    The slice is returned unchanged if no noise can be measured. In PSNR, the rule (strength 1) is within 0.1 dB of the
    best sigma for real quarter dose against full dose (Mayo 2016: B30f 0.55 px at 37 HU, D45f 0.7 px at 86 HU) and for
    phantoms.
    """
    return _with_noise(
        low, lambda noise: ndimage.gaussian_filter(low, strength * np.cbrt(noise / 240.0), mode="reflect")
    )


def bilateral(low: HUImage) -> HUImage:
    """Apply a bilateral filter (Tomasi and Manduchi 1998): 1.5 px in space, the noise in HU.

    The slice is returned unchanged if no noise can be measured.
    """
    floor = low.min()  # the filter takes values from 0 only

    def filtered(noise: float) -> HUImage:
        smooth: HUImage = floor + denoise_bilateral(
            low - floor, sigma_color=BILATERAL_STRENGTH * noise, sigma_spatial=BILATERAL_PX, mode="symmetric"
        )
        return smooth

    return _with_noise(low, filtered)


def tv(low: HUImage, strength: float = TV_STRENGTH) -> HUImage:
    """Minimise total variation (Chambolle 2004) with weight ``strength * noise``.

    The slice is returned unchanged if no noise can be measured.
    """
    return _with_noise(low, lambda noise: denoise_tv_chambolle(low, weight=strength * noise))  # type: ignore[no-untyped-call]


def nlm(low: HUImage, strength: float = NLM_STRENGTH, *, subtract: bool = True) -> HUImage:
    """Apply non-local means (Buades et al. 2005, in the fast form of Darbon et al. 2008).

    Patches are 7x7 pixels, compared within 9 pixels, and h = strength * noise. The slice is returned unchanged if no
    noise can be measured.

    Args:
        low: (H, W) HU.
        strength: h as a factor of the noise.
        subtract: subtract the noise variance from the distances of patches.
    """
    return _with_noise(
        low,
        lambda noise: denoise_nl_means(
            low,
            patch_size=NLM_PATCH_PX,
            patch_distance=NLM_REACH_PX,
            h=strength * noise,
            sigma=noise if subtract else 0.0,
            fast_mode=True,
        ),
    )


_BM3D_LOCK = Lock()
"""The package aborts the process if two threads call it at once (4.0.3); it uses all cores by itself."""


def bm3d(low: HUImage) -> HUImage:
    """Apply BM3D (Dabov et al. 2007) from the package ``bm3d``, which is free for non-commercial use only.

    The slice is returned unchanged if no noise can be measured.
    """
    apply = import_module("bm3d").bm3d
    with _BM3D_LOCK:
        return _with_noise(low, lambda noise: apply(low, noise))


CLASSICAL: dict[str, HUFilter] = {
    "input": identity,
    "constant": constant,
    "gaussian": gaussian,
    "median": median,
    "bilateral": bilateral,
    "tv": tv,
    "nlm": nlm,
}
if find_spec("bm3d"):
    CLASSICAL["bm3d"] = bm3d
"""The classical denoisers by rule, by their name in results."""

TITLES: Mapping[str, str] = {
    "input": "Low dose",
    "constant": "Constant",
    "gaussian": "Gaussian",
    "gaussian_tuned": "Gaussian, tuned",
    "median": "Median 3x3",
    "bilateral": "Bilateral",
    "tv": "Total variation",
    "tv_tuned": "Total variation, tuned",
    "nlm": "Non-local means",
    "nlm_tuned": "Non-local means, tuned",
    "bm3d": "BM3D",
}
_KINDS: Mapping[str, Kind] = {"input": "input", "constant": "constant"}


@dataclass(frozen=True)
class Setting:
    """One strength of a filter that can be tuned.

    Attributes:
        text: the strength as text.
        denoise: the filter at this strength.
    """

    text: str
    denoise: HUFilter


def _setting(text: str, function: Callable[..., HUImage], **options: object) -> Setting:
    return Setting(text, lambda low: function(low, **options))


SETTINGS: Mapping[str, tuple[Setting, ...]] = {
    "gaussian_tuned": tuple(
        _setting(f"sigma = {s:g} times the rule's", gaussian, strength=s) for s in (0.6, 0.8, 1.0, 1.25, 1.6, 2.0)
    ),
    "tv_tuned": tuple(_setting(f"weight = {s:g} noise", tv, strength=s) for s in (0.1, 0.15, 0.2, 0.3, 0.4, 0.55, 0.8)),
    "nlm_tuned": (
        *(_setting(f"h = {s:g} noise, variance subtracted", nlm, strength=s) for s in (0.4, 0.6, 0.8, 1.0, 1.2)),
        *(
            _setting(f"h = {s:g} noise, variance not subtracted", nlm, strength=s, subtract=False)
            for s in (0.4, 0.6, 0.8, 1.0, 1.2)
        ),
    ),
}
"""The strengths that a tuned filter is chosen from, by the filter's name."""

RULE: Mapping[str, str] = {"gaussian_tuned": "gaussian", "tv_tuned": "tv", "nlm_tuned": "nlm"}
"""The filter by rule that belongs to each tuned one."""


def by_rule(name: str) -> Method:
    """Return a classical method whose strength follows its rule.

    Args:
        name: one of `CLASSICAL`.
    """
    return Method(name, TITLES[name], _KINDS.get(name, "filter"), digest_of("filter", name, VERSION), CLASSICAL[name])


def _with_noise(low: HUImage, apply: Callable[[float], HUImage]) -> HUImage:
    noise = soft_tissue_noise(low)
    return np.asarray(apply(noise), dtype=np.float32) if noise > 0 else low
