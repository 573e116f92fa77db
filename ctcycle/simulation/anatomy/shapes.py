"""Random shapes that several organs use."""

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.blobs import Ripple


def three(values: NDArray[np.floating]) -> tuple[float, float, float]:
    """Return three numbers as a tuple of floats."""
    x, y, z = values
    return float(x), float(y), float(z)


def oblique(rng: np.random.Generator, spread: float) -> tuple[float, float]:
    """Return a random drift along z."""
    return rng.normal(0, spread), rng.normal(0, spread)


def ripples(rng: np.random.Generator, share: float, orders: tuple[int, ...] = (2, 3, 4, 5)) -> tuple[Ripple, ...]:
    """Return random edge irregularities that rotate slowly along z; finer ones are smaller."""
    return tuple(
        Ripple(order, share * 2 / order * rng.uniform(0.4, 1), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.012))
        for order in orders
    )
