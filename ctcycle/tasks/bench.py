"""The task `bench`: denoisers on simulated scans of a water disc; and the benches of the task `evaluate`."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cache

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ctcycle.atomic import write_json
from ctcycle.config.schema import Bench, Evaluate, MethodSource
from ctcycle.data.manifest import read_manifest
from ctcycle.data.slices import open_store
from ctcycle.evaluation.comparison import OwnBench, SliceBench
from ctcycle.evaluation.findings import Finding, Measure, StudyResult
from ctcycle.evaluation.inserted.bench import MEASURES as INSERTION_MEASURES
from ctcycle.evaluation.inserted.bench import InsertionStudy
from ctcycle.evaluation.inserted.noise import full_domain_noise
from ctcycle.evaluation.inserted.sites import InsertionSettings
from ctcycle.evaluation.methods.filters import by_rule
from ctcycle.evaluation.methods.method import HUFilter, Method, digest_of
from ctcycle.evaluation.paired.bench import MEASURES as PAIR_MEASURES
from ctcycle.evaluation.paired.bench import PairStudy
from ctcycle.evaluation.paired.reference import PairReferences
from ctcycle.evaluation.physics.bench import MEASURES, PhysicsBench
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import versions
from ctcycle.tasks.job import Job
from ctcycle.tasks.methods import load_model_method

PHYSICS_MEASURES: dict[str, Measure] = {measure.key: measure for measure in MEASURES}
"""What the physics bench measures, by key."""

FULL_DOSE_SERIES = 8
FULL_DOSE_SLICES = 3
"""Series, and slices of each, that the noise of full dose is measured in."""

SLICE_MEASURES: dict[str, Measure] = {measure.key: measure for measure in (*INSERTION_MEASURES, *PAIR_MEASURES)}
"""What the benches here measure, by key."""


def run(config: Bench, job: Job) -> str:
    """Measure every method, write ``results.json``, and return the table of all measures.

    Raises:
        BundleError: the folder of a method contains no denoiser.
        SeriesError: an output has another shape than its slice, or values that are not finite.
        OutputError: the results cannot be written.
    """
    methods = _methods(config)
    bench = PhysicsBench(config.physics, config.seed, config.workers or os.cpu_count() or 1)
    found = bench.references
    for method in tqdm(methods, desc="physics bench", unit="method", dynamic_ncols=True):
        if method.denoise is not None:
            found += bench.study(method.name, method.denoise)
    _write(config, job.folder, methods, found)
    table = format_findings([method.name for method in methods], found.findings)
    return "\n".join([table, *found.notes, f"-> {job.folder.path / 'results.json'}"])


def physics_bench(config: Evaluate) -> OwnBench:
    """Return the physics bench of an evaluation; its scans are made when the first method needs them."""

    @cache
    def made() -> PhysicsBench:
        return PhysicsBench(config.physics, config.seed, os.cpu_count() or 1)

    def study(name: str, denoise: HUFilter) -> StudyResult:
        return made().study(name, denoise)

    return OwnBench("physics", f"{config.physics} seed={config.seed}", study)


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


def format_findings(methods: Sequence[str], findings: Sequence[Finding]) -> str:
    """Return a table with a row for each measure and a column for each method, values with their intervals."""
    cells = {(found.method, found.measure): _cell(found) for found in findings}
    lines = [["", *methods]]
    for measure in MEASURES:
        title = f"{measure.title}, {measure.unit}" if measure.unit else measure.title
        lines.append([title, *(cells.get((method, measure.key), "-") for method in methods)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        for line in lines
    )


def _methods(config: Bench) -> list[Method]:
    models = [load_model_method(name, path, MethodSource(run=path), config) for name, path in config.methods.items()]
    return [*(by_rule(name) for name in config.filters), *models]


def _cell(found: Finding) -> str:
    if found.value is None:
        return "-"
    if found.low is None or found.high is None:
        return f"{found.value:.3g}"
    return f"{found.value:.3g} ({found.low:.3g} to {found.high:.3g})"


def _write(config: Bench, folder: RunFolder, methods: Sequence[Method], found: StudyResult) -> None:
    write_json(
        folder.path / "results.json",
        {
            "measures": [asdict(measure) for measure in MEASURES],
            "methods": [
                {"name": method.name, "title": method.title, "kind": method.kind, "digest": method.digest}
                for method in methods
            ],
            "findings": [asdict(finding) for finding in found.findings],
            "curves": [asdict(curve) for curve in found.curves],
            "notes": list(found.notes),
            "provenance": {"physics": asdict(config.physics), "seed": config.seed, "versions": versions()},
        },
    )


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
