"""Slices of a known anatomy with white noise, the noise of two domains, and denoisers that know the anatomy."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.training.monitor.measures import Domains, FixedSlice

Image = NDArray[np.float64]


def clean() -> Image:
    """A disc of soft tissue in air, with an organ."""
    y, x = np.mgrid[:192, :192] - 95.5
    image = np.full((192, 192), -1000.0)
    image[np.hypot(y, x) < 88] = 40.0
    image[np.hypot(y - 20, x - 50) < 14] = 90.0
    return ndimage.gaussian_filter(image, 1.0)


def noisy(sd: int, seed: int) -> Image:
    image = clean() + np.random.default_rng(seed).normal(0, sd, (192, 192))
    return np.asarray(image.round())


def stored(sd: int, seed: int) -> NDArray[np.int16]:
    return noisy(sd, seed).astype(np.int16)


DOMAINS = Domains.measure(*([stored(sd, 100 * sd + n) for n in range(12)] for sd in (40, 20)))
SLICES = [FixedSlice.of(stored(40, seed), 1.0) for seed in (5, 6)]


def scaled(item: Image, factor: float) -> Image:
    """The slice with its noise scaled; the anatomy is known."""
    return clean() + factor * (item - clean())


def good(image: Image) -> Image:
    """Halve the noise, as full dose would have it."""
    return scaled(image, 0.5)


PLANTED: dict[str, Callable[[Image], Image]] = {
    "identity": lambda image: image,
    "blur": lambda image: ndimage.gaussian_filter(image, 4.0),
    "shift": lambda image: good(image) + np.where(clean() > -500, 30.0, 0.0),
    "structure": lambda image: good(image) - clean() + ndimage.gaussian_filter(clean(), 2.5),
}
"""Failures, by the kind of fault that names them."""
