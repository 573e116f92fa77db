"""The scans of the physics bench: a water disc with noise, and the lesions and rods that are added to it.

Reconstruction is linear, so the noise is drawn once, for the disc alone, and the inserts are reconstructed without
noise and added. Every scene of a realisation therefore has the same noise.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.physics.discs import Disc, disc_image, line_integrals, reconstructed, reconstructed_many
from ctcycle.evaluation.physics.settings import PhysicsSettings
from ctcycle.metrics.spectral.ttf import MIN_RADIUS_PX, REACH_PX
from ctcycle.simulation.dose import simulate_counts
from ctcycle.simulation.reconstruction import elements_per_pixel

HUImage = NDArray[np.float32]
ResultT = TypeVar("ResultT")
Place = tuple[int, int]

AIR_HU = -1000.0
RINGS = {1.5: 0.25, 3.0: 0.47, 5.0: 0.72}
"""Ring on which the lesions of each radius in mm lie, as a share of the disc's radius."""

REGION_RING = 0.55
ROD_CONTRASTS_HU = (-40.0, 900.0, -100.0, 300.0, 100.0)
"""The first rods, from the outer ring inwards; further ones repeat `_MORE_RODS`: faint rods need the most averaging."""

_MORE_RODS = (-40.0, -100.0, -40.0, 100.0)
_ROD_GAP_PX = 1.0
_RIM_PX = 6.0
_BATCH = 10
"""Realisations reconstructed together: 200 MB with the default settings."""


@dataclass(frozen=True)
class Scans:
    """The noisy scans of the disc.

    Attributes:
        disc_hu: (N, N), the disc as reconstructed without noise: the truth for bias.
        noise_hu: (R, N, N) complex64, noise at low dose (real part) and at full dose (imaginary part).
    """

    disc_hu: HUImage
    noise_hu: NDArray[np.complex64]

    def low(self, number: int, inserts_hu: HUImage | None = None) -> HUImage:
        """Return the low-dose scan of a realisation, with inserts."""
        return self._scan(self.noise_hu[number].real, inserts_hu)

    def full(self, number: int, inserts_hu: HUImage | None = None) -> HUImage:
        """Return the full-dose scan of the same realisation, with inserts."""
        return self._scan(self.noise_hu[number].imag, inserts_hu)

    def _scan(self, noise: NDArray[np.float32], inserts: HUImage | None) -> HUImage:
        scan = self.disc_hu + noise
        return np.asarray(scan if inserts is None else scan + inserts, np.float32)


def simulate_scans(settings: PhysicsSettings, seed: int, workers: int) -> Scans:
    """Return the scans of the disc, with independent noise in each realisation."""
    middle = settings.size // 2
    disc = Disc((middle, middle), settings.radius_px, settings.water_hu - AIR_HU)
    rays = line_integrals([disc], settings)

    def noise(number: int) -> NDArray[np.complex64]:
        """Return the noise of both doses in one sinogram."""
        rng = np.random.default_rng([seed, number])
        fineness = elements_per_pixel(settings.kernel)
        photons, read_out = settings.photons / fineness, settings.electronic_noise / math.sqrt(fineness)
        full, low = simulate_counts(rays, photons, settings.dose_fraction, read_out, rng)
        return np.asarray((low - rays) + 1j * (full - rays), np.complex64)

    noises = np.empty((settings.realisations, settings.size, settings.size), np.complex64)

    def reconstruct_batch(batch: int) -> None:
        numbers = range(batch * _BATCH, min((batch + 1) * _BATCH, settings.realisations))
        noises[numbers.start : numbers.stop] = reconstructed_many([noise(number) for number in numbers], settings)

    for _ in in_threads(reconstruct_batch, math.ceil(settings.realisations / _BATCH), workers):
        pass
    return Scans(np.asarray(reconstructed(rays, settings) + np.float32(AIR_HU), np.float32), noises)


def in_threads(work: Callable[[int], ResultT], count: int, workers: int, first: int = 0) -> Iterator[ResultT]:
    """Call ``work`` with each number from ``first`` to ``count - 1`` in threads, and yield the results in order.

    Results are small or consumed at once; images are made inside ``work``, so that few exist at a time.
    """
    if workers <= 1:
        yield from map(work, range(first, count))
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, range(first, count))


def lesion_sites(radius_mm: float, settings: PhysicsSettings) -> tuple[Place, ...]:
    """Return the centres (row, column) of the lesions of one radius, on whole pixels of one ring.

    By the disc's symmetry, noise at all of them has the same statistics up to a rotation, which the observer's channels
    do not see. Their windows do not overlap, and noise correlates over a few pixels only.
    """
    return _on_ring(settings.sites, RINGS[radius_mm] * settings.radius_px, settings.size)


def lesions_image(radius_mm: float, settings: PhysicsSettings) -> HUImage:
    """Return the lesions of one radius at a contrast of 1 HU, as reconstructed: (N, N)."""
    radius_px = radius_mm / settings.pixel_mm
    return disc_image([Disc(site, radius_px, 1.0) for site in lesion_sites(radius_mm, settings)], settings)


def region_corners(settings: PhysicsSettings) -> tuple[Place, ...]:
    """Return the upper left corners of the regions for noise power, side by side in one band of radius."""
    ring, side = REGION_RING * settings.radius_px, settings.region_px
    count = int(math.pi / math.asin(min(1.0, side / math.sqrt(2) / ring)))
    return tuple((row - side // 2, column - side // 2) for row, column in _on_ring(count, ring, settings.size))


def rods(settings: PhysicsSettings) -> tuple[Disc, ...]:
    """Return the rods for the transfer functions, in as many rings as fit; each has its edge's surroundings to itself.

    Raises:
        ValueError: the disc has no room for a rod of each contrast.
    """
    cell = MIN_RADIUS_PX + REACH_PX + _ROD_GAP_PX
    places: list[Place] = []
    ring = settings.radius_px - _RIM_PX - cell
    while ring >= 0:
        count = int(math.pi / math.asin(cell / ring)) if ring > cell else 1
        places += _on_ring(count, ring if count > 1 else 0.0, settings.size)
        ring -= 2 * cell
    more = (_MORE_RODS[number % len(_MORE_RODS)] for number in range(len(places)))
    contrasts = (*ROD_CONTRASTS_HU, *more)
    if len(places) < len(ROD_CONTRASTS_HU):
        raise ValueError(
            f"physics bench: only {len(places)} rods fit into the disc; {len(ROD_CONTRASTS_HU)} are needed, "
            "use smaller pixels"
        )
    return tuple(
        Disc(place, float(MIN_RADIUS_PX), contrast) for place, contrast in zip(places, contrasts, strict=False)
    )


def crop(image: NDArray[np.floating], centre: Place, side: int) -> NDArray[np.floating]:
    """Return the window (side, side) whose pixel ``side // 2`` is at ``centre``."""
    row, column = centre[0] - side // 2, centre[1] - side // 2
    return image[row : row + side, column : column + side]


def disc_mask(settings: PhysicsSettings, share: float = 0.9) -> NDArray[np.bool_]:
    """Return where the disc is, (N, N), away from its rim: within a share of its radius."""
    along = np.arange(settings.size) - settings.size // 2
    return np.asarray(np.hypot(along[:, None], along) <= share * settings.radius_px)


def _on_ring(count: int, ring_px: float, size: int) -> tuple[Place, ...]:
    angles = 2 * np.pi * (np.arange(count) + 0.5) / count
    rows, columns = (np.rint(size // 2 + ring_px * part(angles)).astype(int) for part in (np.sin, np.cos))
    return tuple(zip(rows.tolist(), columns.tolist(), strict=True))
