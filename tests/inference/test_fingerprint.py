"""Fingerprints: measured right, and telling foreign series from those that a model knows."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_measures as by_scipy
from numpy.typing import NDArray
from scipy import ndimage
from textured_noise import noisy_trunk, series_of

from ctcycle.ct.series_io import find_series, sample_slices
from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import (
    EDGES_HU,
    Fingerprint,
    departures,
    measure_fingerprint,
    read_fingerprint,
    series_warnings,
)

Slices = NDArray[np.float32]
SOFT, SHARP = 0.7, 0.35


def trunk(noise_hu: float = 30.0, kernel_px: float = SOFT, count: int = 4, seed: int = 0) -> Slices:
    """Slices of a trunk: a rim of fat, organs with and without contrast, a lung, bones; noise through a kernel."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1:1:192j, -1:1:192j]
    body = np.hypot(rows / 0.75, columns / 0.95)
    hu = np.where(body < 1, -100.0, -1000.0)
    hu[body < 0.85] = 50.0
    for row, column, size, value in (
        (-0.2, 0.4, 0.25, 120),
        (0.1, -0.4, 0.2, -850),
        (0.5, 0, 0.1, 600),
        (0.2, 0.2, 0.1, 5),
    ):
        hu[np.hypot(rows - row, columns - column) < size] = value
    grain = ndimage.gaussian_filter(rng.normal(0, 1, (count, *hu.shape)), (0, kernel_px, kernel_px), mode="wrap")
    return (hu + noise_hu * grain / grain.std()).astype(np.float32)


@pytest.mark.parametrize("noise_hu", [0.0, 5.0, 40.0])
@pytest.mark.parametrize("shape", [(192, 192), (150, 101)])
def test_noise_is_that_in_soft_tissue(noise_hu: float, shape: tuple[int, int]) -> None:
    hu = trunk(noise_hu, count=1)[0, : shape[0], : shape[1]]
    found = measure_fingerprint([hu]).noise_hu
    assert found == pytest.approx((by_scipy.soft_tissue_noise(hu),) * 3, rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("hu", [np.full((64, 64), -1000.0), np.zeros((14, 300)), np.full((16, 16), 40.0)])
def test_too_little_tissue_has_no_noise(hu: NDArray[np.float64]) -> None:
    found = measure_fingerprint([hu])
    assert all(map(math.isnan, (*found.noise_hu, *found.correlation)))


@pytest.mark.parametrize("kernel_px", [0.5, 0.7, 1.0])
@pytest.mark.parametrize("noise_hu", [10.0, 60.0])
def test_correlation_is_that_of_the_kernel(kernel_px: float, noise_hu: float) -> None:
    weights = np.exp(-0.5 * (np.arange(-9, 10) / kernel_px) ** 2)
    expected = (weights[1:] @ weights[:-1]) / (weights @ weights)
    found = measure_fingerprint(trunk(noise_hu, kernel_px)).correlation
    assert found == pytest.approx((expected,) * 3, abs=0.06)


def test_percentiles_and_histogram_are_over_all_slices() -> None:
    slices = [np.full((40, 50), value, dtype=np.float32) for value in (-1000, -850, -100, 50, 50, 1000)]
    found = measure_fingerprint(slices)
    expected = [
        np.mean([low <= hu[0, 0] < high for hu in slices])
        for low, high in zip((-9e9, *EDGES_HU), (*EDGES_HU, 9e9), strict=True)
    ]
    assert found.histogram == pytest.approx(expected)
    noises = np.linspace(10, 50, 9)
    mixed = [trunk(noise, count=1)[0] for noise in noises]
    measured = [by_scipy.soft_tissue_noise(hu) for hu in mixed]
    assert measure_fingerprint(mixed).noise_hu == pytest.approx(np.percentile(measured, [5, 50, 95]), rel=1e-6)


def test_noise_does_not_move_the_histogram() -> None:
    clean, noisy = (measure_fingerprint(trunk(noise)).histogram for noise in (1.0, 60.0))
    assert np.abs(np.subtract(clean, noisy)).sum() / 2 < 0.06


def test_no_slices_have_no_fingerprint() -> None:
    with pytest.raises(ValueError, match="at least one slice"):
        measure_fingerprint([])


@pytest.mark.parametrize("slices", [trunk(), np.full((2, 20, 20), -1000.0)])
def test_it_goes_through_a_file(slices: Slices, tmp_path: Path) -> None:
    fingerprint = measure_fingerprint(slices)
    path = tmp_path / "fingerprint.json"
    path.write_text(json.dumps(fingerprint.as_dict(), allow_nan=False))
    assert repr(read_fingerprint(path)) == repr(fingerprint)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:40],
        lambda _text: "[1, 2]",
        lambda text: text.replace("noise_hu", "noise"),
        lambda text: text.replace("-900.0", "-901.0"),
        lambda text: text.replace('"histogram": [', '"histogram": [0.5, '),
        lambda text: text.replace('"correlation": [', '"correlation": ["x", '),
    ],
)
def test_a_damaged_file_is_refused(spoil: Callable[[str], str], tmp_path: Path) -> None:
    path = tmp_path / "fingerprint.json"
    path.write_text(spoil(json.dumps(measure_fingerprint(trunk()).as_dict())))
    with pytest.raises(BundleError, match=r"fingerprint\.json: not a fingerprint \(.*\); export the bundle again$"):
        read_fingerprint(path)


@pytest.mark.parametrize(
    "slices", [trunk(seed=1), trunk(25, seed=2), trunk(40, seed=3), trunk(30, 0.8, seed=4), trunk(seed=5)[:, :, ::-1]]
)
def test_what_is_like_the_training_goes_without_a_word(slices: Slices) -> None:
    assert departures(measure_fingerprint(trunk()), slices) == []


@pytest.mark.parametrize(
    ("slices", "sentence"),
    [
        (
            trunk(6),
            r"^noise of [56]\.\d* HU in soft tissue; the model was trained on 29.* HU, so there is little noise",
        ),
        (trunk(80), r"^noise of \d\d\.?\d? HU in soft tissue; .* so noise may remain or details may be lost$"),
        (
            trunk(30, SHARP),
            r"noise correlation of 0\.0\d between .*; the model was trained on 0\.53 to 0\.56, so .* a sharper kernel",
        ),
        (trunk(30, 1.5), r"noise correlation of 0\.8\d between .*; .* a softer kernel"),
        ((trunk() + 1000) / 12, r"of the tissue has different HU from .* mostly between -30 and 20 HU, .* not CT$"),
        (trunk() / 1000, r"of the tissue has different HU from .* mostly between -30 and 20 HU"),
        ((trunk() + 1000) * 0.7, r"of the tissue has different HU from .* mostly above 500 HU, .* not CT$"),
        (trunk() * 0 - 1000, r"0\.0% of the images is tissue; the model was trained on \d\d\.\d%"),
        (trunk() * 0 + 700, r"mostly above 500 HU"),
    ],
)
def test_what_departs_is_told_with_both_figures(slices: Slices, sentence: str) -> None:
    found = departures(measure_fingerprint(trunk()), slices)
    assert [text for text in found if re.search(sentence, text)], found
    assert all("\n" not in text and not text.endswith(".") for text in found)


def test_a_model_of_both_kernels_takes_both() -> None:
    both = measure_fingerprint([*trunk(30), *trunk(60, SHARP)])
    assert departures(both, trunk(30, seed=1)) == departures(both, trunk(60, SHARP, seed=1)) == []
    assert len(departures(measure_fingerprint(trunk(30)), trunk(60, SHARP))) == 2


def test_a_model_of_which_no_noise_is_known_is_compared_by_tissue_alone() -> None:
    slices = np.concatenate(
        [np.full((2, 100, 40), value, dtype=np.float32) for value in (-1000, -100, 60, 170)], axis=1
    )
    known = measure_fingerprint(slices)
    unknown = Fingerprint((math.nan,) * 3, known.histogram, (math.nan,) * 3)
    assert departures(unknown, slices) == []
    assert len(departures(unknown, slices + 300)) == 1


@pytest.mark.parametrize(
    ("trained_hu", "noise_hu", "given", "is_warned_of"),
    [
        ((13.0, 59.0, 144.0), 16.0, True, True),
        ((13.0, 59.0, 144.0), 16.0, False, False),  # strength 0 or auto
        ((13.0, 59.0, 144.0), 45.0, True, False),
        ((14.0, 18.0, 24.0), 16.0, True, False),  # what the model was trained to denoise
        ((28.0, 36.0, 48.0), 16.0, True, True),
        (None, 16.0, True, True),
    ],
)
def test_over_smoothing_is_warned_of_unless_the_training_was_like_that(
    trained_hu: tuple[float, float, float] | None, noise_hu: float, given: bool, is_warned_of: bool
) -> None:
    sample = series_of(noisy_trunk(noise_hu))
    measured = measure_fingerprint(sample.hu)
    fingerprint = trained_hu and Fingerprint(trained_hu, measured.histogram, measured.correlation)
    found = series_warnings(sample, fingerprint, strength_is_given=given)
    assert any("a routine dose has about" in text for text in found) == is_warned_of


@pytest.mark.real_data
def test_real_series_like_the_training_pass_and_others_do_not(real_data: Path) -> None:
    pairs, volumes = real_data / "mayo2016_pairs", real_data / "volumes"
    trunks = {info.path.name: sample_slices(info, 3).hu for info in find_series(volumes)[0]}
    head = next(trunks.pop(name) for name in list(trunks) if "head" in name)
    lung = next(trunks.pop(name) for name in list(trunks) if "lung" in name)
    low = {
        info.files[0].name: sample_slices(info, 3).hu for info in find_series(pairs)[0] if "QD" in info.files[0].name
    }
    soft = [hu for name, hu in low.items() if "B30f" in name]
    sharp = [hu for name, hu in low.items() if "D45f" in name]
    of_soft, of_sharp = (measure_fingerprint(np.concatenate(group)) for group in (soft, sharp))
    of_trunks = measure_fingerprint(np.concatenate([hu[:2] for hu in trunks.values() if hu.shape[1:] == (512, 512)]))
    for fingerprint, known in ((of_soft, soft), (of_sharp, sharp), (of_trunks, list(trunks.values()))):
        assert [departures(fingerprint, hu) for hu in known] == [[]] * len(known)
        assert departures(fingerprint, head)
    assert any("sharper kernel" in text for text in departures(of_soft, lung) + departures(of_trunks, lung))
