"""Validation: which slices, which figures, and what it says of a denoiser that diverged."""

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from tiny_data import TinyData
from torch import nn

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.slices import StoredSlices, load_slices, open_store
from ctcycle.errors import DivergedError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.training.validation import Validator

CPU = torch.device("cpu")


class Shift(nn.Module):
    """Adds a constant to what it sees."""

    def __init__(self, by: float) -> None:
        super().__init__()
        self.by = by

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.by


@pytest.fixture
def pairs(tiny: TinyData) -> tuple[StoredSlices, StoredSlices]:
    store = open_store(tiny.manifest, None, 0.0192)
    return load_slices(tiny.manifest, store, kernel=None, splits=("train",)).paired("train")


def test_slices_are_evenly_spread(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    low, full = pairs
    chosen = Validator.of(low, full, 4, "hu2000")
    assert len(chosen.low) == len(chosen.full) == 4
    for number, (one, other) in enumerate(zip(chosen.low, chosen.full, strict=True)):
        place = [0, 3, 7, 11][number]
        np.testing.assert_array_equal(one, low[place])
        np.testing.assert_array_equal(other, full[place])
    assert len(Validator.of(low, full, 99, "hu2000").low) == 12
    assert len(Validator.of(low, full, 1, "hu2000").low) == 1


def test_scores_are_means_over_slices_of_the_denoised(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    validator = Validator.of(*pairs, 3, "hu2000")
    unchanged = validator(Denoiser(nn.Identity(), HUWindow(), CPU))
    clipped = [[image.clip(-1000, 1000) for image in images] for images in (validator.full, validator.low)]
    expected = [peak_signal_noise_ratio(full, low, data_range=2000) for full, low in zip(*clipped, strict=True)]
    assert unchanged["val/psnr"] == pytest.approx(np.mean(expected))
    assert unchanged.keys() == {"val/psnr", "val/ssim", "val/rmse_hu"}
    shifted = validator(Denoiser(Shift(0.1), HUWindow(), CPU))
    assert shifted["val/rmse_hu"] > unchanged["val/rmse_hu"] + 20
    assert Validator.of(*pairs, 3, "report2024")(Denoiser(nn.Identity(), HUWindow(), CPU)) != unchanged


def test_a_denoiser_that_left_the_finite_numbers(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    with pytest.raises(DivergedError, match="output is not finite"):
        Validator.of(*pairs, 3, "hu2000")(Denoiser(Shift(float("nan")), HUWindow(), CPU))


@pytest.mark.parametrize("slices", [1, 3])
def test_the_picture(slices: int, pairs: tuple[StoredSlices, StoredSlices], tmp_path: Path) -> None:
    Validator.of(*pairs, slices, "hu2000").draw(Denoiser(nn.Identity(), HUWindow(), CPU), tmp_path / "a" / "b.png")
    assert (tmp_path / "a" / "b.png").read_bytes().startswith(b"\x89PNG")
