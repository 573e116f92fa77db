"""The benches of the task `evaluate` that are fed with the slices of its split."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ctcycle.config.schema import Evaluate
from ctcycle.data.manifest import read_manifest
from ctcycle.data.slices import open_store
from ctcycle.evaluation.comparison import SliceBench
from ctcycle.evaluation.findings import Measure
from ctcycle.evaluation.inserted.bench import MEASURES as INSERTION_MEASURES
from ctcycle.evaluation.inserted.bench import InsertionStudy
from ctcycle.evaluation.inserted.noise import full_domain_noise
from ctcycle.evaluation.inserted.sites import InsertionSettings
from ctcycle.evaluation.methods.method import Method, digest_of
from ctcycle.evaluation.paired.bench import MEASURES as PAIR_MEASURES
from ctcycle.evaluation.paired.bench import PairStudy
from ctcycle.evaluation.paired.reference import PairReferences

FULL_DOSE_SERIES = 8
FULL_DOSE_SLICES = 3
"""Series, and slices of each, that the noise of full dose is measured in."""

SLICE_MEASURES: dict[str, Measure] = {measure.key: measure for measure in (*INSERTION_MEASURES, *PAIR_MEASURES)}
"""What the benches here measure, by key."""


def pair_bench(_config: Evaluate) -> SliceBench:
    """Return the pair bench; the studies of all methods share what depends on a pair alone."""
    references = PairReferences()
    return SliceBench("pairs", "", lambda method: PairStudy(method.name, references=references))


def insertion_bench(config: Evaluate) -> SliceBench:
    """Return the insertion bench, with the noise of full-dose slices of the manifest if it has any."""
    settings = InsertionSettings(seed=config.seed)
    slices = list(_full_dose_slices(config))
    full_noise = full_domain_noise(slices)
    digest = digest_of(repr(settings), [float(hu.sum(dtype=np.float64)) for hu, _pixel_mm in slices])

    def start(method: Method) -> InsertionStudy | None:
        if method.denoise is None or method.kind == "constant":
            return None
        return InsertionStudy(method.name, method.denoise, settings, full_noise)

    return SliceBench("insertion", digest, start)


def _full_dose_slices(config: Evaluate) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Yield full-dose slices in HU with their pixel size, evenly spaced over some series of any split."""
    manifest = read_manifest(config.manifest).select(dose="full_dose", kernel=config.kernel)
    store = open_store(config.manifest, config.store, config.mu_water, config.mu_air)
    for number in _places(len(manifest.rows), FULL_DOSE_SERIES):
        series = store.open_row(manifest.rows[number], manifest.root)
        for index in _places(len(series.hu), FULL_DOSE_SLICES):
            yield series.hu[index].astype(np.float32), series.spacing_mm[1]


def _places(length: int, most: int) -> list[int]:
    places: list[int] = np.linspace(0, length - 1, min(most, length)).astype(int).tolist()
    return places
