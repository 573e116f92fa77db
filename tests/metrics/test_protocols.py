"""PSNR, SSIM, RMSE and MAE against closed forms and a direct computation of SSIM from its definition."""

import csv
import os
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ctcycle.errors import SeriesError
from ctcycle.metrics import PROTOCOL_NAMES
from ctcycle.metrics.protocols import PROTOCOLS, body_mask, score

REAL = Path(os.environ.get("CTCYCLE_REAL_DATA", Path(__file__).parents[3] / "shared" / "data"))
WINDOWS = [("hu2000", -1000.0, 1000.0), ("abdomen", -160.0, 240.0), ("dugan", -300.0, 300.0)]


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:40, :36]
    reference = 900.0 * np.sin(rows / 7) * np.cos(columns / 5) + rng.normal(0, 60, rows.shape)
    return reference + rng.normal(5, 80, rows.shape), reference


def ssim_by_definition(a, b, kernel, data_range, sample_covariance, mask=None):
    """Eq. 13 of Wang et al. 2004, window by window."""
    width = len(kernel)
    weights = np.outer(kernel, kernel)
    first, second = (np.lib.stride_tricks.sliding_window_view(image, (width, width)) for image in (a, b))
    mean = lambda windows: (windows * weights).sum(axis=(-2, -1))  # noqa: E731
    mean_a, mean_b = mean(first), mean(second)
    centred_a, centred_b = first - mean_a[..., None, None], second - mean_b[..., None, None]
    factor = width**2 / (width**2 - 1) if sample_covariance else 1.0
    var_a, var_b, cov = (factor * mean(p) for p in (centred_a**2, centred_b**2, centred_a * centred_b))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    border = width // 2
    return values.mean() if mask is None else values[mask[border:-border, border:-border]].mean()


def gaussian_kernel():
    taps = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    return taps / taps.sum()


def test_every_name_of_the_config_has_its_protocol():
    assert tuple(sorted(PROTOCOLS)) == tuple(sorted(PROTOCOL_NAMES))
    assert all(protocol.name == name for name, protocol in PROTOCOLS.items())


@pytest.mark.parametrize(("name", "low", "high"), WINDOWS)
def test_a_constant_offset_in_closed_form(name, low, high):
    reference = np.random.default_rng(0).uniform(low + 20, high - 20, (32, 32))
    scores = score(PROTOCOLS[name], reference - 10, reference)
    assert scores.rmse_hu == pytest.approx(10, abs=1e-9)
    assert scores.mae_hu == pytest.approx(10, abs=1e-9)
    assert scores.bias_hu == pytest.approx(-10, abs=1e-9)
    assert scores.psnr == pytest.approx(20 * np.log10((high - low) / 10), abs=1e-9)


def test_the_report_divides_by_the_references_maximum():
    reference = np.full((16, 16), 40.0)
    reference[3, 4] = 1500.0
    scores = score(PROTOCOLS["report2024"], reference + 10, reference)
    assert scores.psnr == pytest.approx(20 * np.log10(2500 / 10), abs=1e-9)
    assert scores.rmse_hu == pytest.approx(10, abs=1e-9)


@pytest.mark.parametrize(("name", "low", "high"), WINDOWS)
def test_values_outside_the_window_count_as_its_ends(name, low, high):
    reference = np.full((16, 16), (low + high) / 2)
    reference[:8] = high + 500
    output = reference.copy()
    output[:8] = high + 5000
    assert score(PROTOCOLS[name], output, reference).rmse_hu == 0
    output[8:] = low - 777
    assert score(PROTOCOLS[name], output, reference).rmse_hu == pytest.approx((high - low) / 2 / np.sqrt(2))


def test_the_report_clips_below_only():
    reference = np.full((16, 16), -1000.0)
    reference[:8] = 3000.0
    output = np.where(reference < 0, -2000.0, 3100.0)
    scores = score(PROTOCOLS["report2024"], output, reference)
    assert scores.mae_hu == pytest.approx(50)
    assert scores.psnr == pytest.approx(20 * np.log10(4000 / np.sqrt(5000)))


@pytest.mark.parametrize(("name", "low", "high"), WINDOWS)
@pytest.mark.parametrize("masked", [False, True])
def test_gaussian_ssim_is_its_definition(images, name, low, high, masked):
    mask = np.random.default_rng(1).random(images[0].shape) > 0.6 if masked else None
    clipped = [np.clip(image, low, high) for image in images]
    shifted = [image + 300.0 for image in clipped] if name == "dugan" else clipped
    expected = ssim_by_definition(*shifted, gaussian_kernel(), high - low, sample_covariance=False, mask=mask)
    assert score(PROTOCOLS[name], *images, mask).ssim == pytest.approx(expected, abs=1e-6)


def test_the_reports_ssim_is_its_definition(images):
    reference = np.maximum(images[1], -1000)
    mapped = [(np.maximum(image, -1000) + 1000) / (reference.max() + 1000) for image in images]
    expected = ssim_by_definition(*mapped, np.full(7, 1 / 7), 2.0, sample_covariance=True)
    assert score(PROTOCOLS["report2024"], *images).ssim == pytest.approx(expected, abs=1e-6)


def test_pixelwise_figures_are_taken_inside_the_mask(images):
    output, reference = (np.clip(image, -1000, 1000) for image in images)
    mask = np.zeros(output.shape, dtype=bool)
    mask[10:20, 12:30] = True
    error = (output - reference)[10:20, 12:30]
    scores = score(PROTOCOLS["hu2000"], *images, mask)
    assert scores.rmse_hu == pytest.approx(np.sqrt((error**2).mean()))
    assert scores.mae_hu == pytest.approx(np.abs(error).mean())
    assert scores.bias_hu == pytest.approx(error.mean())
    assert scores.psnr == pytest.approx(10 * np.log10(2000**2 / (error**2).mean()))


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_a_mask_of_everything_changes_nothing(images, name):
    plain, masked = score(PROTOCOLS[name], *images), score(PROTOCOLS[name], *images, np.ones(images[0].shape, bool))
    assert masked.ssim == pytest.approx(plain.ssim, abs=1e-12)
    assert masked.psnr == pytest.approx(plain.psnr, abs=1e-12)


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_equal_images_have_infinite_psnr(images, name):
    scores = score(PROTOCOLS[name], images[1].astype(np.float32), images[1].astype(np.float32))
    assert scores.psnr == np.inf
    assert scores.ssim == pytest.approx(1, abs=1e-12)
    assert scores.rmse_hu == scores.mae_hu == scores.bias_hu == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(images, bad):
    output = images[0].copy()
    output[2, 3] = bad
    with pytest.raises(SeriesError, match="1 values are not finite"):
        score(PROTOCOLS["hu2000"], output, images[1])


@pytest.mark.parametrize(
    ("output", "reference", "mask", "message"),
    [
        (np.zeros((16, 16)), np.zeros((16, 17)), None, r"shapes are .* and .*; must be the same \(H, W\)"),
        (np.zeros((2, 16, 16)), np.zeros((2, 16, 16)), None, r"shapes are .* and .*; must be the same \(H, W\)"),
        (np.zeros((10, 16)), np.zeros((10, 16)), None, "at least 11 px"),
        (np.zeros((16, 16)), np.ones((16, 16)), np.zeros((16, 16), bool), "and 0 pixels"),
        (np.zeros((16, 16)), np.ones((16, 16)), np.ones((16, 15), bool), "slice's shape"),
    ],
)
def test_what_cannot_be_scored_is_refused(output, reference, mask, message):
    with pytest.raises(SeriesError, match=message):
        score(PROTOCOLS["hu2000"], output, reference, mask)


def test_the_report_cannot_score_air_alone():
    with pytest.raises(SeriesError, match="no value above -1000"):
        score(PROTOCOLS["report2024"], np.zeros((16, 16)), np.full((16, 16), -1000.0))


def test_the_body_is_the_largest_part_with_its_holes():
    hu = np.full((60, 60), -1000.0)
    hu[10:40, 10:50] = 40
    hu[20:30, 20:30] = -900
    hu[50:55, 5:55] = 100
    hu[8:10, 10:50] = -600  # a foam pad
    hu[40, 10:50] = -400
    expected = np.zeros((60, 60), bool)
    expected[10:41, 10:50] = True
    assert np.array_equal(body_mask(hu), expected)
    assert not body_mask(np.full((8, 8), -1000.0)).any()


def read_hu(path):
    if path.suffix == ".npy":
        return np.load(path)
    dataset = pydicom.dcmread(path)
    return dataset.pixel_array * float(dataset.RescaleSlope) + float(dataset.RescaleIntercept)


@pytest.mark.real_data
@pytest.mark.skipif(not (REAL / "mayo2016_pairs" / "pairs.csv").exists(), reason="the folder of real CT is absent")
def test_the_psnr_of_real_pairs_is_the_one_on_record():
    for line in list(csv.DictReader((REAL / "mayo2016_pairs" / "pairs.csv").read_text().splitlines()))[::4]:
        scores = score(PROTOCOLS["hu2000"], *(read_hu(REAL / line[dose]) for dose in ("low_dose", "full_dose")))
        assert scores.psnr == pytest.approx(float(line["psnr_hu2000"]), abs=1e-3)
        assert scores.ssim == pytest.approx(float(line["ssim_win7"]), abs=0.02)


def by_scikit_image(name, output, reference):
    """PSNR and SSIM as the projects behind the protocols compute them, on their own scales."""
    from skimage.metrics import peak_signal_noise_ratio, structural_similarity

    gaussian = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    mapped, psnr_range, ssim_range, options = {
        "hu2000": (lambda hu: hu.clip(-1000, 1000), 2000, 2000, gaussian),
        "report2024": (lambda hu: (hu.clip(-1000) + 1000) / (reference.clip(-1000).max() + 1000), 1, 2, {}),
        "abdomen": (lambda hu: hu.clip(-160, 240), 400, 400, gaussian),
        "dugan": (lambda hu: (hu.clip(-300, 300) + 300) / 600, 1, 1, gaussian),
        "ldctbench": (lambda hu: ((hu + 1024 - (1024 + 50 - 200)) / 400).clip(0, 1), 1, 1, {}),
        "kwon": (lambda hu: hu.clip(-1000) / 4000, reference.max() / 4000, reference.max() / 4000, {}),
    }[name]
    first, second = mapped(reference), mapped(output)
    _, similarity = structural_similarity(first, second, data_range=ssim_range, full=True, **options)
    border = 5 if options else 3
    psnr = peak_signal_noise_ratio(first, second, data_range=psnr_range)
    return psnr, similarity[border:-border, border:-border].mean()


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_every_protocol_is_what_scikit_image_finds(images, name):
    scores = score(PROTOCOLS[name], *images)
    psnr, ssim = by_scikit_image(name, *images)
    assert scores.psnr == pytest.approx(psnr, abs=1e-10)
    assert scores.ssim == pytest.approx(ssim, abs=1e-10)


def test_the_benchmarks_rmse_has_limits_of_its_own(images):
    scores = score(PROTOCOLS["ldctbench"], *images)
    output, reference = (image.clip(-1024, 1900) for image in images)
    assert scores.rmse_hu == pytest.approx(np.sqrt(np.mean((output - reference) ** 2)), rel=1e-12)
    assert scores.mae_hu == pytest.approx(np.abs(output - reference).mean(), rel=1e-12)
    assert scores.bias_hu == pytest.approx((output - reference).mean(), rel=1e-12)


def test_the_offset_changes_ssim(images):
    shifted = PROTOCOLS["dugan"]
    plain = type(shifted).of_window("plain", -300.0, 300.0)
    assert abs(score(shifted, *images).ssim - score(plain, *images).ssim) > 1e-3
    assert score(shifted, *images).psnr == score(plain, *images).psnr


@pytest.mark.parametrize("name", PROTOCOL_NAMES)
def test_the_text_of_a_protocol_gives_offset_and_window(name):
    protocol = PROTOCOLS[name]
    assert f"with 0 at {protocol.offset_hu:g} HU" in protocol.description
    side = protocol.window_px
    assert f"SSIM {side}x{side} {'Gaussian' if protocol.ssim_window == 'gaussian' else 'uniform'}" in (
        protocol.description
    )


def test_kwon_cannot_score_a_reference_below_water():
    with pytest.raises(SeriesError, match="protocol kwon: the reference has no value above 0 HU"):
        score(PROTOCOLS["kwon"], np.zeros((16, 16)), np.full((16, 16), -5.0))
