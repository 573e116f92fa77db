"""The strength that leaves the noise of a routine dose, and no less."""

import re

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from textured_noise import noisy_trunk, series_of
from torch import Tensor, nn

from ctcycle.ct.hounsfield import HUWindow
from ctcycle.ct.measures import soft_tissue_noise
from ctcycle.errors import SeriesError
from ctcycle.inference.auto_strength import MOST_SLICES, choose_strength
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.routine_dose import dose_level


class Smoother(nn.Module):
    """Replaces a slice by a smoothed one; counts its calls."""

    def __init__(self, sigma: float) -> None:
        super().__init__()
        self.sigma, self.calls = sigma, 0

    def forward(self, image: Tensor) -> Tensor:
        self.calls += 1
        return torch.from_numpy(gaussian_filter(image.numpy(), (0, 0, self.sigma, self.sigma)))


def smoother(sigma: float = 2.0, strength: float = 1.0) -> Denoiser:
    return Denoiser(Smoother(sigma), HUWindow(), torch.device("cpu"), strength=strength)


def median_noise(slices: np.ndarray) -> float:
    return float(np.median([soft_tissue_noise(hu) for hu in slices]))


@pytest.mark.parametrize("noise_hu", [45.0, 60.0, 90.0])
@pytest.mark.parametrize("cut_off", [0.3, 0.45])
def test_what_is_left_is_the_noise_of_a_routine_dose_and_no_less(noise_hu: float, cut_off: float) -> None:
    sample = series_of(noisy_trunk(noise_hu * cut_off / 0.3, cut_off, 4))
    denoiser = smoother()
    choice = choose_strength(denoiser, sample)
    assert 0 < choice.strength < 1
    level = dose_level(sample.info, sample.hu)
    assert (choice.noise_hu, choice.routine_hu) == (level.noise_hu, level.routine_hu)
    for extra, below in ((0.0, False), (0.03, True)):
        result = denoiser.with_strength(choice.strength + extra)(sample.hu)
        assert (median_noise(result) < 0.99 * level.routine_hu) == below
    assert median_noise(denoiser.with_strength(choice.strength)(sample.hu)) == pytest.approx(level.routine_hu, rel=0.03)
    assert choice.left_hu == pytest.approx(level.routine_hu, rel=0.03)


def test_a_weak_network_is_applied_in_full() -> None:
    choice = choose_strength(smoother(0.3), series_of(noisy_trunk(80.0)))
    assert choice.strength == 1
    assert choice.routine_hu < choice.left_hu < choice.noise_hu


@pytest.mark.parametrize("noise_hu", [3.0, 12.0, 18.0])
def test_a_routine_dose_is_left_alone_without_asking_the_network(noise_hu: float) -> None:
    denoiser = smoother()
    choice = choose_strength(denoiser, series_of(noisy_trunk(noise_hu)))
    assert (choice.strength, choice.left_hu) == (0, choice.noise_hu)
    assert isinstance(denoiser.generator, Smoother)
    assert denoiser.generator.calls == 0
    assert re.match(
        r"^strength=auto: 0 \(noise of [\d.]+ HU in soft tissue, about [\d.]+ HU at a routine dose\); already at "
        r"routine dose, left unchanged$",
        choice.sentence(),
    )


def test_few_slices_are_denoised_whatever_the_length_and_own_strength() -> None:
    slices = noisy_trunk(60.0, count=9)
    slices[::2] = -1000.0  # no tissue there
    sample = series_of(slices)
    denoiser = smoother(strength=0.1)
    choice = choose_strength(denoiser, sample)
    assert isinstance(denoiser.generator, Smoother)
    assert denoiser.generator.calls == MOST_SLICES
    assert choice == choose_strength(smoother(strength=2.0), sample)
    assert denoiser.strength == 0.1
    assert re.match(rf"^strength=auto: {choice.strength:.2f} \(.*\); leaves [\d.]+ HU$", choice.sentence())
    assert choice.as_dict()["strength"] == choice.strength


def test_the_strength_is_the_same_for_a_thin_and_a_thick_patient_part() -> None:
    """The noise falls by one factor over the series, so that a noisier slice stays noisier."""
    levels = np.array([40.0, 60.0, 90.0])
    slices = np.concatenate([noisy_trunk(level, count=1) for level in levels])
    choice = choose_strength(smoother(), series_of(slices))
    left = [soft_tissue_noise(hu) for hu in smoother(strength=choice.strength)(slices)]
    assert np.asarray(left) / levels == pytest.approx([choice.routine_hu / choice.noise_hu] * 3, rel=0.1)


def test_without_a_known_routine_dose_a_number_is_asked_for() -> None:
    sample = series_of(noisy_trunk(40.0), pixel_mm=0.0)
    with pytest.raises(
        SeriesError,
        match=r"^ct\.nii: strength=auto: pixel size or slice thickness is unknown; set strength to a number from 0",
    ):
        choose_strength(smoother(), sample)
