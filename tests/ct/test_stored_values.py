import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.ct.stored_values import StoredValues, integer_limits


def test_hu_is_slope_times_value_plus_intercept() -> None:
    stored = StoredValues(np.array([0, 400, 1024], dtype=np.uint16), 2.5, -1000.0, (0, 4095))
    np.testing.assert_array_equal(stored.hu(), np.array([-1000.0, 0.0, 1560.0], dtype=np.float32))
    assert stored.hu().dtype == np.float32


def test_padding_reads_as_air_and_is_marked() -> None:
    values = np.array([-3024, -1499, -1500, 7, 40], dtype=np.int16)
    stored = StoredValues(values, 1.0, 0.0, (-32768, 32767), marked=values == 7)
    assert stored.padding.tolist() == [True, False, True, True, False]
    assert stored.hu().tolist() == [-1024.0, -1499.0, -1024.0, -1024.0, 40.0]


@given(
    st.sampled_from(["int16", "uint16", "int32", "uint8", "float32", ">i2", ">f4"]),
    st.sampled_from([1.0, 2.5, 0.1, -1.0]),
    st.integers(0, 2**32 - 1),
)
def test_no_correction_keeps_every_bit(dtype: str, slope: float, seed: int) -> None:
    raw = np.random.default_rng(seed).integers(0, 256, 64 * np.dtype(dtype).itemsize, dtype=np.uint8)
    values = raw.view(dtype)
    values = np.where(np.isfinite(values), values, 0).astype(dtype)
    stored = StoredValues(values, slope, -1024.0, integer_limits(values.dtype))
    corrected = stored.corrected(np.zeros(64, dtype=np.float32))
    assert corrected.dtype == values.dtype
    assert corrected.tobytes() == values.tobytes()


def test_a_correction_is_rounded_not_cut_in_stored_units() -> None:
    stored = StoredValues(np.full(4, 500, dtype=np.int16), 2.5, -1000.0, (-32768, 32767))
    correction = np.array([-3.8, -1.2, 1.2, 3.8], dtype=np.float32)
    assert stored.corrected(correction).tolist() == [498, 500, 500, 502]


def test_a_correction_is_clipped_to_what_the_file_can_hold_and_foreign_values_are_left() -> None:
    values = np.array([4090, 5, 60_000], dtype=np.uint16)
    stored = StoredValues(values, 1.0, -1024.0, (0, 4095))
    assert stored.corrected(np.array([100, -100, 0], dtype=np.float32)).tolist() == [4095, 0, 60_000]


def test_padding_is_not_corrected() -> None:
    stored = StoredValues(np.array([-3024, 0], dtype=np.int16), 1.0, 0.0, (-32768, 32767))
    assert stored.corrected(np.array([50, 50], dtype=np.float32)).tolist() == [-3024, 50]


def test_floats_are_corrected_without_rounding() -> None:
    stored = StoredValues(np.array([0.25], dtype=np.float32), 2.0, 0.0, None)
    assert stored.corrected(np.array([0.5], dtype=np.float32)).tolist() == [0.5]


@pytest.mark.parametrize(("dtype", "limits"), [("uint8", (0, 255)), (">i2", (-32768, 32767)), ("float32", None)])
def test_limits_are_the_type_s(dtype: str, limits: tuple[int, int] | None) -> None:
    assert integer_limits(np.dtype(dtype)) == limits


def test_replaced_values_are_rounded_and_clipped_in_stored_units() -> None:
    stored = StoredValues(np.zeros(5, dtype=np.uint16), 2.0, -1000.0, (0, 4095))
    hu = np.array([-1000.9, -998.9, 0.0, 9000.0, -5000.0], dtype=np.float32)
    found = stored.replaced(hu)
    assert (found.tolist(), found.dtype) == ([0, 1, 500, 4095, 0], np.uint16)


def test_replaced_values_stand_in_padding_too_and_keep_the_type() -> None:
    stored = StoredValues(np.array([-2000, 7], dtype=">i2"), 1.0, 0.0, (-32768, 32767), marked=np.array([True, False]))
    found = stored.replaced(np.array([-3.4, 3.6], dtype=np.float32))
    assert (found.tolist(), found.dtype) == ([-3, 4], np.dtype(">i2"))
    floats = StoredValues(np.zeros(1, dtype=np.float64), 2.0, 1.0, None)
    assert floats.replaced(np.array([1.5], dtype=np.float32)).tolist() == [0.25]
