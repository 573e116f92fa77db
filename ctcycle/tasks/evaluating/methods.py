"""Loads the methods of an evaluation: models, outputs of other programs, classical filters by rule or tuned."""

from pathlib import Path

from ctcycle.config.schema import Bench, Evaluate, MethodSource
from ctcycle.config.shipped import located
from ctcycle.data.manifest import read_manifest
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import ConfigError, ManifestError
from ctcycle.evaluation.cache import ResultCache
from ctcycle.evaluation.methods.filters import CLASSICAL, SETTINGS, by_rule
from ctcycle.evaluation.methods.method import Kind, Method, digest_of
from ctcycle.evaluation.methods.outputs import outputs_method
from ctcycle.evaluation.methods.tuning import TuningSlices, measure_settings, spread, tuned
from ctcycle.evaluation.pairs import EvaluationPairs, Slices
from ctcycle.runs.bundle_folder import is_bundle
from ctcycle.runs.models import load_model
from ctcycle.runs.watch_record import read_watch
from ctcycle.simulation.processes import available_cores

NO_BM3D = "bm3d: left out, since the package bm3d is not installed"


def load_methods(config: Evaluate, slices: Slices, cache: ResultCache) -> tuple[list[Method], list[str]]:
    """Return the methods in the order of the table, filters first, and notes on those that are left out.

    Raises:
        BundleError: a folder contains no model.
        ConfigError: there is no method.
        SeriesError: outputs of another program do not match the slices.
    """
    notes: list[str] = []
    found: list[Method] = []
    for name in config.filters:
        if name == "bm3d" and name not in CLASSICAL:
            notes.append(NO_BM3D)
        elif name not in SETTINGS:
            found.append(by_rule(name))
        elif (tuning := _tuning_slices(config, slices)) is None:
            notes.append(f"{name}: left out, since no patient with both doses can be used to tune it")
        else:
            found.append(_tuned(name, tuning, cache))
    found += [_load(name, source, config, slices) for name, source in config.sources.items()]
    if not found:
        raise ConfigError("evaluate: no methods and no filters; set at least one of methods and filters")
    return found, notes


def _load(name: str, source: MethodSource, config: Evaluate, slices: Slices) -> Method:
    if source.run is not None:
        return load_model_method(name, source.run, source, config)
    store = open_store(config.manifest, config.store, config.mu_water, config.mu_air)
    return outputs_method(
        name, source.title or name, source.outputs or Path(), slices.slices, store, guard=config.guard
    )


def load_model_method(name: str, run: Path, source: MethodSource, config: Evaluate | Bench) -> Method:
    """Return the method of a run or of a bundle; its digest covers weights, network and window."""
    path = located(run)
    model = load_model(path, source.checkpoint or config.checkpoint, config.device)
    digest = digest_of(
        model.digest,
        str(model.generator),
        repr(model.window),
        model.mu_water,
        model.mu_air,
        model.average_flips,
        str(model.device),
    )
    kind: Kind = "bundle" if is_bundle(path) else "run"
    return Method(name, source.title or name, kind, digest, model.denoiser(), weights=model.digest)


def held_out_notes(config: Evaluate, slices: Slices) -> list[str]:
    """Return a note for each run that was trained or validated on patients it is evaluated on."""
    patients = {row.patient for row in slices.slices.manifest}
    found = []
    for name, source in config.sources.items():
        both = sorted(patients & _seen(source.run)) if source.run else []
        if both:
            found.append(f"{name}: NOT held out: it was trained or validated on {', '.join(both)}")
    return found


def watch_notes(config: Evaluate, *, only_faults: bool) -> list[str]:
    """Return for each run what its training ended with, measured without pairs, or only for those that failed.

    Raises:
        BundleError: the record of a run is damaged.
    """
    records = {name: read_watch(located(source.run)) for name, source in config.sources.items() if source.run}
    shown = {name: record for name, record in records.items() if record and (record.faults or not only_faults)}
    return [f"{name}: {record.sentence}" for name, record in shown.items()]


def _seen(run: Path) -> set[str]:
    known = run / "manifest.csv"
    rows = read_manifest(known).rows if known.exists() else ()
    return {row.patient for row in rows if row.split in {"train", "val"}}


def _tuning_slices(config: Evaluate, slices: Slices) -> TuningSlices | None:
    """Return the pairs of validation patients; else the evaluated ones, leaving one out; None without pairs."""
    if config.split != "val":
        store = open_store(config.manifest, config.store, config.mu_water, config.mu_air)
        try:
            data = load_slices(config.manifest, store, kernel=config.kernel, splits=("val",))
        except ManifestError:
            data = None
        if data is not None and data.has_pairs("val"):
            return TuningSlices(EvaluationPairs(data, "val"), leave_one_out=False)
    return TuningSlices(slices, leave_one_out=True) if isinstance(slices, EvaluationPairs) else None


def _tuned(name: str, tuning: TuningSlices, cache: ResultCache) -> Method:
    digest = tuning.digest(name)
    errors = cache.read_json(digest)
    if errors is None:
        errors = measure_settings(spread(tuning.pairs), SETTINGS[name], available_cores())
        cache.write_json(digest, errors)
    return tuned(name, errors, digest, leave_one_out=tuning.leave_one_out)
