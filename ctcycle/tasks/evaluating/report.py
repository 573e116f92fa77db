"""The pictures and the report of the task `evaluate`, and its figures in MLflow."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ctcycle.config.loading import load_config
from ctcycle.config.schema import Evaluate
from ctcycle.evaluation.contrasts import Contrast
from ctcycle.evaluation.findings import Measure
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.page.content import MethodInfo, Panel, PatientDifferences, ReportContent, TrainingCurves
from ctcycle.evaluation.page.panels import PanelSlice
from ctcycle.evaluation.page.report import write_report
from ctcycle.evaluation.pairs import HUPair
from ctcycle.evaluation.results import Evaluation, SliceRecord
from ctcycle.metrics.protocols import PROTOCOLS
from ctcycle.report.figures import PanelRow, loss_curves, psnr_by_slice, slice_panels
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.measured import log_evaluation
from ctcycle.tasks.evaluating.methods import watch_notes
from ctcycle.training.method import method_class

_PANEL_FILTERS = ("nlm",)
_UNITS = {"psnr": "PSNR (dB)", "ssim": "SSIM"}


def shown_methods(config: Evaluate, methods: Sequence[Method]) -> list[Method]:
    """Return the methods whose images are shown."""
    return [method for method in methods if method.name in {*_PANEL_FILTERS, *config.methods}]


def draw(
    config: Evaluate, folder: RunFolder, methods: Sequence[Method], panels: Sequence[PanelSlice], found: Evaluation
) -> None:
    """Write the figures: losses of each run; with full dose also PSNR by slice, and slices side by side."""
    for name, run in _runs(config).items():
        if losses := RunFolder(run).losses():
            loss_curves(folder.figures / f"losses_{name}.png", losses, _loss_groups(run))
    if not found.records:
        return
    protocol = config.protocols[0]
    records = [record for record in found.records if record.protocol == protocol]
    shown = [m.name for m in methods if m.kind != "constant"]  # its low PSNR would compress the scale of the others
    psnr = {name: [record.psnr for record in records if record.method == name] for name in shown}
    patients = [record.patient for record in records if record.method == methods[0].name]
    psnr_by_slice(folder.figures / "psnr_by_slice.png", patients, psnr, protocol)
    if panels:
        slice_panels(folder.figures / "panels.png", [_panel_row(panel) for panel in panels])


def report(
    config: Evaluate,
    methods: Sequence[Method],
    panels: Sequence[PanelSlice],
    found: Evaluation,
    measures: Mapping[str, Measure],
) -> ReportContent:
    """Return the content of the report of an evaluation."""
    used = {finding.measure for finding in found.study.findings}
    return ReportContent(
        title=f"Denoising of {_data_name(config)}",
        methods=[MethodInfo(method.name, method.title, method.kind, method.digest) for method in methods],
        measures=[measure for key, measure in measures.items() if key in used],
        findings=tuple(dict.fromkeys(found.study.findings)),
        curves=tuple(dict.fromkeys(found.study.curves)),
        pictures=found.study.pictures,
        rows=found.rows,
        protocols={name: PROTOCOLS[name].description for name in config.protocols},
        contrasts=[_differences(contrast, found.records) for contrast in found.contrasts],
        panels=[_panel(panel, {method.name: method.title for method in methods}) for panel in panels],
        training=[_training(name, run) for name, run in _runs(config).items() if RunFolder(run).losses()],
        notes=tuple(dict.fromkeys([*found.notes, *watch_notes(config, only_faults=False)])),
    )


def write(folder: RunFolder, content: ReportContent, provenance: Mapping[str, Any]) -> Path:
    """Write the report with its provenance, and return the path of its HTML file."""
    facts = {key.replace("_", " "): _text(value) for key, value in provenance.items() if value not in (None, {}, "")}
    return write_report(folder.path, ReportContent(**{**vars(content), "provenance": facts}))


def log_to_mlflow(config: Evaluate, found: Evaluation, weights: Mapping[str, str], files: Sequence[Path]) -> None:
    """Log the figures of each run that was evaluated to its own MLflow run.

    Args:
        config: of the evaluation.
        found: its results.
        weights: SHA-256 of the weights file, by method.
        files: artefacts.
    """
    for name, run in _runs(config).items():
        figures: dict[str, float | None] = {
            f"{finding.bench}/{finding.measure}": finding.value
            for finding in found.study.findings
            if finding.method == name
        }
        for row in found.rows:
            if row.method == name:
                figures |= {f"{row.protocol}/{key}": getattr(row, key) for key in ("psnr", "ssim", "rmse_hu")}
        if name in weights:
            log_evaluation(run, weights[name], config.split, figures, files)


def _runs(config: Evaluate) -> dict[str, Path]:
    return {name: source.run for name, source in config.sources.items() if source.run}


def _data_name(config: Evaluate) -> str:
    kernel = f", kernel {config.kernel}" if config.kernel else ""
    names = {"test": "held-out test patients", "val": "validation patients", "train": "training patients"}
    return f"{names[config.split]}{kernel}"


def _images(panel: PanelSlice, titles: Mapping[str, str]) -> dict[str, Any]:
    outputs = {titles.get(name, name): output for name, output in panel.outputs.items()}
    full = {"Full dose": panel.item.full_hu} if isinstance(panel.item, HUPair) else {}
    return {"Low dose": panel.item.low_hu, **outputs, **full}


def _panel_row(panel: PanelSlice) -> PanelRow:
    return PanelRow(f"{panel.item.patient}, slice {panel.item.slice_index}", _images(panel, {}))


def _panel(panel: PanelSlice, titles: Mapping[str, str]) -> Panel:
    item, reference = panel.item, "Full dose" if isinstance(panel.item, HUPair) else ""
    return Panel(item.patient, item.slice_index, _images(panel, titles), reference)


def _differences(contrast: Contrast, records: Sequence[SliceRecord]) -> PatientDifferences:
    means: dict[tuple[str, str], list[float]] = {}
    for record in records:
        if record.protocol == contrast.protocol:
            means.setdefault((record.method, record.patient), []).append(float(getattr(record, contrast.measure)))
    patients = [patient for method, patient in means if method == contrast.method]
    by_patient = {
        patient: float(np.mean(means[contrast.method, patient]) - np.mean(means[contrast.filter, patient]))
        for patient in patients
    }
    return PatientDifferences(
        contrast.method,
        contrast.filter,
        _UNITS[contrast.measure],
        by_patient,
        contrast.ci95,
        contrast.p_holm,
        contrast.note,
    )


def _training(name: str, run: Path) -> TrainingCurves:
    folder = RunFolder(run)
    validation: dict[str, list[tuple[int, float]]] = {}
    for record in folder.read_metrics():
        if "val/psnr" in record:
            validation.setdefault("PSNR, dB", []).append((int(record["iteration"]), record["val/psnr"]))
    losses = folder.losses()
    last = max(iteration for curve in losses.values() for iteration, _ in curve)
    schedule = _settings(run).schedule
    phases = {
        "learning rate decays from here": schedule.decay_start,
        "adversarial weight reduced": schedule.finish_start,
    }
    return TrainingCurves(name, losses, validation, {text: part * last for text, part in phases.items() if part < 1})


def _settings(run: Path) -> Any:
    return load_config(RunFolder(run).config).config


def _loss_groups(run: Path) -> Mapping[str, tuple[str, ...]]:
    """Return the panels of the loss figure of a run's method."""
    return method_class(_settings(run).method).LOSS_GROUPS


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return str(value)
