import numpy as np
import pytest

from ctcycle.simulation.anatomy.body import lungs
from ctcycle.simulation.anatomy.build import AIR, FAT, MUSCLE, make_build
from ctcycle.simulation.anatomy.parts import PARTS
from ctcycle.simulation.blobs import SMOOTH
from ctcycle.simulation.phantom import draw_slice, make_patient


def test_lungs_appear_at_the_upper_levels_only() -> None:
    for seed in range(8):
        patient = make_patient(np.random.default_rng(seed))
        share = [np.mean((draw_slice(patient, z, 128, 2.8) + 830)[64:] ** 2 < 100**2) for z in (0.0, 90.0)]
        assert share[1] > share[0] + 0.003


def test_both_lungs_lie_behind_the_middle() -> None:
    build = make_build(np.random.default_rng(2))
    bases = [blob for blob in lungs(build, np.random.default_rng(3)) if blob.named == "lung"]
    assert [np.sign(blob.centre[0] - build.middle[0]) for blob in bases] == [-1, 1]
    assert all(blob.centre[1] > build.middle[1] for blob in bases)


@pytest.mark.parametrize("hu", [FAT, MUSCLE])
def test_fat_and_muscle_vary_and_gas_does_not(hu: float) -> None:
    build = make_build(np.random.default_rng(0))
    blobs = [blob for part in PARTS for blob in part(build, np.random.default_rng(1))]
    tissue = [blob.grain for blob in blobs if blob.hu == hu]
    assert tissue
    assert all(grain != SMOOTH for grain in tissue)
    assert all(blob.grain == SMOOTH for blob in blobs if blob.hu < AIR + 20)
