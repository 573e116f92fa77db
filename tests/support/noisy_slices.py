"""Slices of a simple body at both doses, with noise of known level and texture."""

import numpy as np
from scipy import ndimage

from ctcycle.evaluation.pairs import HUPair

SIDE = 192
FULL_HU, ADDED_HU = 15.0, 25.0


def body() -> np.ndarray:
    """A disc of soft tissue in air, with fat, lung and bone in it."""
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    image = np.where(np.hypot(rows, columns) < 90, 50.0, -1000.0)
    for centre, radius, value in ((-60, 16, -100.0), (0, 18, -750.0), (60, 16, 600.0)):
        image[np.hypot(rows - centre, columns + 60 - abs(centre) / 2) < radius] = value
    return ndimage.gaussian_filter(image, 0.8)


def noise(rng: np.random.Generator, sigma_hu: float, blur_px: float = 0.7, slices: int = 1) -> np.ndarray:
    """Noise of a level and a blur."""
    found = ndimage.gaussian_filter(rng.normal(size=(slices, SIDE, SIDE)), (0, blur_px, blur_px), mode="wrap")
    return found * sigma_hu / found.std()


def pairs(count: int = 4, patients: int = 2) -> list[HUPair]:
    """Slices of some patients, as many of each."""
    truth, found = body(), []
    for patient in range(patients):
        rng = np.random.default_rng(patient)
        for index in range(count):
            full = truth + noise(rng, FULL_HU)[0]
            low = full + noise(rng, ADDED_HU)[0]
            images = (low.astype(np.float32), full.astype(np.float32))
            found.append(HUPair(f"P{patient}", f"1.{patient}", index, *images, spacing_mm=(0.7, 0.7)))
    return found
