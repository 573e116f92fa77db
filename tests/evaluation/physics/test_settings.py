"""Ranges of the bench, and the quick bench of a simulated data set."""

import pytest

from ctcycle.evaluation.physics.settings import FEWEST_IMAGES, PhysicsSettings
from ctcycle.simulation.settings import SimulationSettings


def test_the_quick_bench_has_the_scanner_of_the_simulation_and_enough_images() -> None:
    found = PhysicsSettings.from_simulation(SimulationSettings(photons=5e4, kernel="sharp"))
    assert (found.size, found.pixel_mm, found.photons, found.kernel) == (256, 1.4, 5e4, "sharp")
    assert found.sites * found.realisations / 2 >= FEWEST_IMAGES


def test_a_small_field_of_view_gets_a_smaller_disc() -> None:
    found = PhysicsSettings.from_simulation(SimulationSettings(size=256, pixel_mm=0.9))
    assert found.diameter_mm == pytest.approx(256 * 0.9 / 1.1)


def test_of_several_kernels_and_pixel_sizes_one_is_taken() -> None:
    found = PhysicsSettings.from_simulation(SimulationSettings(pixel_mm=(1.2, 1.6), kernel=("b30", "d45")))
    assert (found.pixel_mm, found.kernel) == (pytest.approx(1.4), "b30")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"realisations": 3}, "realisations=3; it must be from 10"),
        ({"kernel": "b31"}, "kernel='b31' is unknown"),
        ({"diameter_mm": 400.0}, "a field of 358.4 mm for a disc of 400 mm; increase size"),
    ],
)
def test_what_cannot_be_simulated_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PhysicsSettings(**changes)  # type: ignore[arg-type]
