"""A tiny simulated data set, made once per test session, and configs that train on it within a second."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ctcycle.config.loading import LoadedConfig, load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import scan_sources
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.runs.checkpoints import read_checkpoint
from ctcycle.runs.folder import RunFolder
from ctcycle.simulation.dataset import simulate_dataset
from ctcycle.simulation.settings import SimulationSettings
from ctcycle.tasks import running
from ctcycle.training.trainer import TrainingRun

SETTINGS = SimulationSettings(
    patients=8, slices=2, size=64, pixel_mm=5.6, views=64, photons=3e4, dose_fraction=0.25, electronic_noise=5.0
)
VAL, TEST = "sim006", "sim007"

TRAIN: Mapping[str, Any] = {
    "task": "train",
    "threads": 1,
    "data": {"patch_size": 32, "augmentations": [{"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 0}]},
    "generator": {"filters": 4, "blocks": 1, "downsamplings": 0, "kernel": 3, "dropout": 0.2},
    "optimizer": {"lr": 1e-3, "clip_norm": 10.0},
    "schedule": {"decay_start": 0.5, "finish_start": 0.5},
    "training": {
        "epochs": 4,
        "iterations_per_epoch": 3,
        "batch_size": 2,
        "ema_decay": 0.9,
        "watch": {"enabled": False},
    },
    "validation": {"every": 2, "slices": 2},
    "tracking": {"enabled": False, "every": 2},
}
UNPAIRED: Mapping[str, Any] = {
    "discriminator": {"filters": 4, "layers": 2, "gain": 20.0},
    "loss": {"noise_swap": 3.0},
    "image_pool": 3,
}
NOISE: dict[str, Any] = {"draws": 2, "views": 32, "filter_px": 3, "calibrate": False}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "cyclegan": {**UNPAIRED, "noise_channel": True},
    "noise_swap": UNPAIRED,
    "supervised": {},
    "calibrated_pairs": {"simulated_noise": NOISE | {"level_jitter": 0.2}},
    "physics_cyclegan": {"discriminator": UNPAIRED["discriminator"], "simulated_noise": NOISE, "adversary_every": 2},
}


@dataclass(frozen=True)
class TinyData:
    """A data set on disk.

    Attributes:
        series: the folder of simulated DICOM series, ``sim000/low_dose`` and so on.
        manifest: manifest of all series; `VAL` and `TEST` are held out.
    """

    series: Path
    manifest: Path


def make_tiny_data(folder: Path) -> TinyData:
    """Simulate the patients and index their series in a manifest."""
    data = TinyData(folder / "series", folder / "manifest.csv")
    simulate_dataset(data.series, SETTINGS, seed=0)
    report = scan_sources([Source(data.series)], data.manifest, SplitSettings(val=(VAL,), test=(TEST,)))
    write_manifest(data.manifest, report.manifest)
    return data


def train_config(data: TinyData, out: Path, method: str, *overrides: str) -> LoadedConfig:
    """Return the config of a tiny run of ``method`` into ``out``."""
    return load_config(write_train_config(data, out, method), overrides)


def write_train_config(data: TinyData, out: Path, method: str) -> Path:
    """Write the config of a tiny run next to ``out``, with the same name and the suffix ``.yaml``."""
    config = {**TRAIN, **METHODS[method], "method": method, "out": str(out)}
    config["data"] = {**TRAIN["data"], "manifest": str(data.manifest)}
    path = out.with_suffix(".yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_yaml(config))
    return path


def train(data: TinyData, out: Path, method: str, *overrides: str) -> Path:
    """Train as the command line does, and return the run folder."""
    running.run(train_config(data, out, method, *overrides))
    return out


def training_run(loaded: LoadedConfig) -> TrainingRun:
    """Return the run of a config with its folder opened, not yet started."""
    config: Any = loaded.config
    folder = RunFolder(config.out)
    folder.open(loaded.resolved, overwrite=False)
    return TrainingRun(config, folder, loaded.name, loaded.resolved)


def assert_same_run(one: Path, other: Path) -> None:
    """Assert that two run folders contain bit-identical training results."""
    assert (one / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()
    for name in ("last", "best"):
        states = [read_checkpoint(run / "checkpoints" / f"{name}.pt") for run in (one, other)]
        assert_same(states[0], states[1], name)


def assert_same(one: Any, other: Any, where: str = "") -> None:
    """Assert that nested containers of tensors and numbers are bit-identical; failures name the entry."""
    assert type(one) is type(other), where
    if isinstance(one, Mapping):
        assert one.keys() == other.keys(), where
        for key in one:
            assert_same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for number, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_same(first, second, f"{where}[{number}]")
    elif isinstance(one, Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    else:
        assert one == other, where
