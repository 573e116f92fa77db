"""The gain of the discriminators' view."""

from typing import Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from ctcycle.errors import SeriesError
from ctcycle.networks.specs import DiscriminatorSpec
from ctcycle.training.adversarial.gain import measure_gain, needs_gain, with_gain


def body_with_noise(std: float) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[-1:1:128j, -1:1:128j]
    body = np.where(np.hypot(rows, columns) < 0.8, 40.0, -1000.0)
    return [np.rint(body + rng.normal(0, std, body.shape)).astype(np.int16) for _ in range(3)]


@pytest.mark.parametrize("std", [20.0, 60.0])
def test_the_gain_brings_the_noise_to_one(std: float) -> None:
    slices: Any = body_with_noise(std)
    spec = DiscriminatorSpec(sigma_px=3.0)
    gain = measure_gain(slices, spec, hu_per_unit=1000.0)
    noise = slices[0].astype(np.float64) / 1000
    seen = gain * (noise - gaussian_filter(noise, 3.0))[50:78, 50:78]
    assert seen.std() == pytest.approx(1, abs=0.1)
    assert measure_gain(slices, spec, hu_per_unit=4000.0) == pytest.approx(4 * gain)


def test_no_soft_tissue_to_measure_the_noise_in() -> None:
    air: Any = [np.full((64, 64), -1000, np.int16)]
    with pytest.raises(SeriesError, match=r"too little soft tissue .*; set discriminator\.gain to a number"):
        measure_gain(air, DiscriminatorSpec(), 1000.0)


@pytest.mark.parametrize(
    ("gain", "view", "needed"), [("auto", "highpass", True), ("auto", "image", False), (20.0, "highpass", False)]
)
def test_a_gain_is_measured_only_where_it_matters(gain: Any, view: Any, needed: bool) -> None:
    assert needs_gain(DiscriminatorSpec(gain=gain, view=view)) == needed


def test_a_gain_that_was_set_stays() -> None:
    assert with_gain(DiscriminatorSpec(gain=20.0), 3.0).gain == 20.0
    assert with_gain(DiscriminatorSpec(gain="auto"), 3.0).gain == 3.0
