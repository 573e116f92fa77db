"""Photon statistics at full dose and at a fraction of it."""

import numpy as np
from numpy.typing import NDArray

FEWEST_PHOTONS = 1.0
"""Lowest count before the logarithm; lower counts occur in rays through bone or a wide body (photon starvation)."""


def simulate_counts(
    line_integrals: NDArray[np.floating],
    photons: float,
    dose_fraction: float,
    electronic_noise: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return noisy line integrals of one scan at full dose and at a fraction of the dose.

    The low-dose photons are a subset of the full-dose photons: ``N_full = N_low + N_rest`` with independent Poisson
    counts, so ``N_low`` is a thinning of ``N_full`` and both are Poisson distributed. The electronic noise of the two
    is independent.

    Args:
        line_integrals: noise-free line integrals of a slice or volume, any shape, dimensionless.
        photons: expected count at full dose in an unattenuated ray.
        dose_fraction: low dose over full dose, in (0, 1].
        electronic_noise: standard deviation of the read-out noise, in photons.
        rng: random generator; its state advances.

    Returns:
        Line integrals at full dose and at low dose, in the shape of ``line_integrals``.
    """
    expected = photons * np.exp(-line_integrals.astype(np.float64))
    low = rng.poisson(dose_fraction * expected)
    full = low + rng.poisson((1 - dose_fraction) * expected)
    return (
        _read_out(full, photons, electronic_noise, rng),
        _read_out(low, dose_fraction * photons, electronic_noise, rng),
    )


def dose_noise(
    line_integrals: NDArray[np.floating],
    photons: float,
    dose_fraction: float,
    electronic_noise: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return independent draws of the full-dose noise of line integrals and of the noise added by a lower dose.

    ``-log`` of a count with mean ``N exp(-p)`` has the variance ``exp(p) / N``, and read-out noise of ``e`` photons
    adds ``e² exp(2p) / N²``; the variance added by a lower dose is the difference between ``dose_fraction N`` and ``N``
    photons. Both are drawn as Gaussian noise, a good approximation for high counts (Zabic et al. 2013).

    Args:
        line_integrals: noise-free line integrals, any shape, dimensionless.
        photons: N, the expected count at full dose in an unattenuated ray.
        dose_fraction: in (0, 1]; 1 adds no noise.
        electronic_noise: e, standard deviation of the read-out noise, in photons.
        rng: random generator; its state advances.

    Returns:
        The noise at full dose and the added noise, in the shape of ``line_integrals``.
    """
    per_photon = np.exp(np.minimum(line_integrals.astype(np.float64), np.log(photons / FEWEST_PHOTONS))) / photons
    quanta, read_out = per_photon, (electronic_noise * per_photon) ** 2
    added = quanta * (1 / dose_fraction - 1) + read_out * (1 / dose_fraction**2 - 1)
    own, lacking = rng.standard_normal((2, *per_photon.shape)) * np.sqrt([quanta + read_out, added])
    return own.astype(np.float32), lacking.astype(np.float32)


def _read_out(
    counts: NDArray[np.int64], photons: float, electronic_noise: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return line integrals of counts, with read-out noise, whose mean is right down to about 15 photons.

    The logarithm of a noisy count is too low on average, by half its relative variance, which brightens thick bodies at
    low dose. As scanners do, the logarithm is corrected: with t = count + ½ and e photons of read-out noise,
    log((t + √(t² + 2 e²)) / 2) = log t + e² / (2 t²) - ... cancels the bias of both kinds of noise.
    """
    signal = counts + rng.normal(0.0, electronic_noise, counts.shape) + 0.5
    corrected = (signal + np.sqrt(signal**2 + 2 * electronic_noise**2)) / 2
    return np.log(photons / np.maximum(corrected, FEWEST_PHOTONS)).astype(np.float32)
