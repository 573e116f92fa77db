"""Slices as pictures: what a browser gets back of them."""

import numpy as np
import pytest

from ctcycle.viewer.packing import STEPS, choose_step, decoded, display_error, images, jpeg, levels


def pair(sigma_hu: float = 30.0, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    after = np.full((side, side), 40.0, dtype=np.float32)
    after[:, : side // 3] = -850.0
    after[: side // 3, side // 2 :] = 900.0
    return (after + rng.normal(0, sigma_hu, after.shape)).astype(np.float32), after


def test_levels_hold_both_slices() -> None:
    before, after = pair()
    packed = levels(before, after)
    assert packed.shape == (192, 96)
    shown_before, shown_after = images(packed)
    for region, step in ((after == 40, 500 / 128), (after == -850, 824 / 64), (after == 900, 1900 / 63)):
        assert np.abs(shown_after - after)[region].max() <= step / 2 + 1e-3
        assert np.abs(shown_before - shown_after - (before - after))[region].max() <= 2.0 + 1e-3


def test_an_unchanged_slice_has_no_residual() -> None:
    _before, after = pair()
    before_shown, after_shown = images(decoded(jpeg(levels(after, after), 8)))
    assert np.abs(before_shown - after_shown).max() == 0


def test_values_beyond_the_scale_are_clipped() -> None:
    before, after = (np.full((16, 16), value, dtype=np.float32) for value in (-5000.0, 9000.0))
    assert set(np.unique(levels(before, after)).tolist()) == {0, 255}


def test_compression_is_mild_in_soft_tissue() -> None:
    texture = np.random.default_rng(1).normal(0, 12, (96, 96)).astype(np.float32)
    pairs = [tuple(image + texture for image in pair(20.0))]
    assert 1.0 < display_error(pairs, 2) < 4.0
    assert display_error(pairs, 16) > 1.5 * display_error(pairs, 2)
    assert display_error([(texture - 900, texture - 900)], 2) == 0.0  # no soft tissue


@pytest.mark.parametrize("share", [0.3, 0.6, 1.5])
def test_step_follows_from_the_size(share: float) -> None:
    packed = levels(*pair())
    best = len(jpeg(packed, STEPS[0])) * 4 / 3 * 100
    step = choose_step([packed], 100, share * best)
    assert (step == STEPS[0]) == (share >= 1)
    assert len(jpeg(packed, step)) * 4 / 3 * 100 <= max(share * best, len(jpeg(packed, STEPS[-1])) * 4 / 3 * 100)
