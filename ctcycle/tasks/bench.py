"""The task `bench`: denoisers on simulated scans of a water disc, where the truth is known."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from tqdm import tqdm

from ctcycle.atomic import write_json
from ctcycle.config.schema import Bench, MethodSource
from ctcycle.evaluation.cache import code_digest
from ctcycle.evaluation.findings import StudyResult
from ctcycle.evaluation.methods.filters import by_rule
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.physics.bench import MEASURES, PhysicsBench
from ctcycle.evaluation.tables import findings_table
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.tracking import versions
from ctcycle.simulation.processes import available_cores
from ctcycle.tasks.evaluating.methods import load_model_method
from ctcycle.tasks.job import Job


def run(config: Bench, job: Job) -> str:
    """Measure every method, write ``results.json``, and return the table of all measures.

    Raises:
        BundleError: the folder of a method contains no denoiser.
        SeriesError: an output has another shape than its slice, or values that are not finite.
        OutputError: the results cannot be written.
    """
    methods = _methods(config)
    bench = PhysicsBench(config.physics, config.seed, config.workers or available_cores())
    found = bench.references
    for method in tqdm(methods, desc="physics bench", unit="method", dynamic_ncols=True):
        if method.denoise is not None:
            found += bench.study(method.name, method.denoise)
    _write(config, job.folder, methods, found)
    table = findings_table([method.name for method in methods], MEASURES, found.findings)
    return "\n".join([table, *found.notes, f"-> {job.folder.path / 'results.json'}"])


def is_current(config: Bench, folder: RunFolder) -> bool:
    """Return whether the results in ``folder`` were made by the present weights and code."""
    try:
        found = json.loads((folder.path / "results.json").read_text(encoding="utf-8"))
        digests = {str(method["name"]): method["digest"] for method in found["methods"]}
        code = found["provenance"]["code"]
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return code == code_digest() and digests == {method.name: method.digest for method in _methods(config)}


def _methods(config: Bench) -> list[Method]:
    models = [load_model_method(name, path, MethodSource(run=path), config) for name, path in config.methods.items()]
    return [*(by_rule(name) for name in config.filters), *models]


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
            "provenance": {
                "physics": asdict(config.physics),
                "seed": config.seed,
                "code": code_digest(),
                "versions": versions(),
            },
        },
    )
