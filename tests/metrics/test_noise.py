"""The noise that is found without a reference, against noise that was put in."""

import numpy as np
import pytest
from scipy import ndimage

from ctcycle.metrics.noise import highpass, soft_tissue_noise, tissue_windows


def phantom(size=256):
    """A body of soft tissue with organs, fat, bone and a lung, in HU, without noise."""
    rows, columns = np.mgrid[:size, :size] / size - 0.5
    hu = np.full((size, size), -1000.0)
    for row, column, height, width, value in [
        (0, 0, 0.36, 0.46, -100),
        (0, 0, 0.33, 0.43, 45),
        (0.05, -0.2, 0.15, 0.13, 110),
        (-0.1, 0.2, 0.12, 0.12, -850),
        (0.24, 0, 0.06, 0.06, 400),
        (-0.18, -0.08, 0.05, 0.08, -90),
    ]:
        hu[((rows - row) / height) ** 2 + ((columns - column) / width) ** 2 < 1] = value
    return ndimage.gaussian_filter(hu, 0.7)


def noise(kind, std, rng, size=256):
    """White noise, or noise with the band-limited ramp spectrum of filtered back-projection."""
    white = rng.normal(0, 1, (size, size))
    if kind == "ramp":
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
        spectrum = np.sqrt(radius * np.clip(np.cos(np.pi * radius), 0, None))
        white = np.fft.ifft2(np.fft.fft2(white) * spectrum).real
    return white * (std / white.std())


@pytest.mark.parametrize("kind", ["white", "ramp"])
@pytest.mark.parametrize("std", [15.0, 40.0, 90.0])
def test_known_noise_is_found(kind, std):
    hu = phantom() + noise(kind, std, np.random.default_rng(2))
    assert soft_tissue_noise(hu) == pytest.approx(std, rel=0.12)
    assert soft_tissue_noise(hu, tissue_windows(phantom())) == pytest.approx(std, rel=0.12)


def test_noise_elsewhere_does_not_count():
    clean = phantom()
    added = noise("white", 20.0, np.random.default_rng(4))
    loud = np.where((clean < -200) | (clean > 250), 10 * added, added)
    assert soft_tissue_noise(clean + loud) == pytest.approx(20, rel=0.12)


def test_vessels_do_not_count_as_noise():
    rng = np.random.default_rng(0)
    hu = phantom() + noise("white", 20.0, rng)
    for row, column in rng.integers(0, 256, (150, 2)):
        hu[row : row + 4, column : column + 4] += 70
    assert soft_tissue_noise(hu) == pytest.approx(20, rel=0.12)


def test_without_tissue_there_is_no_figure():
    assert np.isnan(soft_tissue_noise(np.full((64, 64), -1000.0)))
    assert np.isnan(soft_tissue_noise(phantom(), np.zeros((256, 256), bool)))


def test_windows_hold_tissue_alone():
    clean = phantom()
    windows = tissue_windows(clean)
    assert windows.sum() > 2000
    for row, column in np.argwhere(windows)[::50]:
        inside = clean[row - 7 : row + 8, column - 7 : column + 8]
        assert inside.shape == (15, 15)
        assert inside.min() > -90  # a border may touch the window, no organ reaches into it
        assert inside.max() < 200


def test_windows_stay_within_the_image():
    windows = tissue_windows(np.full((40, 40), 50.0))
    assert windows[7:-7, 7:-7].all()
    assert windows.sum() == 26**2


def test_highpass_of_a_wave_in_closed_form():
    columns = np.arange(256)
    wave = np.broadcast_to(100 * np.cos(2 * np.pi * columns / 16), (64, 256))
    passed = 1 - np.exp(-((2 * np.pi / 16 * 3) ** 2) / 2)
    found = highpass(500 + wave, 3.0)
    assert found[:, 32:-32] == pytest.approx(passed * wave[:, 32:-32], abs=0.1)
