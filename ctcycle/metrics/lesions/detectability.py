"""Detectability d' of a known lesion by a channelised Hotelling observer, and the dose that it is worth.

Image sets hold the lesion at the window's centre, or no lesion, with different noise in each image. The images of two
methods hold the same noise in the same order, so that they are compared image by image.
Sources: Gallas and Barrett, JOSA A 20 (2003) 1725 (channels); DIDSR LCD_CT (protocol).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

CHANNELS = 5
MIN_WINDOW_WIDTHS = 3
"""Narrowest window, in widths a of the channels; narrower ones cut the channels off."""

MAX_CONDITION = 1e10
"""Largest condition number of the channels' covariance; beyond, d' is rounding error."""

DRAWS = 1000
LEVEL = 0.95
KEPT_RATIO = 0.95
LOW_DOSE_FRACTION = 0.25

Verdict = Literal["kept", "undecided", "lost"]
Array = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelOutputs:
    """What the channels see of each image.

    Attributes:
        present: (n1, p) channel outputs of images with the lesion, in HU.
        absent: (n0, p) those of images without it, with other noise.
    """

    present: Array
    absent: Array


@dataclass(frozen=True)
class Detectability:
    """How well an observer finds a known lesion at a known place.

    Attributes:
        d_prime: square root of the unbiased d'^2, or 0 where that is negative.
        d_prime_low: lower end of the 95 % bootstrap interval over images.
        d_prime_high: upper end.
        auc: area under the ROC curve, Phi(d' / sqrt 2).
        auc_low: at the lower end.
        auc_high: at the upper end.
    """

    d_prime: float
    d_prime_low: float
    d_prime_high: float
    auc: float
    auc_low: float
    auc_high: float


@dataclass(frozen=True)
class DetectabilityGain:
    """d' of a method's output against that of its input.

    Attributes:
        ratio: d'_out / d'_in; NaN where nothing is found in the input.
        ratio_low: lower end of the 95 % bootstrap interval over images, which both share.
        ratio_high: upper end.
        equivalent_dose: share of the full dose at which plain FBP reaches d'_out: low-dose share times ratio^2.
        equivalent_dose_low: at the lower end.
        equivalent_dose_high: at the upper end.
        verdict: kept where the lower end is above `KEPT_RATIO`, lost where the upper end is not, else undecided.
    """

    ratio: float
    ratio_low: float
    ratio_high: float
    equivalent_dose: float
    equivalent_dose_low: float
    equivalent_dose_high: float
    verdict: Verdict


def laguerre_gauss(width_mm: float, spacing_mm: float, size_px: int, count: int = CHANNELS) -> Array:
    """Return Laguerre-Gauss channels (count, N, N), orthonormal over the pixels, centred at pixel N // 2.

    u_j(r) = (sqrt 2 / a) exp(-pi r^2 / a^2) L_j(2 pi r^2 / a^2).

    Args:
        width_mm: a; twice the lesion's radius.
        spacing_mm: pixel size.
        size_px: side N of the window.
        count: number of channels.

    Raises:
        ValueError: the window is narrower than `MIN_WINDOW_WIDTHS` a.
    """
    width_px = width_mm / spacing_mm
    if size_px < MIN_WINDOW_WIDTHS * width_px:
        raise ValueError(
            f"channels: width_mm={width_mm:g} is {width_px:.1f} px in a window of {size_px} px; the window must be "
            f"{MIN_WINDOW_WIDTHS} times as wide"
        )
    pixel = np.arange(size_px) - size_px // 2
    square = 2 * np.pi * (pixel[:, np.newaxis] ** 2 + pixel**2) / width_px**2
    polynomials = special.eval_laguerre(np.arange(count)[:, np.newaxis, np.newaxis], square)
    channels: Array = np.sqrt(2) / width_px * np.exp(-square / 2) * polynomials
    return channels


def channel_outputs(
    present_hu: NDArray[np.floating], absent_hu: NDArray[np.floating], channels: Array
) -> ChannelOutputs:
    """Return the products of images (n, N, N) in HU with channels (p, N, N).

    Do not subtract each window's mean first: it makes the covariance singular where channels are wide.
    """
    flat = channels.reshape(len(channels), -1).T
    return ChannelOutputs(*(hu.reshape(len(hu), -1).astype(np.float64) @ flat for hu in (present_hu, absent_hu)))


def unbiased_square(outputs: ChannelOutputs) -> float:
    """Return the unbiased estimate of d'^2 of the Hotelling observer; it can be negative where d' is near 0.

    (nu - p - 1) / nu D^2 - p (1/n1 + 1/n0) with D^2 = s^T K^-1 s, s the difference of the means, K the pooled
    covariance and nu = n1 + n0 - 2. D^2 alone is too large: the template has seen the images that it is tested on.

    Raises:
        ValueError: fewer images than channels need, or the channels' covariance is singular.
    """
    (n1, channels), n0 = outputs.present.shape, len(outputs.absent)
    if n1 + n0 < channels + 4 or min(n1, n0) < 2:
        raise ValueError(f"detectability: {n1} and {n0} images for {channels} channels; more images are needed")
    weights = np.ones((1, n1)), np.ones((1, n0))
    mean, covariance = _moments(outputs, *weights)
    if not np.linalg.cond(covariance[0]) < MAX_CONDITION:
        raise ValueError(
            "detectability: the channels' covariance is singular; use narrower channels, keep each window's mean"
        )
    return float(_corrected(_mahalanobis(mean, covariance), n1, n0, channels)[0])


def detectability(outputs: ChannelOutputs, rng: np.random.Generator, draws: int = DRAWS) -> Detectability:
    """Return d' and AUC with bootstrap intervals over images.

    Simulated coverage of the interval, with 200 and 200 images: 0.91 at d' = 0.5, 0.92 to 0.93 at d' = 1.5 to 6.5.

    Raises:
        ValueError: as `unbiased_square`.
    """
    d_prime = _root(unbiased_square(outputs))
    resampled, plain = _resampled(outputs, *_draw_weights(outputs, rng, draws))
    low, high = np.maximum(d_prime + _ends(resampled - plain), 0.0)
    auc = stats.norm.cdf(np.array([d_prime, low, high]) / np.sqrt(2))
    return Detectability(float(d_prime), float(low), float(high), *auc.tolist())


def detectability_gain(
    output: ChannelOutputs,
    reference: ChannelOutputs,
    rng: np.random.Generator,
    low_dose_fraction: float = LOW_DOSE_FRACTION,
    draws: int = DRAWS,
) -> DetectabilityGain:
    """Compare d' before and after denoising the same images; simulated coverage of the interval: 0.94 to 0.95.

    Compare methods at equal residual noise: a filter that does little keeps everything.

    Args:
        output: of denoised images.
        reference: of the images that were denoised, in the same order.
        rng: source of the resamples, which both share.
        low_dose_fraction: dose of the input as a share of the full dose.
        draws: number of resamples.

    Raises:
        ValueError: the two differ in their number of images, or as `unbiased_square`.
    """
    if (len(output.present), len(output.absent)) != (len(reference.present), len(reference.absent)):
        raise ValueError("detectability gain: the two sets differ in their number of images; denoise the same images")
    before, after = (_root(unbiased_square(outputs)) for outputs in (reference, output))
    weights = _draw_weights(output, rng, draws)
    (after_draws, after_plain), (before_draws, before_plain) = (_resampled(o, *weights) for o in (output, reference))
    if not min(before, before_draws.min()) > 0:
        return _gain(np.full(3, np.nan), low_dose_fraction)
    ratio = after / before
    low, high = np.maximum(ratio + _ends(after_draws / before_draws - after_plain / before_plain), 0.0)
    return _gain(np.array([ratio, low, high]), low_dose_fraction)


def contrast_for(d_prime_wanted: float, contrast_hu: float, d_prime: float) -> float:
    """Return the contrast in HU that gives ``d_prime_wanted``, from d' at one contrast: they are proportional."""
    return contrast_hu * d_prime_wanted / d_prime


def _gain(ratios: Array, low_dose_fraction: float) -> DetectabilityGain:
    verdict: Verdict = "kept" if ratios[1] > KEPT_RATIO else "lost" if ratios[2] <= KEPT_RATIO else "undecided"
    ratio, low, high = ratios.tolist()
    dose, dose_low, dose_high = (low_dose_fraction * ratios**2).tolist()
    return DetectabilityGain(ratio, low, high, dose, dose_low, dose_high, verdict)


def _root(square: float) -> float:
    return float(np.sqrt(max(square, 0.0)))


def _corrected(square: Array, n1: int, n0: int, channels: int) -> Array:
    freedom = n1 + n0 - 2
    return (freedom - channels - 1) / freedom * square - channels * (1 / n1 + 1 / n0)


def _mahalanobis(difference: Array, covariance: Array) -> Array:
    """D^2 of each resample: differences (B, p) and covariances (B, p, p)."""
    solved = np.linalg.solve(covariance, difference[..., np.newaxis])[..., 0]
    square: Array = np.sum(difference * solved, axis=-1)
    return square


def _moments(outputs: ChannelOutputs, present: Array, absent: Array) -> tuple[Array, Array]:
    """Differences of the means (B, p) and pooled covariances (B, p, p) under weights (B, n1) and (B, n0)."""
    means, scatter = [], []
    for values, weights in ((outputs.present, present), (outputs.absent, absent)):
        centred = values - values.mean(axis=0)
        mean = weights @ centred / len(values)
        products = (centred[:, :, np.newaxis] * centred[:, np.newaxis]).reshape(len(values), -1)
        squares = (weights @ products).reshape(len(weights), *centred.shape[1:], -1)
        scatter.append(squares - len(values) * mean[:, :, np.newaxis] * mean[:, np.newaxis])
        means.append(mean + values.mean(axis=0))
    freedom = len(outputs.present) + len(outputs.absent) - 2
    return means[0] - means[1], (scatter[0] + scatter[1]) / freedom


def _draw_weights(outputs: ChannelOutputs, rng: np.random.Generator, draws: int) -> tuple[Array, Array]:
    """Number of times that each image occurs in each resample, (B, n1) and (B, n0)."""
    present, absent = (
        rng.multinomial(count, np.full(count, 1 / count), size=draws).astype(np.float64)
        for count in (len(outputs.present), len(outputs.absent))
    )
    return present, absent


def _resampled(outputs: ChannelOutputs, present: Array, absent: Array) -> tuple[Array, float]:
    """Estimates of d' in each resample (B), and the d' of the images as the population that they are drawn from."""
    n1, n0, channels = len(outputs.present), len(outputs.absent), outputs.present.shape[1]
    squares = _corrected(_mahalanobis(*_moments(outputs, present, absent)), n1, n0, channels)
    difference, covariance = _moments(outputs, np.ones((1, n1)), np.ones((1, n0)))
    population = _mahalanobis(difference, covariance * (n1 + n0 - 2) / (n1 + n0))
    return np.sqrt(np.maximum(squares, 0.0)), float(np.sqrt(population[0]))


def _ends(errors: Array) -> Array:
    ends: Array = np.quantile(errors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return ends
