"""The task `evaluate`: scores trained runs and classical filters on the pairs of a split, with tables and figures."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from ctcycle.atomic import write_text
from ctcycle.config.loading import load_config
from ctcycle.config.schema import Evaluate
from ctcycle.config.shipped import located
from ctcycle.data.manifest import read_manifest
from ctcycle.data.slices import load_slices, open_store
from ctcycle.evaluation.baselines import CLASSICAL, HUFilter
from ctcycle.evaluation.pairs import EvaluationPairs, HUPair
from ctcycle.evaluation.results import Evaluation
from ctcycle.evaluation.scoring import evaluate
from ctcycle.evaluation.tables import format_table, markdown_table
from ctcycle.report.figures import PanelRow, loss_curves, psnr_by_slice, slice_panels
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.models import load_denoiser
from ctcycle.runs.tracking import recorded_uri, versions
from ctcycle.tasks.job import Job
from ctcycle.training.method import method_class

_PANEL_BASELINES = ("nlm", "gaussian")


def run(config: Evaluate, job: Job) -> str:
    """Evaluate, and return the table of the first protocol and the paths of all results."""
    return summary_text(config, job.folder, compare(config, job.folder))


def compare(config: Evaluate, folder: RunFolder) -> Evaluation:
    """Score every method of ``config`` on every pair of its split, and write tables and figures to ``folder``.

    Raises:
        BundleError: the run of a method contains no denoiser.
        ManifestError: the split has no pairs.
        SeriesError: a series cannot be decoded or scored.
        OutputError: the results cannot be written.
    """
    methods: dict[str, HUFilter] = {name: CLASSICAL[name] for name in config.baselines}
    methods |= {
        name: load_denoiser(located(run), config.checkpoint, config.device) for name, run in config.methods.items()
    }
    store = open_store(config.manifest, config.store, config.mu_water)
    pairs = EvaluationPairs(
        load_slices(config.manifest, store, kernel=config.kernel, splits=(config.split,)), config.split
    )
    if config.guard:
        pairs.check(config.guard_threshold)
    bar = tqdm(pairs, total=len(pairs), desc="evaluating", unit="slice", dynamic_ncols=True)
    found = evaluate(
        bar, methods, config.protocols, body_only=config.body_mask, workers=os.cpu_count() or 1, seed=config.seed
    )
    found = replace(found, notes=(*_not_held_out(config, pairs), *found.notes))
    found.write(folder.path, _provenance(config))
    tables = [f"## {protocol}\n\n{markdown_table(found.rows, protocol)}\n" for protocol in config.protocols]
    write_text(folder.path / "results.md", "\n".join([*tables, *(f"- {note}" for note in found.notes), ""]))
    _draw(config, folder, methods, pairs, found)
    return found


def summary_text(config: Evaluate, folder: RunFolder, found: Evaluation) -> str:
    """Return the result for the terminal: the table of the first protocol, notes, and the paths of all results."""
    protocol = config.protocols[0]
    files = [folder.path / "results.json", folder.path / "results.md", folder.figures]
    stores = sorted({uri for run in config.methods.values() if (uri := recorded_uri(run))})
    lines = [
        f"protocol {protocol}",
        format_table(found.rows, protocol),
        *found.notes,
        *(f"-> {file}" for file in files),
        *(f"-> mlflow ui --backend-store-uri {uri}" for uri in stores),
    ]
    return "\n".join(lines)


def _not_held_out(config: Evaluate, pairs: EvaluationPairs) -> list[str]:
    """Return a note for each run that was trained or validated on patients it is evaluated on."""
    patients = {row.patient for row in pairs.slices.manifest}
    found = []
    for name, run in config.methods.items():
        known = run / "manifest.csv"
        rows = read_manifest(known).rows if known.exists() else ()
        both = sorted(patients & {row.patient for row in rows if row.split in {"train", "val"}})
        if both:
            found.append(f"{name}: NOT held out: it was trained or validated on {', '.join(both)}")
    return found


def _provenance(config: Evaluate) -> dict[str, Any]:
    return {
        "manifest": config.manifest.as_posix(),
        "split": config.split,
        "kernel": config.kernel,
        "checkpoint": config.checkpoint,
        "runs": {name: run.as_posix() for name, run in config.methods.items()},
        "versions": versions(),
    }


def _draw(
    config: Evaluate, folder: RunFolder, methods: Mapping[str, HUFilter], pairs: EvaluationPairs, found: Evaluation
) -> None:
    protocol = config.protocols[0]
    records = [record for record in found.records if record.protocol == protocol]
    shown = [name for name in methods if name != "constant"]  # its low PSNR would compress the scale of the others
    psnr = {name: [record.psnr for record in records if record.method == name] for name in shown}
    patients = [record.patient for record in records if record.method == next(iter(methods))]
    psnr_by_slice(folder.figures / "psnr_by_slice.png", patients, psnr, protocol)
    for name, run in config.methods.items():
        if losses := RunFolder(run).losses():
            loss_curves(folder.figures / f"losses_{name}.png", losses, _loss_groups(run))
    if config.panels:
        chosen = set(np.linspace(0, len(pairs) - 1, min(config.panels, len(pairs))).astype(int).tolist())
        shown = [name for name in (*_PANEL_BASELINES[:1], *config.methods) if name in methods]
        samples = [
            _sample(pair, {name: methods[name] for name in shown}) for n, pair in enumerate(pairs) if n in chosen
        ]
        slice_panels(folder.figures / "panels.png", samples)


def _loss_groups(run: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the panels of the loss figure of a run's method."""
    settings: Any = load_config(RunFolder(run).config).config
    return method_class(settings.method).LOSS_GROUPS


def _sample(pair: HUPair, methods: Mapping[str, HUFilter]) -> PanelRow:
    outputs = {name: denoise(pair.low_hu) for name, denoise in methods.items()}
    return PanelRow(
        f"{pair.patient}, slice {pair.slice_index}", {"low dose": pair.low_hu, **outputs, "full dose": pair.full_hu}
    )
