"""Validation: which slices, which figures, and what it says of a denoiser that diverged."""

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
from ctcycle.metrics import ProtocolName
from ctcycle.metrics.protocols import PROTOCOLS, score
from ctcycle.training.monitor.validation import HUScores, ValidationPairs, make_evaluator

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


def scores(chosen: ValidationPairs, net: nn.Module, protocol: ProtocolName = "hu2000") -> dict[str, float]:
    """The metrics of one run of an evaluator."""
    evaluator = make_evaluator(lambda: Denoiser(net, HUWindow(), CPU), protocol)
    evaluator.logger.disabled = True
    found: dict[str, float] = evaluator.run(chosen).metrics["scores"]
    return found


def test_slices_are_evenly_spread(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    low, full = pairs
    chosen = ValidationPairs.spread(low, full, 4)
    assert len(chosen) == len(list(chosen)) == 4
    for (one, other), place in zip(chosen, [0, 3, 7, 11], strict=True):
        assert one.dtype == other.dtype == np.float32
        np.testing.assert_array_equal(one, low[place])
        np.testing.assert_array_equal(other, full[place])
    assert len(ValidationPairs.spread(low, full, 99)) == 12
    assert len(ValidationPairs.spread(low, full, 1)) == 1
    assert len(ValidationPairs()) == 0


def test_scores_are_means_over_slices_of_the_denoised(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    chosen = ValidationPairs.spread(*pairs, 3)
    unchanged = scores(chosen, nn.Identity())
    clipped = [[image.clip(-1000, 1000) for image in images] for images in (chosen.full, chosen.low)]
    expected = [peak_signal_noise_ratio(full, low, data_range=2000) for full, low in zip(*clipped, strict=True)]
    assert unchanged["psnr"] == pytest.approx(np.mean(expected))
    assert unchanged.keys() == {"psnr", "ssim", "rmse_hu"}
    shifted = scores(chosen, Shift(0.1))
    assert shifted["rmse_hu"] > unchanged["rmse_hu"] + 20
    assert scores(chosen, nn.Identity(), "report2024") != unchanged


def test_every_run_starts_afresh_with_the_denoiser_of_the_moment(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    chosen, nets = ValidationPairs.spread(*pairs, 2), [nn.Identity(), Shift(0.1), nn.Identity()]
    waiting = iter(nets)
    evaluator = make_evaluator(lambda: Denoiser(next(waiting), HUWindow(), CPU), "hu2000")
    first, shifted, again = (evaluator.run(chosen).metrics["psnr"] for _ in nets)
    assert first == again != shifted


def test_the_metric_alone_is_the_protocols_score() -> None:
    rng = np.random.default_rng(0)
    images = [tuple(rng.normal(0, 50, (2, 32, 32)).astype(np.float32)) for _ in range(3)]
    metric = HUScores("hu2000")
    for denoised, full in images:
        metric.update((denoised, full))
    single = [score(PROTOCOLS["hu2000"], denoised, full) for denoised, full in images]
    for name, value in metric.compute().items():
        assert value == pytest.approx(np.mean([getattr(one, name) for one in single]), rel=1e-12)
    metric.reset()
    metric.update(images[0])  # type: ignore[arg-type]
    assert metric.compute()["psnr"] == pytest.approx(single[0].psnr, rel=1e-12)


def test_a_denoiser_that_left_the_finite_numbers(pairs: tuple[StoredSlices, StoredSlices]) -> None:
    with pytest.raises(DivergedError, match="output is not finite"):
        scores(ValidationPairs.spread(*pairs, 3), Shift(float("nan")))
