"""Simulated noise of the full-dose training slices, computed once and kept next to the decoded slices."""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ctcycle import __version__
from ctcycle.atomic import write_file
from ctcycle.config.methods import SimulatedNoise
from ctcycle.data.slices import HUSlice, StoredSlices
from ctcycle.data.store import StoredSeries
from ctcycle.simulation.low_dose_noise import LowerDose, line_integrals, noise_draws
from ctcycle.simulation.processes import share_out

_VERSION = 1
ProgressBar = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class NoiseDraws:
    """Draws of simulated noise for each slice of a domain, memory-mapped.

    Attributes:
        draws: one sequence per draw; entry i of each is noise (H, W) of slice i, int16 in HU.
    """

    draws: tuple[StoredSlices, ...]

    def __len__(self) -> int:
        return len(self.draws[0])

    def draw(self, index: int, rng: np.random.Generator) -> HUSlice:
        """Return one of the draws for slice ``index``, with a random sign: the noise is symmetric."""
        number, sign = int(rng.integers(len(self.draws))), int(rng.choice([-1, 1]))
        return np.int16(sign) * self.draws[number][index]


@dataclass(frozen=True)
class _Job:
    series: StoredSeries
    path: Path
    seed: int


def simulate_noise(
    full: StoredSlices, settings: SimulatedNoise, seed: int, workers: int, progress: ProgressBar = iter
) -> NoiseDraws:
    """Return simulated noise of full-dose slices; series that are already in the store are not simulated again.

    The noise of a series is one file in the folder ``noise`` of the store. It depends on the HU of the series, the
    settings and the seed alone.

    Args:
        full: the full-dose slices.
        settings: kernel, dose and number of draws.
        seed: non-negative.
        workers: number of processes; 0 or 1 uses the current process.
        progress: wraps the finished series, for a progress bar.

    Raises:
        OutputError: the store cannot be written.
    """
    jobs = {key: _job(series, settings, seed) for key, series in full.series.items()}
    missing = [job for job in jobs.values() if not _complete(job, settings.draws)]
    made = share_out(partial(_simulate, settings), missing, workers)
    for _ in progress(number for number, _ in enumerate(made)):
        pass
    series = {key: _stored(job, settings.draws) for key, job in jobs.items()}
    lengths = {key: stored.shape[0] for key, stored in full.series.items()}
    return NoiseDraws(
        tuple(
            StoredSlices(
                series,
                [ref._replace(slice_index=ref.slice_index + number * lengths[ref.series]) for ref in full.refs],
            )
            for number in range(settings.draws)
        )
    )


def _job(series: StoredSeries, settings: SimulatedNoise, seed: int) -> _Job:
    physics = settings.model_dump(include={"kernel", "draws", "views", "dose_fraction", "photons", "electronic_noise"})
    name = json.dumps([_VERSION, __version__, series.path.stem, series.spacing_mm, physics, seed])
    key = hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=20)
    number = int.from_bytes(key.digest()[:4], "big")
    return _Job(series, series.path.parent.parent / "noise" / f"{key.hexdigest()}.npy", number)


def _stored(job: _Job, draws: int) -> StoredSeries:
    slices, rows, columns = job.series.shape
    return StoredSeries(job.path, (draws * slices, rows, columns), job.series.spacing_mm, ())


def _complete(job: _Job, draws: int) -> bool:
    try:
        return bool(np.load(job.path, mmap_mode="r", allow_pickle=False).shape == _stored(job, draws).shape)
    except (OSError, ValueError, EOFError):
        return False


def _simulate(settings: SimulatedNoise, job: _Job) -> None:
    hu = job.series.hu.astype(np.float32)
    pixel_mm = job.series.pixel_mm
    dose = LowerDose(settings.dose_fraction, settings.kernel, None, settings.photons, settings.electronic_noise)
    rays = line_integrals(hu, pixel_mm, settings.views)
    noise = noise_draws(hu, rays, pixel_mm, dose, (job.seed, settings.draws))
    values = _to_int16(noise.reshape(-1, *hu.shape[1:]))
    write_file(job.path, lambda stream: np.lib.format.write_array(stream, values, allow_pickle=False))


def _to_int16(noise: NDArray[np.float32]) -> NDArray[np.int16]:
    limit = np.iinfo(np.int16).max  # symmetric, so that the sign can be changed
    return np.rint(noise).clip(-limit, limit).astype(np.int16)
