"""The task `bench`: denoisers on simulated scans of a water disc with inserts, where the truth is known."""

import os
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache

from tqdm import tqdm

from ctcycle.atomic import write_json
from ctcycle.config.schema import Bench, Evaluate, MethodSource
from ctcycle.evaluation.comparison import OwnBench
from ctcycle.evaluation.filters import by_rule
from ctcycle.evaluation.findings import Finding, Measure, StudyResult
from ctcycle.evaluation.methods import HUFilter, Method
from ctcycle.evaluation.physics.bench import MEASURES, PhysicsBench
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import versions
from ctcycle.tasks.job import Job
from ctcycle.tasks.methods import load_model_method

PHYSICS_MEASURES: dict[str, Measure] = {measure.key: measure for measure in MEASURES}
"""What the physics bench measures, by key."""


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
