"""Outputs whose slices are in another order, or of another patient, are refused; poor ones are not."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from ctcycle.errors import SeriesError
from ctcycle.evaluation.methods.same_slices import check_same_slices

SLICES = 9


def anatomy(seed: int) -> NDArray[np.float32]:
    """Smooth tissue in a round body, which changes from slice to slice as organs do."""
    rng = np.random.default_rng(seed)
    tissue = ndimage.gaussian_filter(rng.normal(0, 1, (SLICES, 96, 96)), (1.5, 4, 4))
    rows, columns = np.mgrid[-1:1:96j, -1:1:96j]
    hu: NDArray[np.float32] = np.where(np.hypot(rows, columns) < 0.85, 40 + 60 * tissue / tissue.std(), -1000)
    return hu.astype(np.float32)


SCAN = anatomy(0)
LOW = SCAN + np.random.default_rng(1).normal(0, 40, SCAN.shape).astype(np.float32)
PLACES = {index: index for index in range(SLICES)}


def blurred(volume: NDArray[np.float32], sigma: float) -> NDArray[np.float32]:
    return ndimage.gaussian_filter(volume, (0, sigma, sigma))


@pytest.mark.parametrize(
    "output", [SCAN, LOW, LOW + 30, 0.7 * LOW - 300, blurred(LOW, 2), blurred(LOW, 6), blurred(LOW, 9)]
)
def test_any_result_of_the_same_slices_is_taken(output: NDArray[np.float32]) -> None:
    check_same_slices("x", LOW, output, PLACES)


@pytest.mark.parametrize("order", [list(range(SLICES))[::-1], [*range(1, SLICES), 0], [SLICES - 1, *range(SLICES - 1)]])
def test_another_order_is_refused(order: list[int]) -> None:
    with pytest.raises(SeriesError, match=r"^x seems to have its slices in another order: \d of 9 slices"):
        check_same_slices("x", LOW, blurred(LOW, 1)[order], PLACES)


def test_another_patient_is_refused() -> None:
    with pytest.raises(SeriesError, match=r"^x shows other anatomy \(correlation -?0\.\d\d, needed 0\.3\)"):
        check_same_slices("x", LOW, np.roll(anatomy(5), (14, -14), axis=(1, 2)), PLACES)


def test_one_slice_and_a_part_of_the_slices_are_compared_in_their_places() -> None:
    check_same_slices("x", LOW[:1], SCAN[:1], {0: 0})
    check_same_slices("x", LOW, SCAN[2:5], {2: 0, 3: 1, 4: 2})
    with pytest.raises(SeriesError, match=r"shows other anatomy|another order"):
        check_same_slices("x", LOW, SCAN[2:5], {5: 0, 6: 1, 7: 2})
