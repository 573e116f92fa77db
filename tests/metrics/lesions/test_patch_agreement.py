"""Fourier ring correlation in closed form, and patches with planted or erased blobs."""

import numpy as np
import pytest
from scipy import ndimage, stats

from ctcycle.metrics.lesions.insertion import Lesion, gaussian_transfer, make_stamp
from ctcycle.metrics.lesions.patch_agreement import crossing_per_px, patch_agreement, ring_correlation

SPACING, SIZE = 0.7, 144
BLOB = make_stamp(Lesion(3.0, 40.0), SPACING, gaussian_transfer(0.6)).image_hu


def shaped(count, power, std, rng):
    """Gaussian fields (count, H, W) whose amplitude is ``power`` of the frequency in cycles per pixel."""
    axis = np.fft.fftfreq(SIZE)
    radial = np.hypot(axis[:, None], axis)
    radial[0, 0] = 1 / SIZE
    field = np.fft.ifft2(np.fft.fft2(rng.normal(size=(count, SIZE, SIZE))) * power(radial)).real
    return field * (std / field.std(axis=(1, 2), keepdims=True))


def fbp(frequency):
    return np.sqrt(frequency) * np.exp(-((frequency / 0.3) ** 2))


def scans(count, rng):
    """Output, full dose and a second full dose of textured slices."""
    truth = 60 + shaped(count, lambda f: f**-1.5, 15, rng)
    full, repeat = (truth + shaped(count, fbp, 18, rng) for _ in range(2))
    return ndimage.gaussian_filter(truth, (0, 0.7, 0.7)) + shaped(count, fbp, 9, rng), full, repeat


def planted(count, rng):
    """One blob a slice, bright and dark in turn, (count, H, W)."""
    blobs = np.zeros((count, SIZE, SIZE))
    for index, (row, column) in enumerate(rng.integers(24, SIZE - 56, (count, 2))):
        blobs[index, row : row + 32, column : column + 32] = BLOB * (-1) ** index
    return blobs


def split(found, blobs):
    """Patches that hold a whole blob, and patches that hold nothing of one."""
    volume = np.abs(BLOB).sum()
    held = [np.abs(blobs[p.slice_index, p.row : p.row + 48, p.column : p.column + 48]).sum() for p in found.patches]
    pairs = list(zip(found.patches, held, strict=True))
    return [p for p, h in pairs if h > 0.99 * volume], [p for p, h in pairs if h < 0.01 * volume]


def auc(with_blob, without):
    return stats.mannwhitneyu(with_blob, without).statistic / (len(with_blob) * len(without))


@pytest.mark.parametrize(("kind", "bound"), [("invented", 0.95), ("erased", 0.9)])
def test_forty_planted_blobs_are_found(kind, bound):
    rng = np.random.default_rng(21)
    output, full, repeat = scans(40, rng)
    blobs = planted(40, rng)
    if kind == "invented":
        output = output + blobs
    else:
        full, repeat = full + blobs, repeat + blobs
    found = patch_agreement(output, full, repeat, SPACING)
    hit, free = split(found, blobs)
    assert len(hit) > 30
    assert auc([p.peak_sd for p in hit], [p.peak_sd for p in free]) >= bound
    below = [np.mean([p.crossing_per_px < found.threshold_per_px for p in side]) for side in (hit, free)]
    assert below[0] > 0.05
    assert below[1] < 0.01
    assert set(found.worst) <= {p for p in found.patches if p not in free}
    assert [p.peak_sd for p in found.worst] == sorted((p.peak_sd for p in found.patches), reverse=True)[:5]


def test_a_third_realisation_lies_below_the_threshold_by_chance():
    rng = np.random.default_rng(4)
    _, full, repeat = scans(12, rng)
    found = patch_agreement(repeat, full, full, SPACING)
    assert found.share_below == 1  # full dose against itself never falls below
    found = patch_agreement(repeat, full, repeat, SPACING)
    assert found.share_below == pytest.approx(0.01, abs=0.007)
    assert len(found.patches) == 12 * 5**2


def test_the_correlation_of_signal_and_noise_in_closed_form():
    rng = np.random.default_rng(3)
    signal, one, two = rng.normal(0, [[[[2]]], [[[1]]], [[[1]]]], (3, 600, 48, 48))
    found = ring_correlation(signal + one, signal + two)
    assert found.shape == (600, 25)
    assert found[:, 3:].mean() == pytest.approx(4 / 5, abs=0.01)
    assert ring_correlation(signal, signal)[:, 1:] == pytest.approx(1)
    assert ring_correlation(signal, -2 * signal)[:, 1:] == pytest.approx(-1)


def test_flat_patches_correlate_with_nothing():
    assert ring_correlation(np.full((1, 32, 32), 40.0), np.full((1, 32, 32), 50.0)) == pytest.approx(np.zeros((1, 17)))


def test_the_crossing_lies_between_rings():
    curve = np.array([[1, 1, 0.75, 0.25, 0], [1, 0.4, 0.9, 0.9, 0.9], [1, 1, 1, 1, 0.9], [1, 0.8, 0.4, 0.9, 0]])
    assert crossing_per_px(curve) == pytest.approx([2.5 / 8, 0, 0.5, 1.75 / 8])


def test_slices_that_do_not_fit_are_refused():
    slices = np.zeros((2, 40, 40))
    with pytest.raises(ValueError, match="as many of each"):
        patch_agreement(slices, slices[:1], slices, SPACING)
    with pytest.raises(ValueError, match="as many of each"):
        patch_agreement([], [], [], SPACING)
    for size in (48, 33):
        with pytest.raises(ValueError, match="even size that fits"):
            patch_agreement(slices, slices, slices, SPACING, size)
