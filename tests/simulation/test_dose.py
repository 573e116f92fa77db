import numpy as np
import pytest

from ctcycle.simulation.dose import dose_noise, simulate_counts

P = np.full((400, 500), 2.0)


def counts(line_integrals: np.ndarray, photons: float) -> np.ndarray:
    """Photons of line integrals without read-out noise, whose logarithm was taken half a photon higher."""
    return photons * np.exp(-line_integrals.astype(np.float64)) - 0.5


def test_full_dose_counts_are_poisson_and_low_dose_counts_a_thinning_of_them() -> None:
    full, low = simulate_counts(P, 1e4, 0.25, 0.0, np.random.default_rng(0))
    n_full, n_low = counts(full, 1e4), counts(low, 2.5e3)
    expected = 1e4 * np.exp(-2)
    assert n_full.mean() == pytest.approx(expected, rel=1e-3)
    assert n_full.var() == pytest.approx(expected, rel=0.02)
    assert n_low.mean() == pytest.approx(expected / 4, rel=1e-3)
    assert n_low.var() == pytest.approx(expected / 4, rel=0.02)
    assert np.cov(n_full.ravel(), n_low.ravel())[0, 1] == pytest.approx(expected / 4, rel=0.03)
    assert np.all(n_full - n_low > -0.1)


def test_electronic_noise_is_independent_in_both() -> None:
    full, low = simulate_counts(P, 1e4, 0.25, 30.0, np.random.default_rng(0))
    n_full, n_low = counts(full, 1e4), counts(low, 2.5e3)
    expected = 1e4 * np.exp(-2)
    assert n_full.var() == pytest.approx(expected + 900, rel=0.02)
    assert n_low.var() == pytest.approx(expected / 4 + 900, rel=0.02)
    assert np.cov(n_full.ravel(), n_low.ravel())[0, 1] == pytest.approx(expected / 4, rel=0.05)


def test_line_integrals_keep_their_shape_and_nearly_their_mean() -> None:
    sinogram = np.linspace(0, 5, 60_000, dtype=np.float32).reshape(3, 200, 100)
    for noisy in simulate_counts(sinogram, 1e6, 0.5, 5.0, np.random.default_rng(1)):
        assert noisy.shape == sinogram.shape
        assert noisy.dtype == np.float32
        assert np.abs((noisy - sinogram).mean()) < 1e-3


@pytest.mark.parametrize("read_out", [0.0, 4.0])
@pytest.mark.parametrize(("expected", "bias"), [(15, 0.01), (30, 1.5e-3), (100, 1e-3), (1000, 1e-3)])
def test_line_integrals_of_few_photons_are_right_on_average(read_out: float, expected: float, bias: float) -> None:
    p = np.full(1_000_000, np.log(1e4 / expected))
    low = simulate_counts(p, 4e4, 0.25, read_out, np.random.default_rng(0))[1]
    assert abs(low.mean(dtype=np.float64) - p[0]) < bias  # the plain logarithm is off by 0.09, 0.027, 0.006, 0.0005
    assert low.var() == pytest.approx(1 / expected + (read_out / expected) ** 2, rel=0.03 if expected > 30 else 0.12)


def test_starved_rays_are_finite_and_stop_at_one_photon() -> None:
    full, low = simulate_counts(np.full(1000, 30.0), 1e4, 0.1, 5.0, np.random.default_rng(0))
    assert full.max() == pytest.approx(np.log(1e4))
    assert low.max() == pytest.approx(np.log(1e3))


def test_at_the_whole_dose_both_have_the_same_photons() -> None:
    full, low = simulate_counts(P, 1e4, 1.0, 0.0, np.random.default_rng(0))
    assert np.array_equal(full, low)


def test_the_same_generator_gives_the_same_scan() -> None:
    first, second = (simulate_counts(P, 1e4, 0.25, 5.0, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first, second)


def test_noise_has_the_variance_of_the_lost_photons() -> None:
    own, added = dose_noise(P, 1e4, 0.25, 0.0, np.random.default_rng(0))
    assert own.var() == pytest.approx(np.exp(2) / 1e4, rel=0.02)
    assert added.var() == pytest.approx(3 * np.exp(2) / 1e4, rel=0.02)
    assert abs(np.corrcoef(own.ravel(), added.ravel())[0, 1]) < 0.01


def test_noise_agrees_with_counting_photons() -> None:
    rng = np.random.default_rng(0)
    full, low = simulate_counts(P, 1e5, 0.25, 20.0, rng)
    own, added = dose_noise(P, 1e5, 0.25, 20.0, rng)
    assert own.var() == pytest.approx(full.var(), rel=0.02)
    assert own.var() + added.var() == pytest.approx(low.var(), rel=0.02)


def test_read_out_noise_counts_behind_thick_bodies_only() -> None:
    for p, share in ((1.0, 1.1), (9.0, 4.0)):
        plain, read_out = (
            dose_noise(np.full(100_000, p), 1e5, 0.25, noise, np.random.default_rng(0))[1] for noise in (0.0, 5.0)
        )
        expected = 1 + 25 * np.exp(p) / 1e5 * 15 / 3
        assert read_out.var() / plain.var() == pytest.approx(expected, rel=0.02)
        assert (expected > share) == (p > 5)


def test_the_whole_dose_adds_no_noise_and_starved_rays_stay_finite() -> None:
    assert not dose_noise(P, 1e4, 1.0, 3.0, np.random.default_rng(0))[1].any()
    own, added = dose_noise(np.full(1000, 80.0), 1e4, 0.1, 3.0, np.random.default_rng(0))
    assert np.isfinite(own).all()
    assert np.isfinite(added).all()
