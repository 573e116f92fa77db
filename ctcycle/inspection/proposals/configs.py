"""The proposal as config files that run as they are."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ctcycle.config.loading import load_config
from ctcycle.config.shipped import find_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.data.settings import Source
from ctcycle.errors import one_line
from ctcycle.inspection.proposals.proposal import Proposal

SCAN, SIMULATE, TRAIN = "scan.yaml", "simulate.yaml", "train.yaml"

_LEAST_ITERATIONS = 125
"""Iterations of an epoch on a GPU: 160 epochs of few slices would otherwise be too short."""

_GPU_BATCH = 32
_CPU_PATCH, _GPU_PATCH = 64, 128
_SOURCE_KEYS = ("dose", "dose_fraction", "patient", "split", "slice_axis")
_CPU_GENERATOR = ("generator.downsamplings=2", "generator.skips=true", "generator.dilations=[1]")


def config_files(proposal: Proposal, out: Path, *, gpu: bool) -> dict[str, str]:
    """Return the config files of a proposal: name to content; none if nothing can be trained.

    Args:
        proposal: what to train.
        out: folder of the files; scans and runs go below it.
        gpu: whether to size the training for a GPU.

    Raises:
        ConfigError: a value cannot be written to a config.
    """
    if not proposal.method:
        return {}
    if proposal.method == "simulate":
        return {
            SIMULATE: _text(
                _simulate(proposal, out), "Simulates the low dose of your scans; run this first.", proposal
            ),
            TRAIN: _text(_train(proposal, out, gpu=gpu), "Trains on the simulated pairs.", proposal),
        }
    return {
        SCAN: _text(_scan(proposal, out), "Indexes your scans, with the proposed split; run this first.", proposal),
        TRAIN: _text(_train(proposal, out, gpu=gpu), "Trains on the index.", proposal),
    }


def _scan(proposal: Proposal, out: Path) -> dict[str, Any]:
    names = {split: [name for name, own in proposal.splits.items() if own == split] for split in ("val", "test")}
    split = {key: sorted(value) for key, value in names.items()} | {"val_fraction": 0, "test_fraction": 0}
    overrides = [f"sources={_sources(proposal.sources)}", *_overrides(split, "split."), _path("out", out / "scan")]
    return load_config(find_config("scan"), overrides).resolved


def _simulate(proposal: Proposal, out: Path) -> dict[str, Any]:
    overrides = [f"low_dose.sources={_sources(proposal.sources)}", _path("out", out / "low_dose")]
    return load_config(find_config("low_dose"), overrides).resolved


def _train(proposal: Proposal, out: Path, *, gpu: bool) -> dict[str, Any]:
    simulated = proposal.method == "simulate"
    method = "supervised" if simulated else proposal.method
    patch = min(_GPU_PATCH if gpu else _CPU_PATCH, proposal.side // 8 * 8)
    overrides = [
        _path("data.manifest", out / ("low_dose" if simulated else "scan") / "manifest.csv"),
        _path("out", out / method),
        f"data.patch_size={patch}",
    ]
    if proposal.kernel is not None:
        overrides.append(f"data.kernel={json.dumps(proposal.kernel)}")
    if proposal.scheme is not None:
        overrides.append(f"data.protocol={proposal.scheme}")
    if simulated:
        overrides.append("data.guard=false")  # the low dose was made of the same slices
    name = method if gpu else f"experiments/small_{method}"
    return load_config(find_config(name), [*overrides, *_length(proposal, gpu=gpu)]).resolved


def _length(proposal: Proposal, *, gpu: bool) -> Sequence[str]:
    if not gpu:
        return _CPU_GENERATOR
    batches = -(-proposal.low_slices // _GPU_BATCH)
    return (f"training.iterations_per_epoch={max(batches, _LEAST_ITERATIONS)}",)


def _sources(sources: Sequence[Source]) -> str:
    plain = [
        {"path": str(source.path)}
        | {key: value for key in _SOURCE_KEYS if (value := getattr(source, key)) not in {None, ""}}
        for source in sources
    ]
    return json.dumps(plain, ensure_ascii=False)


def _overrides(values: dict[str, Any], prefix: str) -> list[str]:
    return [f"{prefix}{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]


def _path(key: str, path: Path) -> str:
    return f"{key}={json.dumps(str(path), ensure_ascii=False)}"


def _text(config: dict[str, Any], purpose: str, proposal: Proposal) -> str:
    lines = [purpose, *(f"Why: {reason}." for reason in proposal.reasons), "Every value can be edited."]
    return "".join(f"# {one_line(line)}\n" for line in lines) + dump_yaml(config)
