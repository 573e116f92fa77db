"""Closed-form discs against the projector and against their own definition."""

import numpy as np
import pytest

from ctcycle.ct.hounsfield import MU_WATER
from ctcycle.evaluation.physics.discs import Disc, disc_image, line_integrals
from ctcycle.evaluation.physics.settings import PhysicsSettings
from ctcycle.simulation.projection import project
from ctcycle.simulation.settings import Kernel

SETTINGS = PhysicsSettings(size=160, pixel_mm=1.4, diameter_mm=200.0, views=90, kernel="soft")


def test_an_off_centre_disc_is_projected_as_by_the_projector() -> None:
    disc = Disc((70, 95), 25.0, 1000.0)
    rows, columns = np.indices((160 * 8, 160 * 8)) / 8 - (1 - 1 / 8) / 2
    fine = np.hypot(rows - 70, columns - 95) <= 25.0
    mu = MU_WATER * fine.reshape(160, 8, 160, 8).mean((1, 3))
    theirs = project(mu, 1.4, 90)
    ours = line_integrals([disc], SETTINGS)
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 0.06 * theirs.max()  # at the tangents, which the projector smooths
    assert np.abs(ours - theirs).mean() < 0.003 * theirs.max()


@pytest.mark.parametrize("kernel", ["soft", "b30"])
def test_every_view_holds_the_whole_disc(kernel: Kernel) -> None:
    settings = PhysicsSettings(size=160, pixel_mm=1.4, diameter_mm=200.0, views=8, kernel=kernel)
    rays = line_integrals([Disc((70, 95), 2.3, 100.0)], settings)
    element_px = 1.0 if kernel == "soft" else 0.5
    wanted = np.pi * 2.3**2 * 1.4 * MU_WATER * 0.1
    assert rays.sum(0, dtype=np.float64) * element_px == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("kernel", ["soft", "b30"])
def test_the_reconstruction_has_the_contrast_at_the_right_place(kernel: Kernel) -> None:
    settings = PhysicsSettings(size=160, pixel_mm=1.4, diameter_mm=200.0, views=240, kernel=kernel)
    image = disc_image([Disc((60, 101), 20.0, 80.0), Disc((60, 101), 6.0, -30.0)], settings)
    rows, columns = np.indices(image.shape)
    distance = np.hypot(rows - 60, columns - 101)
    assert image[distance < 3].mean() == pytest.approx(50.0, abs=1.0)
    assert image[(distance > 10) & (distance < 16)].mean() == pytest.approx(80.0, abs=1.0)
    weight = image * (distance < 30)
    assert (weight * rows).sum() / weight.sum() == pytest.approx(60, abs=0.05)
    assert (weight * columns).sum() / weight.sum() == pytest.approx(101, abs=0.05)
