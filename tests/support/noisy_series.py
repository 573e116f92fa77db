"""Series of npy slices of a body with noise of a known level, for tests of whole folders."""

from pathlib import Path

import numpy as np
from noisy_slices import body, noise


def write_npy(folder: Path, sigma_hu: float, slices: int = 3, seed: int = 0, level_hu: float = 0.0) -> np.ndarray:
    """Write slices of a body with noise as ``slice_1.npy`` etc., and return them: (slices, H, W) in whole HU."""
    rng = np.random.default_rng(seed)
    hu = np.rint(body() + level_hu + noise(rng, sigma_hu, slices=slices)).astype(np.int16)
    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(hu, 1):
        np.save(folder / f"slice_{number}.npy", image)
    return hu
