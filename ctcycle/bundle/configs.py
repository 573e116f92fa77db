"""Generate the configs of a bundle for inference, evaluation and fine-tuning, as plain data."""

from dataclasses import asdict
from typing import Any

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.runs.bundle_folder import BundleFacts

Config = dict[str, Any]
FINGERPRINT = "configs/fingerprint.json"


def formulas(window: HUWindow) -> tuple[str, str]:
    """Return the formulas from HU to the network's values ``x`` and back, as text."""
    scale, centre = f"{window.hu_per_unit:g}", f"{window.centre:g}"
    if not window.centre:
        return f"clip(HU) / {scale}", f"{scale} x"
    return f"(clip(HU) - {centre}) / {scale}", f"{scale} x + {centre}"


LOGGING = """\
[loggers]
keys=root,pydicom

[handlers]
keys=console

[formatters]
keys=plain

[logger_root]
level=INFO
handlers=console

# its messages quote headers, which may name a patient
[logger_pydicom]
level=CRITICAL
handlers=
propagate=0
qualname=pydicom

[handler_console]
class=StreamHandler
level=INFO
formatter=plain
args=(sys.stdout,)

[formatter_plain]
format=%(asctime)s %(levelname)s %(message)s
"""


def model_configs(trained: BundleFacts) -> dict[str, Config]:
    """Return by name all configs that depend only on the code and the model."""
    return {"inference": inference(trained), "evaluate": evaluate(trained), "train": train(trained)}


def inference(trained: BundleFacts) -> Config:
    """Return ``configs/inference.json``, which denoises a folder of CT series."""
    flags = ("overwrite", "assume_hu", "residual", "uncertainty", "strict", "keep_private")
    return {
        "bundle_root": ".",
        "input": "input",
        "output": "output",
        "strength": 1.0,
        "tile": 0,
        "average_flips": trained.average_flips,
        **dict.fromkeys(flags, False),
        "slice_axis": None,
        "fingerprint": FINGERPRINT if trained.has_fingerprint else "",
        "dataset_dir": "@input",
        "output_dir": "@output",
        **_model(trained),
        "dataset": {
            "_target_": "scripts.bundle.runtime.app.CTFolder",
            "path": "@dataset_dir",
            "mu_water": "@mu_water",
            "mu_air": "@mu_air",
        },
        "options": {
            "_target_": "scripts.inference.folders.DenoiseOptions",
            **{name: f"@{name}" for name in (*flags, "slice_axis")},
        },
        "evaluator": {
            "_target_": "scripts.bundle.runtime.app.FolderDenoiser",
            "dataset": "@dataset",
            "out": "@output_dir",
            "model": "@model",
            "options": "@options",
            "fingerprint": "@fingerprint",
        },
        "run": [{"_target_": "scripts.bundle.runtime.app.run_task", "task": "@evaluator"}],
    }


def evaluate(trained: BundleFacts) -> Config:
    """Return ``configs/evaluate.json``, which scores pairs of low and full dose."""
    return {
        "bundle_root": ".",
        "low": "low_dose",
        "full": "full_dose",
        "output": "output",
        "strength": 1.0,
        "tile": 0,
        "average_flips": trained.average_flips,
        "dataset_dir": "@low",
        "output_dir": "@output",
        **_model(trained),
        "dataset": _pairs(),
        "evaluator": {
            "_target_": "scripts.bundle.runtime.pairs.PairEvaluation",
            "dataset": "@dataset",
            "out": "@output_dir",
            "model": "@model",
        },
        "run": [{"_target_": "scripts.bundle.runtime.app.run_task", "task": "@evaluator"}],
    }


def train(trained: BundleFacts) -> Config:
    """Return ``configs/train.json``, which fine-tunes on pairs with MONAI's trainer and needs pytorch-ignite."""
    return {
        "imports": ["$import monai", "$import torch"],
        "bundle_root": ".",
        "low": "low_dose",
        "full": "full_dose",
        "output": "output",
        "dataset_dir": "@low",
        "output_dir": "@output",
        "max_epochs": 20,
        "learning_rate": 1e-4,
        "batch_size": 16,
        "patch_size": 128,
        "val_fraction": 0.2,
        "val_interval": 1,
        "seed": 0,
        **_network(trained),
        "network": {
            "_target_": "scripts.bundle.runtime.app.load_weights",
            "network": "@network_def",
            "path": "$@bundle_root + '/models/model.pt'",
            "device": "@device",
        },
        "pairs": _pairs(),
        "loss": {"_target_": "torch.nn.L1Loss"},
        "optimizer": {"_target_": "torch.optim.Adam", "params": "$@network.parameters()", "lr": "@learning_rate"},
        "train": _training(),
        "validate": _validation(trained),
        "initialize": ["$monai.utils.set_determinism(@seed)"],
        "run": ["$@train#trainer.run()"],
    }


def _network(trained: BundleFacts) -> Config:
    return {
        "device": {"_target_": "scripts.inference.denoiser.resolve_device", "name": "auto"},
        "network_def": {
            "_target_": "scripts.networks.resnet.ResNetGenerator",
            "spec": {"_target_": "scripts.networks.specs.GeneratorSpec", **asdict(trained.spec)},
        },
        "hu_window": {"_target_": "scripts.ct.hounsfield.HUWindow", **asdict(trained.window)},
        "mu_water": trained.mu_water,
        "mu_air": trained.mu_air,
    }


def _model(trained: BundleFacts) -> Config:
    return {
        **_network(trained),
        "inferer": {
            "_target_": "scripts.bundle.runtime.app.SlicesOrTiles",
            "tile": "@tile",
            "average_flips": "@average_flips",
        },
        "model": {
            "_target_": "scripts.bundle.runtime.app.BundledModel",
            "bundle_root": "@bundle_root",
            "network": "@network_def",
            "window": "@hu_window",
            "mu_water": "@mu_water",
            "mu_air": "@mu_air",
            "device": "@device",
            "inferer": "@inferer",
            "strength": "@strength",
        },
    }


def _pairs() -> Config:
    return {
        "_target_": "scripts.bundle.runtime.pairs.PairFolder",
        "low": "@low",
        "full": "@full",
        "mu_water": "@mu_water",
        "mu_air": "@mu_air",
    }


def _slices(part: str) -> Config:
    return {
        "_target_": "scripts.bundle.runtime.finetuning.PairDataset",
        "pairs": "@pairs",
        "part": part,
        "window": "@hu_window",
        "val_fraction": "@val_fraction",
    }


def _training() -> Config:
    keys = ["image", "label"]
    flips = [{"_target_": "RandFlipd", "keys": keys, "prob": 0.5, "spatial_axis": axis} for axis in (0, 1)]
    crop = {"_target_": "RandSpatialCropd", "keys": keys, "roi_size": ["@patch_size"] * 2, "random_size": False}
    return {
        "preprocessing": {"_target_": "Compose", "transforms": [crop, *flips]},
        "dataset": {"_target_": "Dataset", "data": _slices("train"), "transform": "@train#preprocessing"},
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@train#dataset",
            "batch_size": "@batch_size",
            "shuffle": True,
        },
        "inferer": {"_target_": "SimpleInferer"},
        "handlers": [
            {
                "_target_": "ValidationHandler",
                "validator": "@validate#evaluator",
                "epoch_level": True,
                "interval": "@val_interval",
            },
            {"_target_": "StatsHandler", "tag_name": "train_l1", "output_transform": _from_engine("loss", first=True)},
        ],
        "trainer": {
            "_target_": "SupervisedTrainer",
            "max_epochs": "@max_epochs",
            "device": "@device",
            "train_data_loader": "@train#dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train#inferer",
            "train_handlers": "@train#handlers",
        },
    }


def _validation(trained: BundleFacts) -> Config:
    peak = (2000.0 if trained.window.scale else trained.window.high - trained.window.low) / trained.window.hu_per_unit
    return {
        "dataset": {"_target_": "Dataset", "data": _slices("val")},
        "dataloader": {"_target_": "DataLoader", "dataset": "@validate#dataset", "batch_size": 1},
        "inferer": {"_target_": "SimpleInferer"},
        "key_metric": {
            "val_psnr": {
                "_target_": "PeakSignalToNoiseRatio",
                "max_val": peak,
                "output_transform": _from_engine(["pred", "label"]),
            }
        },
        "handlers": [
            {"_target_": "StatsHandler", "iteration_log": False},
            {
                "_target_": "CheckpointSaver",
                "save_dir": "@output_dir",
                "save_dict": {"model": "@network"},
                "save_key_metric": True,
                "key_metric_filename": "model.pt",
            },
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate#dataloader",
            "network": "@network",
            "inferer": "@validate#inferer",
            "key_val_metric": "@validate#key_metric",
            "val_handlers": "@validate#handlers",
        },
    }


def _from_engine(keys: str | list[str], *, first: bool = False) -> str:
    return f"$monai.handlers.from_engine({keys!r}, first={first})"
