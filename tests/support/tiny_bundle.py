"""The smallest valid bundle folder."""

import json
from pathlib import Path
from typing import Any

import torch

from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec

SPEC = GeneratorSpec(filters=3, blocks=2, dilations=(1, 2), downsamplings=1, kernel=3, zero_last=False)


def bundle_config() -> dict[str, Any]:
    spec = {"_target_": "scripts.networks.specs.GeneratorSpec", "filters": 3, "blocks": 2, "dilations": [1, 2]}
    return {
        "imports": ["$import torch"],
        "network_def": {
            "_target_": "scripts.networks.resnet.ResNetGenerator",
            "spec": {**spec, "downsamplings": 1, "kernel": 3, "zero_last": False},
        },
        "hu_window": {"_target_": "scripts.ct.hounsfield.HUWindow", "low": -1024, "high": 2000.0},
        "mu_water": 0.02,
    }


def write_bundle(folder: Path, config: Any = None) -> ResNetGenerator:
    """Write a bundle with an untrained network, and return the network."""
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "metadata.json").write_text("{}")
    (folder / "configs" / "inference.json").write_text(json.dumps(bundle_config() if config is None else config))
    torch.manual_seed(5)
    network = ResNetGenerator(SPEC)
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return network
