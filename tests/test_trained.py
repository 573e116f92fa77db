"""Trained denoisers: from run folders and bundle folders, and what is neither."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ctcycle.errors import BundleError
from ctcycle.hounsfield import HUWindow
from ctcycle.trained import load_denoiser


@pytest.mark.parametrize("checkpoint", ["best", "last"])
def test_a_run_folder_gives_its_running_mean(tiny_run: Path, checkpoint: str) -> None:
    denoiser = load_denoiser(tiny_run, checkpoint, "cpu")
    state = torch.load(tiny_run / "checkpoints" / f"{checkpoint}.pt", weights_only=True)
    for name, value in denoiser.generator.state_dict().items():
        assert torch.equal(value, state["denoiser"][name] if checkpoint == "best" else state["ema"][f"module.{name}"])
    assert denoiser.window == HUWindow()


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (
            shutil.rmtree,
            r"run: not a run folder \(no config\.yaml in it\); train first, or name another",
        ),
        (lambda run: (run / "config.yaml").write_text("net: x\nlr: 2"), r"run: its config\.yaml is not that of a run"),
        (lambda run: (run / "checkpoints" / "best.pt").unlink(), r"best\.pt: there is no such checkpoint; train first"),
        (
            lambda run: (run / "checkpoints" / "best.pt").write_bytes(b"x" * 99),
            r"best\.pt: damaged, or not a checkpoint",
        ),
        (
            lambda run: (run / "config.yaml").write_text(
                (run / "config.yaml").read_text().replace("filters: 4", "filters: 5")
            ),
            r"run: weights of best\.pt do not fit the generator of its config",
        ),
        (
            lambda run: (run / "config.yaml").write_text("task: scan\nsources: [{path: x}]"),
            r"run: holds a run of task 'scan'; a denoiser comes from task 'train'",
        ),
    ],
)
def test_what_is_no_run_is_told_in_a_sentence(tiny_run: Path, tmp_path: Path, spoil: Any, sentence: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    spoil(run)
    with pytest.raises(BundleError, match=sentence) as error:
        load_denoiser(run, "best", "cpu")
    assert error.value.exit_code == 4
    assert "\n" not in str(error.value)
