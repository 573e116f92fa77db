"""The closed form of the NPWE observer against its template on simulated noise."""

import numpy as np
import pytest

from ctcycle.metrics.lesions.eye_observer import disc_spectrum, eye_filter, npwe_d_prime
from ctcycle.metrics.lesions.insertion import Lesion, gaussian_transfer, make_stamp

SPACING, SIZE = 0.7, 64


def power(frequency):
    """Noise power in HU^2 mm^2."""
    return 3000 * frequency * np.exp(-((frequency / 0.5) ** 2)) + 100


def test_the_closed_form_is_its_template_on_gaussian_noise():
    lesion = make_stamp(Lesion(3.0, 10.0), SPACING, gaussian_transfer(0.6), SIZE).image_hu
    axis = np.fft.fftfreq(SIZE, SPACING)
    radial = np.hypot(axis[:, None], axis)
    white = np.random.default_rng(7).normal(size=(1200, SIZE, SIZE))
    noise = np.fft.ifft2(np.fft.fft2(white) * np.sqrt(power(radial)) / SPACING).real
    template = np.fft.ifft2(np.fft.fft2(lesion) * eye_filter(radial) ** 2).real
    sampled = np.sum(template * lesion) / np.tensordot(noise, template).std()

    frequency = np.linspace(0, 1 / SPACING, 2000)
    closed = npwe_d_prime(
        frequency,
        disc_spectrum(3.0, 10.0, frequency),
        gaussian_transfer(0.6)(frequency),
        power(frequency),
        eye_filter(frequency),
    )
    assert closed == pytest.approx(sampled, rel=0.05)


def test_white_noise_and_no_eye_is_the_matched_filter():
    frequency = np.linspace(0, 5, 20_000)
    blur = 1.0
    task, ones = 20 * np.exp(-2 * (np.pi * blur * frequency) ** 2) * 2 * np.pi * blur**2, np.ones_like(frequency)
    energy = 20**2 * np.pi * blur**2  # of a Gaussian lesion of 20 HU
    found = npwe_d_prime(frequency, task, ones, 50 * ones, ones)
    assert found == pytest.approx(np.sqrt(energy / 50), rel=1e-4)


def test_the_spectrum_of_a_disc():
    frequency = np.array([0.0, 0.1, 0.4])
    image = make_stamp(Lesion(3.0, 10.0), 0.1, gaussian_transfer(0.0), 96).image_hu
    x = (np.arange(96) - 48) * 0.1
    numeric = [np.sum(image * np.cos(2 * np.pi * f * x)) * 0.1**2 for f in frequency]
    assert disc_spectrum(3.0, 10.0, frequency) == pytest.approx(numeric, abs=1.0)


def test_the_eye_is_most_sensitive_at_four_cycles_per_degree():
    frequency = np.linspace(0, 2, 2001)
    best = frequency[np.argmax(eye_filter(frequency))]
    assert best * 500 * np.tan(np.deg2rad(1)) == pytest.approx(4.03, abs=0.02)
    assert frequency[np.argmax(eye_filter(frequency, zoom=2.0))] == pytest.approx(2 * best, abs=2e-3)


def test_d_prime_falls_with_noise_and_blur():
    frequency = np.linspace(0, 1.4, 500)
    ones, task, eye = np.ones_like(frequency), disc_spectrum(1.5, 20.0, frequency), eye_filter(frequency)
    sharp, blurred = (gaussian_transfer(sigma)(frequency) for sigma in (0.3, 1.0))
    plain = npwe_d_prime(frequency, task, sharp, 100 * ones, eye)
    assert npwe_d_prime(frequency, task, sharp, 400 * ones, eye) == pytest.approx(plain / 2)
    assert npwe_d_prime(frequency, task, blurred, 100 * ones, eye) < plain


def test_bad_functions_are_refused():
    ones = np.ones(5)
    with pytest.raises(ValueError, match="different lengths"):
        npwe_d_prime(ones, ones, ones, np.ones(4), ones)
    with pytest.raises(ValueError, match="noise=0"):
        npwe_d_prime(np.arange(5.0), ones, ones, 0 * ones, ones)
