"""The command to run after a task, with real values: inspect, scan, train, evaluate, bundle, denoise, view."""

import json
import os
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ctcycle.config.loading import load_config
from ctcycle.config.schema import (
    Bundle,
    Denoise,
    Evaluate,
    Scan,
    Simulate,
    Step,
    Train,
    TrainSupervised,
)
from ctcycle.config.tasks.pages import Inspect
from ctcycle.data.manifest import Manifest, read_manifest
from ctcycle.data.pairs import paired_patients
from ctcycle.data.settings import DOSES, Split
from ctcycle.errors import CtcycleError
from ctcycle.inspection.proposals.configs import SCAN, SIMULATE, TRAIN

_HELD_OUT: tuple[Split, ...] = ("test", "val")
_CHECKPOINTS = "checkpoints"


def next_command(config: Step) -> str:
    """Return the command that follows a finished task, ready for a shell; empty if none does."""
    makers: tuple[tuple[type[Any], Callable[[Any], list[str]]], ...] = (
        (Simulate, _after_simulate),
        (Inspect, _after_inspect),
        (Scan, _after_scan),
        (Train, _after_train),
        (Evaluate, _after_evaluate),
        (Bundle, _after_bundle),
        (Denoise, _after_denoise),
    )
    try:
        words = next((make(config) for kind, make in makers if isinstance(config, kind)), [])
    except (CtcycleError, OSError):
        return ""
    return shlex.join(["ctcycle", *words]) if words else ""


def _after_simulate(config: Simulate) -> list[str]:
    if config.low_dose is None:
        return ["inspect", str(config.out), "--out", f"{config.out}_inspect"]
    manifest = config.out / "manifest.csv"
    return _proposed_training(config.out, manifest) or [
        *("run", "supervised", f"data.manifest={_text(manifest)}", "data.guard=false"),
        f"out={_text(config.out.parent / 'supervised')}",
    ]


def _after_inspect(config: Inspect) -> list[str]:
    found = [config.out / name for name in (SIMULATE, SCAN) if (config.out / name).is_file()]
    if found:
        return ["run", str(found[0])]
    source = config.sources[0].path
    return ["denoise", str(source), f"{source}_denoised"]


def _after_scan(config: Scan) -> list[str]:
    path = config.manifest or config.out / "manifest.csv"
    if proposed := _proposed_training(config.out, path):
        return proposed
    train = read_manifest(path).select(split="train")
    if not all(train.select(dose=dose) for dose in DOSES):
        return []
    method = "supervised" if len(paired_patients(train)) == len(train.patients) else "calibrated_pairs"
    kernel = _common_kernel(train)
    chosen = [f"data.kernel={_quoted(kernel)}"] if kernel is not None else []
    return ["run", method, f"data.manifest={_text(path)}", *chosen, f"out={_text(config.out.parent / method)}"]


def _proposed_training(out: Path, manifest: Path) -> list[str]:
    """Return the command that runs the training config beside ``out``, if it is for this manifest."""
    path = out.parent / TRAIN
    if not path.is_file():
        return []
    config = load_config(path).config
    own = isinstance(config, Train) and config.data.manifest.resolve() == manifest.resolve()
    return ["run", str(path)] if own else []


def _common_kernel(manifest: Manifest) -> str | None:
    """Return the kernel with most slices of its rarer dose; None if there is only one kernel, or none at both doses."""
    kernels = sorted({row.kernel for row in manifest})
    slices = {
        kernel: min(sum(row.slices for row in manifest.select(dose, kernel=kernel)) for dose in DOSES)
        for kernel in kernels
    }
    best = max(kernels, key=lambda kernel: slices[kernel])
    return best if len(kernels) > 1 and slices[best] else None


def _after_train(config: Any) -> list[str]:
    split = _split_to_evaluate(config)
    if not split:
        return _bundle(config.out, None)
    chosen = [f"kernel={_quoted(config.data.kernel)}"] if config.data.kernel is not None else []
    unguarded = ["guard=false"] if isinstance(config, TrainSupervised) and not config.data.guard else []
    methods = json.dumps({_plain(config.out.name): str(config.out)}, ensure_ascii=False)
    return [
        *("run", "evaluate", f"manifest={_text(config.data.manifest)}", f"methods={methods}", f"split={split}"),
        *(*chosen, *unguarded, f"out={_text(_beside(config.out, 'evaluation'))}"),
    ]


def _split_to_evaluate(config: Any) -> Split:
    """Return the held-out split with pairs, otherwise one with low dose, which the insertion bench can use."""
    manifest = read_manifest(config.data.manifest).select(kernel=config.data.kernel)
    paired = [split for split in _HELD_OUT if paired_patients(manifest.select(split=split))]
    low = [split for split in _HELD_OUT if manifest.select(dose="low_dose", split=split)]
    none: Split = ""
    return next(iter([*paired, *low]), none)


def _after_evaluate(config: Evaluate) -> list[str]:
    runs = {name: source.run for name, source in config.sources.items() if source.run}
    trained = [name for name, path in runs.items() if (path / _CHECKPOINTS).is_dir()]
    results = config.out / "results.json"
    if not trained:
        return []
    scores = _psnr(results, config.protocols[0])
    best = max(trained, key=lambda name: scores.get(name, float("-inf")))
    return _bundle(runs[best], results)


def _psnr(results: Path, protocol: str) -> dict[str, float]:
    try:
        rows = json.loads(results.read_text(encoding="utf-8"))["rows"]
        return {row["method"]: float(row["psnr"]) for row in rows if row["protocol"] == protocol}
    except (ValueError, KeyError, TypeError):
        return {}


def _bundle(run: Path, results: Path | None) -> list[str]:
    bundle = run.parent / "bundles" / _plain(run.name)
    measured = [f"results={json.dumps({'Held-out patients': str(results)}, ensure_ascii=False)}"] if results else []
    out = _beside(run, "bundle")
    return ["run", "bundle", f"run={_text(run)}", f"bundle={_text(bundle)}", *measured, f"out={_text(out)}"]


def _after_bundle(config: Bundle) -> list[str]:
    trained = load_config(config.run / "config.yaml").config
    if not isinstance(trained, Train):
        return []
    manifest = read_manifest(trained.data.manifest).select(dose="low_dose", kernel=trained.data.kernel)
    held_out = [row for split in (*_HELD_OUT, "train") for row in manifest.select(split=split)]
    if not held_out:
        return []
    source = _short(manifest.root / held_out[0].path)
    out = config.bundle.parent / f"{config.bundle.name}_denoised"
    return ["denoise", str(source), str(out), "--model", str(config.bundle)]


def _after_denoise(config: Denoise) -> list[str]:
    return ["view", str(config.input), str(config.out)]


def _short(path: Path) -> Path:
    """Return a path without ``..`` where it leads to the same place, and relative if it is below the current folder."""
    plain = Path(os.path.normpath(path))
    same = plain if plain.exists() and plain.samefile(path) else path
    here = Path.cwd()
    return same.relative_to(here) if same.is_relative_to(here) and same != here else same


def _beside(run: Path, what: str) -> Path:
    return run.with_name(f"{run.name}_{what}")


def _plain(name: str) -> str:
    """Return a name as bundles and methods may have it: lower-case letters, digits and _."""
    plain = re.sub(r"[^a-z0-9_]+", "_", name.lower()).strip("_")
    return plain if plain[:1].isalpha() else f"model_{plain}"


def _text(path: Path) -> str:
    """Return a path as a YAML value: quoted if it could be read as anything else."""
    text = str(path)
    return text if re.fullmatch(r"[A-Za-z/.][\w./-]*[A-Za-z][\w./-]*", text) else _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
