"""The task `evaluate`: models, outputs and classical filters on the slices of a split, with tables and figures."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ctcycle.atomic import write_text
from ctcycle.config.schema import Evaluate
from ctcycle.data.pairs import row_pairs
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import CtcycleError, SeriesError
from ctcycle.evaluation.cache import ResultCache, code_digest
from ctcycle.evaluation.comparison import MethodResult, Plan
from ctcycle.evaluation.comparison import compare as compare_methods
from ctcycle.evaluation.contrasts import contrast_lines, contrasts
from ctcycle.evaluation.findings import StudyResult
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.page.panels import panel_slices
from ctcycle.evaluation.pairs import EvaluationPairs, LowDoseSlice, LowDoseSlices, Slices, slices_digest
from ctcycle.evaluation.results import Evaluation, MethodFacts, read_evaluation, summarise
from ctcycle.evaluation.scoring import BODY_NOTE, ScoreOptions
from ctcycle.evaluation.tables import format_table, markdown_table
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.launch import launch
from ctcycle.runs.tracking import recorded_uri, versions
from ctcycle.simulation.processes import available_cores
from ctcycle.tasks.evaluating.benches import LOW_DOSE_BENCHES, MEASURES, OWN_BENCHES, SLICE_BENCHES
from ctcycle.tasks.evaluating.methods import held_out_notes, load_methods, watch_notes
from ctcycle.tasks.evaluating.report import draw, log_to_mlflow, report, shown_methods, write
from ctcycle.tasks.job import Job


def run(config: Evaluate, job: Job) -> str:
    """Evaluate, and return the table of the first protocol and the paths of all results; ranks share the methods."""
    if ranks.world() > 1:
        _compute_share(config)
    return ranks.from_first(lambda: summary_text(config, job.folder, compare(config, job.folder)))


def _compute_share(config: Evaluate) -> None:
    """Compute this rank's share of the methods, for the cache in which rank 0 then finds all of them.

    A method that fails here is left to rank 0, which fails in the same way and reports it.
    """
    cache = ResultCache(config.cache or _store_folder(config) / "evaluations")
    slices = ranks.first_before_others(lambda: _slices(config))
    methods, _notes = ranks.first_before_others(lambda: load_methods(config, slices, cache))
    mine = [method for number, method in enumerate(methods) if ranks.is_mine(number)]
    with suppress(CtcycleError):
        compare_methods(lambda: _with_bar(slices), mine, _plan(config, slices), cache)
    ranks.from_all(None)  # wait for the others


def is_current(config: Evaluate, folder: RunFolder) -> bool:
    """Return whether the results in ``folder`` were made by the present weights, slices and code."""
    try:
        found = read_evaluation(folder.path)
        known = json.loads((folder.path / "results.json").read_text(encoding="utf-8"))["provenance"]
    except (SeriesError, OSError, ValueError, KeyError):
        return False
    slices = _slices(config)
    methods, _notes = load_methods(config, slices, ResultCache(config.cache or _store_folder(config) / "evaluations"))
    same = {method.name: method.digest for method in methods} == {made.name: made.digest for made in found.methods}
    return same and (known.get("slices"), known.get("code")) == (slices_digest(slices), code_digest())


def compare(config: Evaluate, folder: RunFolder) -> Evaluation:
    """Score every method of ``config`` on every slice of its split, and write tables and figures to ``folder``.

    Raises:
        BundleError: the run of a method contains no denoiser.
        ManifestError: the split has no pairs, and no bench can do without.
        SeriesError: a series cannot be decoded or scored, or outputs of another program do not match the slices.
        OutputError: the results cannot be written.
    """
    slices = _slices(config)
    cache = ResultCache(config.cache or _store_folder(config) / "evaluations")
    methods, notes = load_methods(config, slices, cache)
    plan = _plan(config, slices)
    found = compare_methods(lambda: _with_bar(slices), methods, plan, cache)
    evaluation = _summary(config, methods, found, notes)
    warnings = (*held_out_notes(config, slices), *watch_notes(config, only_faults=True))
    evaluation = replace(evaluation, notes=(*warnings, *evaluation.notes))
    evaluation.write(folder.path, _provenance(config, plan))
    write_text(folder.path / "results.md", _markdown(config, evaluation))
    panels = panel_slices(slices, shown_methods(config, methods), config.panels, plan.slices_digest, cache)
    draw(config, folder, methods, panels, evaluation)
    page = write(folder, report(config, methods, panels, evaluation, MEASURES), _provenance(config, plan))
    weights = {method.name: method.weights for method in methods if method.kind == "run"}
    log_to_mlflow(config, evaluation, weights, [page, folder.path / "measures.csv"])
    return evaluation


def _slices(config: Evaluate) -> Slices:
    """Return the pairs of the split; if no series match, its low-dose slices, if a bench can do without pairs."""
    store = open_store(config.manifest, config.store, config.mu_water, config.mu_air)
    data = load_slices(config.manifest, store, kernel=config.kernel, splits=(config.split,))
    wanted = LOW_DOSE_BENCHES if config.benches is None else config.benches
    unpaired = not row_pairs(data.manifest.select(split=config.split).rows)
    if unpaired and any(name in LOW_DOSE_BENCHES for name in wanted):
        return LowDoseSlices(data, config.split)
    pairs = EvaluationPairs(data, config.split)
    if config.guard:
        pairs.check(config.guard_threshold)
    return pairs


def _store_folder(config: Evaluate) -> Path:
    return config.store or config.manifest.parent / ".ctcycle_store"


def _plan(config: Evaluate, slices: Slices) -> Plan:
    paired = isinstance(slices, EvaluationPairs)
    wanted = config.benches if config.benches is not None else ("pairs", "insertion")
    usable = [name for name in wanted if paired or name in LOW_DOSE_BENCHES]
    return Plan(
        ScoreOptions(config.protocols if paired else (), config.body_mask),
        tuple(SLICE_BENCHES[name](config) for name in usable if name in SLICE_BENCHES),
        tuple(OWN_BENCHES[name](config) for name in wanted if name in OWN_BENCHES),
        slices_digest(slices),
        max(1, available_cores() // launch().local_world),
    )


def _with_bar(slices: Slices) -> Iterator[LowDoseSlice]:
    yield from tqdm(slices, total=len(slices), desc="evaluating", unit="slice", dynamic_ncols=True)


def _summary(
    config: Evaluate, methods: Sequence[Method], found: Mapping[str, MethodResult], notes: Sequence[str]
) -> Evaluation:
    records = [record for method in methods for record in found[method.name].records]
    study = sum((part for result in found.values() for part in result.studies.values()), StudyResult())
    base = summarise(records, seed=config.seed) if records else Evaluation((), (), ())
    models = [method.name for method in methods if method.kind in {"run", "bundle", "outputs"}]
    filters = [method.name for method in methods if method.kind == "filter"]
    differences = contrasts(records, config.protocols[0], models, filters, config.seed)
    told = [
        *contrast_lines(differences, {method.name: method.title for method in methods}),
        *base.notes,
        *([BODY_NOTE] if config.body_mask and records else []),
        *(note for method in methods for note in method.notes),
        *notes,
        *study.notes,
    ]
    return replace(
        base,
        notes=tuple(dict.fromkeys(told)),
        contrasts=differences,
        methods=tuple(MethodFacts(method.name, method.title, method.kind, method.digest) for method in methods),
        study=study,
    )


def _markdown(config: Evaluate, found: Evaluation) -> str:
    tables = [f"## {name}\n\n{markdown_table(found.rows, name)}\n" for name in config.protocols if found.rows]
    return "\n".join([*tables, *(f"- {note}" for note in found.notes), ""])


def summary_text(config: Evaluate, folder: RunFolder, found: Evaluation) -> str:
    """Return the result for the terminal: the table of the first protocol, notes, and the paths of all results."""
    protocol = config.protocols[0]
    files = [folder.path / name for name in ("report.html", "results.json", "results.md")]
    runs = [source.run for source in config.sources.values() if source.run]
    stores = sorted({uri for run in runs if (uri := recorded_uri(run))})
    table = [f"protocol {protocol}", format_table(found.rows, protocol)] if found.rows else []
    lines = [
        *table,
        *found.notes,
        *(f"-> {file}" for file in files),
        *(f"-> mlflow ui --backend-store-uri {uri}" for uri in stores),
    ]
    return "\n".join(lines)


def _provenance(config: Evaluate, plan: Plan) -> dict[str, Any]:
    return {
        "manifest": config.manifest.as_posix(),
        "split": config.split,
        "kernel": config.kernel,
        "checkpoint": config.checkpoint,
        "runs": {name: source.run.as_posix() for name, source in config.sources.items() if source.run},
        "slices": plan.slices_digest,
        "code": code_digest(),
        "versions": versions(),
    }
