"""Start-up: imports of a task, and the start of a training on a manifest of up to 100,000 slices."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.measuring import Table, Work, in_turn
from ctcycle.config.methods import CycleGANSettings
from ctcycle.data.manifest import Manifest, ManifestRow, series_name, write_manifest
from ctcycle.training.patches.loading import load_training_data

IMPORTS = {
    "torch alone": "import torch",
    "ctcycle --help": "import runpy, sys; sys.argv = ['ctcycle', '--help']; runpy.run_module('ctcycle.run')",
    "denoise": "import ctcycle.tasks.denoise",
    "train": "import ctcycle.tasks.train",
}


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return a table of imports, in CPU time of new processes, and one of manifests of several lengths."""
    imports: dict[str, Work] = {name: lambda code=code: _python(code) for name, code in IMPORTS.items()}  # type: ignore[misc]
    names = ("torch alone", "denoise") if tiny else tuple(imports)
    chosen = {name: imports[name] for name in names}
    tables = [Table("Imports, CPU time of a new process", in_turn(chosen, 1 if tiny else rounds, _children))]
    counts = (4,) if tiny else (40, 400, 4000)
    with tempfile.TemporaryDirectory() as folder:
        ways: dict[str, Work] = {}
        for count in counts:
            manifest = make_manifest(Path(folder) / str(count), count)
            settings = CycleGANSettings.model_validate(
                {"method": "cyclegan", "data": {"manifest": manifest, "patch_size": 32}}
            )
            ways[f"{25 * count:,} slices"] = lambda settings=settings: load_training_data(settings)  # type: ignore[misc]
        title = "Training data loaded, series of 25 slices of 32 px, already decoded"
        tables.append(Table(title, in_turn(ways, 1 if tiny else rounds, time.perf_counter)))
    return tables


def make_manifest(folder: Path, count: int) -> Path:
    """Write ``count`` series of 25 slices of 32 px, half of each dose, and return their manifest."""
    rng, rows = np.random.default_rng(0), []
    folder.mkdir(parents=True)
    for number in range(count):
        hu = np.full((25, 32, 32), -1000.0)
        hu[:, 4:-4, 4:-4] = 40.0
        file = folder / f"{number:05d}.npy"
        np.save(file, (hu + rng.normal(0, 60, hu.shape)).astype(np.int16))
        dose = "low_dose" if number % 2 else "full_dose"
        rows.append(
            ManifestRow(
                *(series_name("npy", file.name, ""), f"patient{number:05d}", dose, None, "", 2.0, 1.0, 32, 32, 25),
                *("train", "npy", file.name, ""),
            )
        )
    write_manifest(folder / "manifest.csv", Manifest(folder / "manifest.csv", tuple(rows)))
    return folder / "manifest.csv"


def _python(code: str) -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, stdout=subprocess.DEVNULL)  # noqa: S603 (constant code)


def _children() -> float:
    times = os.times()
    return times.children_user + times.children_system
