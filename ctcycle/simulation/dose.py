"""Photon statistics: one scan, counted at full dose and at a fraction of it."""

import numpy as np
from numpy.typing import NDArray

FEWEST_PHOTONS = 1.0
"""Counts below this are raised to it before the logarithm, as in a ray that bone and a wide body starve of photons."""


def simulate_counts(
    line_integrals: NDArray[np.floating],
    photons: float,
    dose_fraction: float,
    electronic_noise: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Noisy line integrals of one scan at full dose, and at a fraction of the dose.

    The photons of the low dose are some of those of the full dose: ``N_full = N_low + N_rest`` with independent Poisson
    numbers, so that ``N_low`` is a thinning of ``N_full``, and both are Poisson distributed. Each is read out with
    electronic noise of its own.

    Args:
        line_integrals: any shape, without unit; of a slice or a volume.
        photons: expected at full dose in a ray that meets nothing.
        dose_fraction: low dose over full dose, in (0, 1].
        electronic_noise: standard deviation of the read-out, in photons.
        rng: drawn from, in place.

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
    """The noise of line integrals at full dose, and what a fraction of the dose adds to it, as independent draws.

    ``-log`` of a count with mean ``N exp(-p)`` has the variance ``exp(p) / N``, and a read-out noise of ``e`` photons
    adds ``e² exp(2p) / N²``; what a lower dose adds is the difference between ``dose_fraction N`` and ``N`` photons.
    Both are drawn as Gaussian noise, which they are for many counts (Zabic et al. 2013).

    Args:
        line_integrals: any shape, without unit.
        photons: N, expected at full dose in a ray that meets nothing.
        dose_fraction: in (0, 1]; 1 adds nothing.
        electronic_noise: e, standard deviation of the read-out, in photons.
        rng: drawn from, in place.

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
    signal = counts + rng.normal(0.0, electronic_noise, counts.shape)
    return np.log(photons / np.maximum(signal, FEWEST_PHOTONS)).astype(np.float32)
