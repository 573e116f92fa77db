import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.ct.hounsfield import HUWindow, MuScale, hu_to_mu, mu_to_hu

TEXT_FORM = HUWindow()
CODE_FORM = HUWindow(low=-1000.0, clip_upper=False, scale=4000.0)
WINDOWS = [TEXT_FORM, CODE_FORM, HUWindow(-160, 240), HUWindow(-999.5, 1000.25), HUWindow(-500, 700, scale=100.0)]
every_window = pytest.mark.parametrize("window", WINDOWS, ids=str)
finite_hu = st.floats(-1e5, 1e5, allow_nan=False)


@pytest.mark.parametrize(
    ("window", "hu", "values"),
    [
        (TEXT_FORM, [-2000, -1000, 0, 250, 1000, 3000], [-1, -1, 0, 0.25, 1, 1]),
        (CODE_FORM, [-2000, -1000, 0, 250, 1000, 3000], [-0.25, -0.25, 0, 0.0625, 0.25, 0.75]),
        (HUWindow(-160, 240), [-161, -160, 40, 240, 241], [-1, -1, 0, 1, 1]),
        (HUWindow(-160, 240, clip_upper=False), [-161, 40, 440], [-1, 0, 2]),
        (HUWindow(-100, 300, scale=100.0), [-200, 0, 50, 400], [-1, 0, 0.5, 3]),
    ],
)
def test_a_window_maps_hu_as_written(window: HUWindow, hu: list[float], values: list[float]) -> None:
    assert window.normalise(np.array(hu, np.float32)).tolist() == pytest.approx(values)
    assert [window.normalise(np.float64(value)) for value in hu] == pytest.approx(values)


@every_window
@given(hu=finite_hu)
def test_denormalise_undoes_normalise_inside_the_window_and_clips_outside(window: HUWindow, hu: float) -> None:
    seen = max(hu, window.low) if not window.clip_upper else min(max(hu, window.low), window.high)
    there = window.normalise(np.float64(hu))
    assert window.denormalise(there) == pytest.approx(seen, rel=1e-12, abs=1e-9)
    assert window.clip(np.float64(hu)) == seen
    if window.scale is None and window.clip_upper:
        assert -1 <= there <= 1


@every_window
def test_numpy_and_torch_agree_bit_for_bit_in_single_precision(window: HUWindow) -> None:
    hu = np.linspace(-3000, 4000, 20_011, dtype=np.float32).reshape(1, -1)
    values = window.normalise(torch.from_numpy(hu))
    assert values.dtype == torch.float32
    assert values.numpy().tobytes() == window.normalise(hu).tobytes()
    assert window.denormalise(values).numpy().tobytes() == window.denormalise(window.normalise(hu)).tobytes()


def test_whole_numbers_are_taken_and_not_changed() -> None:
    hu = np.array([[-1500, 7, 1500]], np.int16)
    for image in (hu, torch.from_numpy(hu)):
        assert TEXT_FORM.normalise(image).tolist() == [[-1, pytest.approx(0.007), 1]]
    assert hu.tolist() == [[-1500, 7, 1500]]


@pytest.mark.parametrize(
    "changes",
    [
        {"low": 10, "high": 10},
        {"low": 11, "high": 10},
        {"low": math.nan},
        {"low": -math.inf},
        {"high": math.inf},
        {"scale": 0.0},
        {"scale": -1.0},
        {"scale": math.nan},
    ],
)
def test_impossible_windows_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="HU window"):
        HUWindow(**changes)


@pytest.mark.parametrize(
    ("mu", "hu"), [(0.0192, 0.0), (0.0, -1000.0), (0.0384, 1000.0), (0.0194, 1000 * 0.0002 / 0.0192)]
)
def test_attenuation_as_the_report_has_it(mu: float, hu: float) -> None:
    assert mu_to_hu(np.float64(mu)) == pytest.approx(hu, abs=1e-9)
    assert hu_to_mu(np.float64(hu)) == pytest.approx(mu, abs=1e-12)


def test_the_other_groups_water_is_ten_hu_away() -> None:
    assert mu_to_hu(np.float64(0.0192), mu_water=0.0194) == pytest.approx(-10.309, abs=1e-3)


@given(hu=finite_hu, water=st.floats(0.015, 0.03), air=st.floats(0, 1e-3))
def test_attenuation_round_trip(hu: float, water: float, air: float) -> None:
    mu = hu_to_mu(np.float64(hu), water, air)
    assert mu == pytest.approx(water + hu / 1000 * (water - air), rel=1e-12, abs=1e-12)
    assert mu_to_hu(mu, water, air) == pytest.approx(hu, rel=1e-9, abs=1e-8)
    assert mu_to_hu(torch.tensor(mu, dtype=torch.float64), water, air).item() == mu_to_hu(mu, water, air)


@pytest.mark.parametrize(("water", "air"), [(0.0192, 0.0192), (0.0192, 0.02), (0.0192, -0.001), (float("nan"), 0.0)])
def test_air_attenuates_less_than_water(water: float, air: float) -> None:
    with pytest.raises(ValueError, match=r"needs 0 <= mu_air < mu_water"):
        MuScale(water, air)
