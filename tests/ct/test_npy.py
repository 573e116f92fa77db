from pathlib import Path

import numpy as np
import pytest
from phantom_series import body_hu

from ctcycle.ct.hounsfield import MU_WATER, hu_to_mu
from ctcycle.ct.series_io import Derivation, find_series, iterate_hu, read_series, sample_slices, write_corrected
from ctcycle.errors import OutputError, SeriesError

DERIVATION = Derivation("9.9", "tiny", "0123")


def write_slices(folder: Path, slices: np.ndarray, names: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for values, name in zip(slices, names, strict=True):
        np.save(folder / name, values)


def test_a_folder_of_slices_is_one_series_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    hu = body_hu()
    write_slices(tmp_path / "p1", hu, ["2.npy", "10.npy", "100.npy"])
    (info,), skipped = find_series(tmp_path)
    assert skipped == []
    assert (info.format, info.path, info.shape) == ("npy", tmp_path / "p1", hu.shape)
    assert [file.name for file in info.files] == ["2.npy", "10.npy", "100.npy"]
    assert info.positions_mm == (2.0, 10.0, 100.0)
    np.testing.assert_array_equal(read_series(info).hu, hu)


def test_names_that_differ_in_more_than_the_number_are_series_of_their_own(tmp_path: Path) -> None:
    names = ["L067_0_input.npy", "L067_1_input.npy", "L067_0_target.npy", "L096_0_input.npy"]
    write_slices(tmp_path, body_hu(4), names)
    found = find_series(tmp_path)[0]
    assert sorted([file.name for file in info.files] for info in found) == [
        [names[0], names[1]],
        [names[2]],
        [names[3]],
    ]


def test_a_volume_is_one_series(tmp_path: Path) -> None:
    hu = body_hu().astype(np.int16)
    np.save(tmp_path / "ct.npy", hu)
    (info,), _ = find_series(tmp_path)
    assert (info.path, info.files, info.shape) == (tmp_path / "ct.npy", (tmp_path / "ct.npy",), hu.shape)
    assert info.positions_mm == (0.0, 1.0, 2.0)
    np.testing.assert_array_equal(read_series(info).hu, hu)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attenuation_is_known_and_converted(tmp_path: Path, dtype: str) -> None:
    np.save(tmp_path / "ct.npy", hu_to_mu(body_hu()).astype(dtype))
    (info,), _ = find_series(tmp_path)
    np.testing.assert_allclose(read_series(info).hu, body_hu(), atol=0.01)
    (other,), _ = find_series(tmp_path, mu_water=0.02)
    expected = (hu_to_mu(body_hu()) - 0.02) * 1000 / 0.02
    np.testing.assert_allclose(read_series(other, assume_hu=True).hu, expected, atol=0.01)
    np.testing.assert_allclose(np.stack(list(iterate_hu(other))), expected, atol=0.01)
    np.testing.assert_allclose(sample_slices(other, 1).hu, expected[:1], atol=0.01)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64", ">i2"])
def test_no_correction_gives_every_bit_back(tmp_path: Path, dtype: str) -> None:
    write_slices(tmp_path / "in", body_hu().astype(dtype), ["1.npy", "2.npy", "10.npy"])
    np.save(tmp_path / "ct.npy", body_hu().astype(dtype))
    volume, slices = find_series(tmp_path)[0]
    zero = np.zeros(volume.shape, dtype=np.float32)
    (out,) = write_corrected(volume, zero, tmp_path / "out.npy", DERIVATION)
    assert out.read_bytes() == volume.path.read_bytes()
    written = write_corrected(slices, zero, tmp_path / "out", DERIVATION)
    assert written == [tmp_path / "out" / name for name in ("1.npy", "2.npy", "10.npy")]
    assert [file.read_bytes() for file in written] == [file.read_bytes() for file in slices.files]


@pytest.mark.parametrize("mu_water", [MU_WATER, 0.025])
def test_a_correction_of_attenuation_is_converted_by_the_formula(tmp_path: Path, mu_water: float) -> None:
    mu = hu_to_mu(body_hu())
    np.save(tmp_path / "ct.npy", mu)
    (info,), _ = find_series(tmp_path, mu_water)
    correction = np.full(info.shape, 50.0, dtype=np.float32)
    (zero,) = write_corrected(info, correction * 0, tmp_path / "zero.npy", DERIVATION)
    assert zero.read_bytes() == info.path.read_bytes()
    (out,) = write_corrected(info, correction, tmp_path / "out.npy", DERIVATION)
    np.testing.assert_allclose(np.load(out), mu + 0.05 * mu_water, rtol=1e-5, atol=1e-7)
    assert np.load(out).dtype == np.float32


def test_integers_are_rounded_and_clipped(tmp_path: Path) -> None:
    hu = body_hu().astype(np.int16)
    hu[0, 0, 0] = 32_760
    np.save(tmp_path / "ct.npy", hu)
    (info,), _ = find_series(tmp_path)
    (out,) = write_corrected(info, np.full(info.shape, 9.6, dtype=np.float32), tmp_path / "out.npy", DERIVATION)
    np.testing.assert_array_equal(np.load(out), np.minimum(hu.astype(int) + 10, 32_767))


def test_slices_of_two_sizes_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "1.npy", np.zeros((4, 4)))
    np.save(tmp_path / "2.npy", np.zeros((4, 5)))
    found, skipped = find_series(tmp_path)
    assert found == []
    assert [(entry.path, entry.reason) for entry in skipped] == [
        (tmp_path, "slices differ in size (4x4 and 4x5 pixels); separate them")
    ]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((2, 2, 2, 2)), "shape is (2, 2, 2, 2)"),
        (np.zeros((0, 4)), "shape is (0, 4)"),
        (np.zeros((4, 4), dtype=bool), "is not an array of real numbers"),
        (np.zeros((4, 4), dtype=complex), "is not an array of real numbers"),
        (np.array([["a", None]], dtype=object), "cannot be read as npy"),
    ],
)
def test_what_is_no_image_is_left_out(tmp_path: Path, array: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "x.npy", array)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert len(skipped) == 1
    assert skipped[0].reason.startswith(reason)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr': "])
def test_what_is_no_npy_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert skipped[0].reason.startswith("cannot be read as npy")


def test_cut_and_changed_and_nan_slices_are_named(tmp_path: Path) -> None:
    hu = body_hu()
    hu[1, 0, 0] = np.inf
    write_slices(tmp_path, hu, ["1.npy", "2.npy", "3.npy"])
    (info,), _ = find_series(tmp_path)
    with pytest.raises(SeriesError, match=r"2\.npy: slice 1 contains NaN or infinity"):
        read_series(info)
    np.save(tmp_path / "2.npy", hu[0, :5])
    with pytest.raises(SeriesError, match=r"2\.npy: shape is \(5, 36\), but was \(32, 36\)"):
        read_series(info)
    content = (tmp_path / "1.npy").read_bytes()
    (tmp_path / "1.npy").write_bytes(content[:-8])
    with pytest.raises(SeriesError, match=r"1\.npy: is 4728 bytes, but its header requires 4736"):
        read_series(info)


def test_a_volume_keeps_its_suffix(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", body_hu())
    (info,), _ = find_series(tmp_path)
    with pytest.raises(OutputError, match=r"must end in \.npy"):
        write_corrected(info, np.zeros(info.shape, dtype=np.float32), tmp_path / "out.nii", DERIVATION)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slices_of_a_volume_are_those_with_equal_sides(axis: int, order: str, tmp_path: Path) -> None:
    hu = body_hu(5)[:, :, :32]
    np.save(tmp_path / "ct.npy", np.asarray(np.moveaxis(hu, 0, axis), order=order))  # type: ignore[call-overload]
    (info,), _ = find_series(tmp_path)
    assert info.shape == hu.shape
    np.testing.assert_array_equal(read_series(info).hu, hu)
    write_corrected(info, hu * 0 + 3, tmp_path / "out.npy", DERIVATION)
    np.testing.assert_array_equal(np.load(tmp_path / "out.npy"), np.moveaxis(hu + 3, 0, axis))


def test_a_cube_is_refused_unless_its_axis_is_given(tmp_path: Path) -> None:
    cube = np.stack([body_hu(1)[0, :, :32]] * 32)
    np.save(tmp_path / "ct.npy", cube)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert skipped[0].refused
    assert "set slice_axis" in skipped[0].reason
    assert find_series(tmp_path, slice_axis=2)[0][0].slice_axis == 2


def test_a_claim_beyond_the_file_is_refused(tmp_path: Path) -> None:
    for name, shape in (("a.npy", (-3, 64, 64)), ("b.npy", (10**9, 64, 64)), ("c.npy", (9, 64, 64))):
        with (tmp_path / name).open("wb") as stream:
            np.lib.format.write_array_header_1_0(stream, {"descr": "<i2", "fortran_order": False, "shape": shape})
    found, skipped = find_series(tmp_path)
    assert found == []
    assert len(skipped) == 3


def test_attenuation_of_air_and_water_become_their_hu(tmp_path: Path) -> None:
    mu_water, mu_air = 0.021, 0.003
    middle = (mu_water + mu_air) / 2
    np.save(tmp_path / "mu.npy", np.array([[mu_air, middle], [mu_water, 2 * mu_water - mu_air]]))
    (info,), _ = find_series(tmp_path, mu_water, mu_air=mu_air)
    np.testing.assert_allclose(read_series(info, assume_hu=True).hu[0], [[-1000, -500], [0, 1000]], atol=1e-3)
