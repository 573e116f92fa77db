"""The benches of the task `evaluate`, by their name in the config."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ctcycle.config.schema import Evaluate
from ctcycle.data.manifest import read_manifest
from ctcycle.data.slices import open_store
from ctcycle.evaluation.comparison import OwnBench, SliceBench
from ctcycle.evaluation.findings import Measure, StudyResult
from ctcycle.evaluation.inserted import bench as inserted
from ctcycle.evaluation.inserted.noise import full_domain_noise
from ctcycle.evaluation.inserted.sites import InsertionSettings
from ctcycle.evaluation.methods.method import HUFilter, Method, digest_of
from ctcycle.evaluation.paired import bench as paired
from ctcycle.evaluation.paired.reference import PairReferences
from ctcycle.evaluation.physics import bench as physics
from ctcycle.simulation.processes import available_cores

FULL_DOSE_SERIES = 8
FULL_DOSE_SLICES = 3
"""Series, and slices of each, that the noise of full dose is measured in."""

MEASURES: Mapping[str, Measure] = {
    measure.key: measure for measure in (*physics.MEASURES, *inserted.MEASURES, *paired.MEASURES)
}
"""What the benches measure, by key; of a key that two share, as measured on the slices."""


def physics_bench(config: Evaluate) -> OwnBench:
    """Return the physics bench of an evaluation; its scans are made when the first method needs them."""

    @cache
    def made() -> physics.PhysicsBench:
        return physics.PhysicsBench(config.physics, config.seed, available_cores())

    def study(name: str, denoise: HUFilter) -> StudyResult:
        return made().study(name, denoise)

    return OwnBench("physics", f"{config.physics} seed={config.seed}", study)


def pair_bench(_config: Evaluate) -> SliceBench:
    """Return the pair bench; the studies of all methods share what depends on a pair alone."""
    references = PairReferences()
    return SliceBench("pairs", "", lambda method: paired.PairStudy(method.name, references=references))


def insertion_bench(config: Evaluate) -> SliceBench:
    """Return the insertion bench, with the noise of full-dose slices of the manifest if it has any."""
    settings = InsertionSettings(seed=config.seed)
    slices = list(_full_dose_slices(config))
    full_noise = full_domain_noise(slices)
    digest = digest_of(repr(settings), [float(hu.sum(dtype=np.float64)) for hu, _pixel_mm in slices])

    def start(method: Method) -> inserted.InsertionStudy | None:
        if method.denoise is None or method.kind == "constant":
            return None
        return inserted.InsertionStudy(method.name, method.denoise, settings, full_noise)

    return SliceBench("insertion", digest, start)


SLICE_BENCHES: dict[str, Callable[[Evaluate], SliceBench]] = {"pairs": pair_bench, "insertion": insertion_bench}
"""Makers of the benches that are fed with slices, by their name in the config."""

LOW_DOSE_BENCHES = ("insertion",)
"""Benches that need no full dose."""

OWN_BENCHES: dict[str, Callable[[Evaluate], OwnBench]] = {"physics": physics_bench}
"""Makers of the benches with images of their own."""


def _full_dose_slices(config: Evaluate) -> Iterator[tuple[NDArray[np.float32], float]]:
    """Yield full-dose slices in HU with their known pixel size, evenly spaced over some series of any split."""
    manifest = read_manifest(config.manifest).select(dose="full_dose", kernel=config.kernel)
    store = open_store(config.manifest, config.store, config.mu_water, config.mu_air)
    for number in _places(len(manifest.rows), FULL_DOSE_SERIES):
        series = store.open_row(manifest.rows[number], manifest.root)
        for index in _places(len(series.hu), FULL_DOSE_SLICES) if series.spacing_mm[1] > 0 else ():
            yield series.hu[index].astype(np.float32), series.spacing_mm[1]


def _places(length: int, most: int) -> list[int]:
    places: list[int] = np.linspace(0, length - 1, min(most, length)).astype(int).tolist()
    return places
