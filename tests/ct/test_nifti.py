import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from phantom_series import body_hu

from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import Derivation, find_series, iterate_hu, read_series, write_corrected, write_map
from ctcycle.errors import OutputError, SeriesError

DERIVATION = Derivation("9.9", "tiny", "0123")
RADIOLOGICAL = np.diag([-0.5, -0.75, 2.0, 1.0])
"""Columns to the left, rows to the back, slices to the head, as (column, row, slice) arrays of DICOM converters."""


def write(path: Path, stored: NDArray[np.generic], affine: NDArray[np.float64] = RADIOLOGICAL) -> SeriesInfo:
    nib.save(nib.Nifti1Image(stored, affine), path)
    found, skipped = find_series(path)
    assert len(found) == 1, skipped
    return found[0]


def scaled(path: Path, dtype: str, slope: float, inter: float) -> None:
    """A file whose stored numbers mean HU by scl_slope and scl_inter."""
    stored = np.rint((body_hu() - inter) / slope).astype(dtype).T
    header = nib.Nifti1Image(stored, RADIOLOGICAL).header
    header.set_slope_inter(slope, inter)
    put_together(path, header, stored)


def put_together(path: Path, header: nib.Nifti1Header, stored: NDArray[np.generic]) -> None:
    """Writes header and numbers as they are; nibabel's own writing would change both."""
    header["vox_offset"] = 352
    path.write_bytes(header.binaryblock + b"\0" * 4 + stored.tobytes(order="F"))


def marked(content: bytes) -> bytes:
    """The bytes of a NIfTI-1 file without a description, with that of a denoised one."""
    assert content[148:228] == bytes(80)
    return content[:148] + b"ctcycle denoised".ljust(80, b"\0") + content[228:]


def test_slices_come_as_a_dicom_reader_would_show_them(tmp_path: Path) -> None:
    hu = body_hu()
    info = write(tmp_path / "ct.nii.gz", hu.T)
    np.testing.assert_array_equal(read_series(info).hu, hu)
    assert info.shape == hu.shape
    assert info.spacing_mm == (2.0, 0.75, 0.5)
    assert info.positions_mm == (0.0, 2.0, 4.0)
    assert info.files == (tmp_path / "ct.nii.gz",)


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("L", "P", "S"), ("P", "I", "R"), ("S", "L", "A"), ("A", "S", "L")])
def test_any_axis_order_gives_the_same_slices_and_goes_back_exactly(tmp_path: Path, axes: tuple[str, ...]) -> None:
    hu = body_hu()
    radiological = nib.Nifti1Image(hu.T, RADIOLOGICAL)
    turn = nib.orientations.ornt_transform(nib.io_orientation(RADIOLOGICAL), nib.orientations.axcodes2ornt(axes))
    turned = radiological.as_reoriented(turn)
    info = write(tmp_path / "ct.nii", np.asarray(turned.dataobj), turned.affine)
    np.testing.assert_array_equal(read_series(info).hu, hu)
    assert info.spacing_mm == (2.0, 0.75, 0.5)
    assert info.positions_mm == pytest.approx((0.0, 2.0, 4.0))
    step = np.arange(hu.size, dtype=np.float32).reshape(hu.shape)
    write_corrected(info, step, tmp_path / "out.nii", DERIVATION)
    out = tmp_path / "out.nii"
    np.testing.assert_array_equal(read_series(find_series(out)[0][0], assume_hu=True).hu, hu + step)
    assert nib.aff2axcodes(nib.load(out).affine) == axes


@pytest.mark.parametrize("axes", [("R", "A", "S"), ("L", "P", "S"), ("P", "I", "R"), ("S", "L", "A"), ("A", "S", "L")])
def test_the_plane_is_that_of_the_slices_as_they_are_read(tmp_path: Path, axes: tuple[str, ...]) -> None:
    affine = RADIOLOGICAL.copy()
    affine[:3, 3] = 10.0, 20.0, 30.0
    radiological = nib.Nifti1Image(body_hu().T, affine)
    turn = nib.orientations.ornt_transform(nib.io_orientation(affine), nib.orientations.axcodes2ornt(axes))
    turned = radiological.as_reoriented(turn)
    plane = write(tmp_path / "ct.nii", np.asarray(turned.dataobj), turned.affine).plane
    assert plane.directions == pytest.approx((1, 0, 0, 0, 1, 0))
    np.testing.assert_allclose(plane.corners_mm, [(-10, -20, 30), (-10, -20, 32), (-10, -20, 34)], atol=1e-5)


def test_an_affine_that_the_file_does_not_record_is_no_plane(tmp_path: Path) -> None:
    image = nib.Nifti1Image(body_hu().T, RADIOLOGICAL)
    image.header["sform_code"] = image.header["qform_code"] = 0
    put_together(tmp_path / "ct.nii", image.header, body_hu().T.astype(image.get_data_dtype()))
    (info,), _ = find_series(tmp_path / "ct.nii")
    assert info.plane is None


@pytest.mark.parametrize(("dtype", "slope", "inter"), [("int16", 2.5, -1000.0), ("uint16", 1.0, -1024.0)])
def test_no_correction_gives_every_byte_back(tmp_path: Path, dtype: str, slope: float, inter: float) -> None:
    source, out = tmp_path / "ct.nii", tmp_path / "out.nii"
    scaled(source, dtype, slope, inter)
    source.write_bytes(source.read_bytes() + b"tail")
    info = find_series(source)[0][0]
    np.testing.assert_allclose(read_series(info).hu, body_hu(), atol=slope / 2)
    assert write_corrected(info, np.zeros(info.shape, dtype=np.float32), out, DERIVATION) == [out]
    assert out.read_bytes() == marked(source.read_bytes())


@pytest.mark.parametrize("dtype", ["float32", "float64", ">f4", ">i2", "int32"])
def test_any_type_and_byte_order_gives_every_byte_back(tmp_path: Path, dtype: str) -> None:
    info = write(tmp_path / "ct.nii", body_hu().T.astype(dtype))
    out = tmp_path / "out.nii"
    write_corrected(info, np.zeros(info.shape, dtype=np.float32), out, DERIVATION)
    assert out.read_bytes() == marked(info.path.read_bytes())


def test_a_correction_is_stored_through_the_slope(tmp_path: Path) -> None:
    source, out = tmp_path / "ct.nii", tmp_path / "out.nii"
    scaled(source, "int16", 2.5, -1000.0)
    info = find_series(source)[0][0]
    before = np.asarray(nib.load(source).dataobj.get_unscaled()).astype(int)
    write_corrected(info, np.full(info.shape, 6.0, dtype=np.float32), out, DERIVATION)
    after = np.asarray(nib.load(out).dataobj.get_unscaled())
    assert np.unique(after - before).tolist() == [2]
    assert out.read_bytes()[:352] == marked(source.read_bytes())[:352]


def test_compressed_output_is_the_same_every_time(tmp_path: Path) -> None:
    info = write(tmp_path / "ct.nii", body_hu().T)
    correction = np.ones(info.shape, dtype=np.float32)
    first, second = tmp_path / "a.nii.gz", tmp_path / "b.nii.gz"
    for out in (first, second):
        write_corrected(info, correction, out, DERIVATION)
    assert first.read_bytes() == second.read_bytes()
    assert first.read_bytes()[4:8] == b"\0\0\0\0"
    np.testing.assert_array_equal(np.asarray(nib.load(first).dataobj), body_hu().T + 1)


def test_a_single_slice_and_trailing_axes_are_survived(tmp_path: Path) -> None:
    hu = body_hu(1)
    for number, stored in enumerate([hu[0].T, hu.T, hu.T[..., None, None]]):
        info = write(tmp_path / f"{number}.nii", stored)
        np.testing.assert_array_equal(read_series(info).hu, hu)
        out = tmp_path / f"{number}out.nii"
        write_corrected(info, np.zeros(info.shape, dtype=np.float32), out, DERIVATION)
        assert out.read_bytes() == marked(info.path.read_bytes())


def test_a_degenerate_affine_leaves_the_last_axis_for_the_slices(tmp_path: Path) -> None:
    header = nib.Nifti1Image(body_hu().T, RADIOLOGICAL).header
    header["srow_x"] = header["srow_y"] = header["srow_z"] = 0
    put_together(tmp_path / "ct.nii", header, body_hu().T)
    (info,), _ = find_series(tmp_path)
    assert info.shape == body_hu().shape
    np.testing.assert_array_equal(read_series(info).hu, body_hu())


@pytest.mark.parametrize(
    ("stored", "reason"),
    [
        (np.zeros((4, 4, 3, 1, 2), dtype=np.float32), "shape is (4, 4, 3, 1, 2); must be a slice, a volume"),
        (np.zeros((4, 4, 3), dtype=np.complex64), "data type is complex64"),
    ],
)
def test_what_is_no_volume_is_left_out(tmp_path: Path, stored: NDArray[np.generic], reason: str) -> None:
    nib.save(nib.Nifti1Image(stored, np.eye(4)), tmp_path / "x.nii.gz")
    found, skipped = find_series(tmp_path)
    assert found == []
    assert len(skipped) == 1
    assert skipped[0].reason.startswith(reason)


@pytest.mark.parametrize("content", [b"", b"no NIfTI at all", gzip.compress(b"neither", mtime=0)])
def test_what_is_no_nifti_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.nii.gz").write_bytes(content)
    found, skipped = find_series(tmp_path)
    assert found == []
    assert skipped[0].path == tmp_path / "x.nii.gz"
    assert skipped[0].reason.startswith("cannot be read as NIfTI")


def rich(path: Path, version: type[nib.Nifti1Image] = nib.Nifti1Image, order: str = "<") -> SeriesInfo:
    """A scaled volume with all that a header can say of its geometry, its units, its display, and an extension."""
    oblique = np.array([[-0.5, 0.02, 0.1, 40], [0.01, -0.75, 0.2, -30], [0.03, 0.1, 2.0, 7], [0, 0, 0, 1.0]])
    stored = np.rint((body_hu() + 1024) / 0.5).astype(f"{order}i2").T
    image = version(stored, None)
    header = image.header if order == "<" else image.header.as_byteswapped(order)
    header.set_sform(oblique, code=2)
    header.set_qform(RADIOLOGICAL, code=1)
    header.set_xyzt_units("mm", "sec")
    header.set_slope_inter(0.5, -1024)
    header["cal_min"], header["cal_max"], header["descrip"], header["aux_file"] = -160, 240, b"body", b"none"
    comment = b"\1\0\0\0" + nib.nifti1.Nifti1Extension("comment", b"kept as it is").get_content()
    size = (len(comment) + 8 + 15) // 16 * 16
    extension = np.array([size, 6], dtype=f"{order}i4").tobytes() + comment[4:].ljust(size - 8, b"\0")
    header["vox_offset"] = len(header.binaryblock) + 4 + size
    path.write_bytes(header.binaryblock + comment[:4] + extension + stored.tobytes(order="F"))
    if path.name.endswith(".gz"):
        path.write_bytes(gzip.compress(path.read_bytes()))
    (info,), _ = find_series(path)
    return info


def bytes_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.name.endswith(".gz") else path.read_bytes()


RICH = pytest.mark.parametrize(
    ("name", "version", "order"),
    [
        ("ct.nii", nib.Nifti1Image, "<"),
        ("ct.nii.gz", nib.Nifti1Image, "<"),
        ("ct.nii", nib.Nifti1Image, ">"),
        ("ct.nii.gz", nib.Nifti2Image, "<"),
    ],
)


@RICH
def test_header_units_and_extension_stay_bit_for_bit(
    name: str, version: type[nib.Nifti1Image], order: str, tmp_path: Path
) -> None:
    info = rich(tmp_path / name, version, order)
    np.testing.assert_allclose(read_series(info).hu, body_hu(), atol=0.25)
    out = tmp_path / f"out_{name}"
    write_corrected(info, np.full(info.shape, -3.2, dtype=np.float32), out, DERIVATION)
    before, after = nib.load(info.path), nib.load(out)
    voxels = before.dataobj.get_unscaled().nbytes
    start, own = (bytearray(bytes_of(path)[:-voxels]) for path in (info.path, out))
    at = 148 if version is nib.Nifti1Image else 240  # descrip
    assert own[at : at + 80].rstrip(b"\0") == b"body ctcycle denoised"
    own[at : at + 80] = start[at : at + 80]
    assert own == start
    assert np.unique(after.dataobj.get_unscaled().astype(int) - before.dataobj.get_unscaled()).tolist() == [-6]
    np.testing.assert_allclose(after.get_fdata() - before.get_fdata(), -3)


@RICH
def test_a_map_has_the_geometry_of_its_source_as_floats(
    name: str, version: type[nib.Nifti1Image], order: str, tmp_path: Path
) -> None:
    info = rich(tmp_path / name, version, order)
    kind = Derivation("9.9", "tiny", "0123", kind="residual")
    maps = np.random.default_rng(0).normal(0, 40, info.shape).astype(np.float32)
    out = tmp_path / f"map_{name}"
    assert write_map(info, maps, out, kind) == [out]
    before, after = nib.load(info.path), nib.load(out)
    np.testing.assert_array_equal(list(iterate_hu(find_series(out)[0][0])), maps)
    assert (after.get_data_dtype(), after.dataobj.slope, after.dataobj.inter) == (np.dtype(f"{order}f4"), 1, 0)
    differ = {key for key in before.header if before.header[key].tobytes() != after.header[key].tobytes()}
    assert differ == {"datatype", "bitpix", "cal_min", "cal_max", "descrip"}
    assert after.header.extensions == before.header.extensions
    assert len(after.header.extensions) == 1


@pytest.mark.parametrize("name", ["ct.nii", "ct.nii.gz"])
def test_a_cut_volume_is_named(tmp_path: Path, name: str) -> None:
    info = write(tmp_path / name, body_hu().T)
    content = info.path.read_bytes()
    info.path.write_bytes(content[: len(content) - 200])
    with pytest.raises(SeriesError, match=rf"{name}: .*copy it again"):
        read_series(info)


def test_nan_is_named_with_its_slice(tmp_path: Path) -> None:
    hu = body_hu()
    hu[1, 3, 3] = np.nan
    info = write(tmp_path / "ct.nii", hu.T)
    with pytest.raises(SeriesError, match=r"ct\.nii: slice 1 contains NaN"):
        read_series(info)


def test_another_suffix_is_refused(tmp_path: Path) -> None:
    info = write(tmp_path / "ct.nii", body_hu().T)
    with pytest.raises(OutputError, match=r"must end in \.nii or \.nii\.gz"):
        write_corrected(info, np.zeros(info.shape, dtype=np.float32), tmp_path / "out.npy", DERIVATION)


def test_a_coronal_volume_is_cut_in_its_own_plane(tmp_path: Path) -> None:
    """Stored as (left, back, head) with 5 mm from slice to slice along the second axis, as a DICOM converter does."""
    hu = body_hu(6)
    affine = np.array([[-0.78, 0, 0, 0], [0, -5.0, 0, 0], [0, 0, -0.78, 0], [0, 0, 0, 1.0]])
    info = write(tmp_path / "ct.nii.gz", hu.transpose(2, 0, 1).astype(np.int16), affine)
    assert info.shape == hu.shape
    assert info.spacing_mm == pytest.approx((5, 0.78, 0.78))
    assert info.plane.directions == pytest.approx((1, 0, 0, 0, 0, -1))
    assert "cut into coronal slices" in info.notes[0]
    np.testing.assert_array_equal(read_series(info).hu, hu)
    (axial,), _ = find_series(tmp_path, slice_axis=2)
    assert axial.shape == (32, 6, 36)
    out = tmp_path / "out.nii.gz"
    write_corrected(info, np.full(info.shape, 7, np.float32), out, DERIVATION)
    np.testing.assert_array_equal(nib.load(out).get_fdata() - nib.load(info.path).get_fdata(), 7)


def test_metres_are_converted(tmp_path: Path) -> None:
    image = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL * [[0.001], [0.001], [0.001], [1]])
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "ct.nii")
    (info,), _ = find_series(tmp_path / "ct.nii")
    assert info.spacing_mm == pytest.approx((2, 0.75, 0.5))
    assert info.positions_mm == pytest.approx((0, 2, 4))


def test_a_time_series_keeps_every_volume(tmp_path: Path) -> None:
    hu = np.stack([body_hu(seed=seed) for seed in (0, 1)])
    info = write(tmp_path / "ct.nii", hu.transpose(3, 2, 1, 0).astype(np.int16))
    assert info.shape == (6, 32, 36)
    assert not info.is_volume
    np.testing.assert_array_equal(read_series(info).hu, hu.reshape(6, 32, 36))
    write_corrected(
        info,
        np.arange(6, dtype=np.float32)[:, None, None] * np.ones(info.shape, np.float32),
        tmp_path / "out.nii",
        DERIVATION,
    )
    added = nib.load(tmp_path / "out.nii").get_fdata() - nib.load(info.path).get_fdata()
    np.testing.assert_array_equal(added[0, 0], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("dim", [(512, -3, 5), (30000, 30000, 30000), (64, 64, 20000)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_header_that_claims_more_than_the_file_holds_is_refused_before_reading(
    dim: tuple[int, ...], packed: bool, tmp_path: Path
) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL).header
    header["dim"][1:4], header["vox_offset"] = dim, 352
    content = header.binaryblock + b"\0" * 6000
    file = tmp_path / ("ct.nii.gz" if packed else "ct.nii")
    file.write_bytes(gzip.compress(content) if packed else content)
    found, skipped = find_series(file)
    assert found == []
    assert "shape is" in skipped[0].reason or "header requires" in skipped[0].reason


def test_a_spacing_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL).header
    header["srow_x"][0] = np.nan
    put_together(tmp_path / "ct.nii", header, body_hu().T.astype(np.int16))
    found, skipped = find_series(tmp_path)
    assert found == []
    assert "is not finite" in skipped[0].reason


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("tail", [7, 1 << 20])
def test_bytes_after_the_voxels_are_kept(tail: int, suffix: str, tmp_path: Path) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL).header
    put_together(tmp_path / "ct.nii", header, body_hu().T.astype(np.int16))
    content = (tmp_path / "ct.nii").read_bytes() + b"\x07" * tail
    (tmp_path / "ct.nii").unlink()
    packed = suffix == ".nii.gz"
    (tmp_path / f"ct{suffix}").write_bytes(gzip.compress(content) if packed else content)
    ((info,), _) = find_series(tmp_path)
    (out,) = write_corrected(info, np.zeros(info.shape, np.float32), tmp_path / f"out{suffix}", DERIVATION)
    assert (gzip.decompress(out.read_bytes()) if packed else out.read_bytes()) == marked(content)


def test_more_than_a_mebibyte_after_the_voxels_is_refused(tmp_path: Path) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL).header
    put_together(tmp_path / "ct.nii", header, body_hu().T.astype(np.int16))
    with (tmp_path / "ct.nii").open("ab") as stream:
        stream.write(bytes((1 << 20) + 1))
    ((info,), _) = find_series(tmp_path)
    with pytest.raises(SeriesError, match=r"ct\.nii: more than 1048576 bytes follow the voxels"):
        write_corrected(info, np.zeros(info.shape, np.float32), tmp_path / "out.nii", DERIVATION)
    assert [path.name for path in tmp_path.iterdir()] == ["ct.nii"]


@pytest.mark.parametrize("kind", ["denoised", "simulated"])
@pytest.mark.parametrize("described", [b"", b"body", b"x" * 80])
def test_a_denoised_volume_is_known_by_its_description(tmp_path: Path, kind: Any, described: bytes) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), RADIOLOGICAL).header
    header["descrip"] = described
    put_together(tmp_path / "ct.nii", header, body_hu().T.astype(np.int16))
    (info,), _ = find_series(tmp_path / "ct.nii")
    assert info.made_by == ""
    derivation = Derivation("9.9", "tiny", "0123", kind=kind)
    write_corrected(info, np.ones(info.shape, np.float32), tmp_path / "out.nii", derivation)
    (result,), _ = find_series(tmp_path / "out.nii")
    assert result.made_by == ("denoised" if kind == "denoised" else "")
    kept = bytes(nib.load(tmp_path / "out.nii").header["descrip"].item())
    assert kept == ((described[:63] + b" ctcycle denoised").strip() if kind == "denoised" else described)


@pytest.mark.parametrize(("sizes", "said"), [((0.7, 0.7, 5), False), ((0.5, 0.75, 2), True)])
def test_pixels_that_are_not_square_are_told(tmp_path: Path, sizes: tuple[float, float, float], said: bool) -> None:
    header = nib.Nifti1Image(body_hu().T.astype(np.int16), np.diag([*sizes, 1.0])).header
    put_together(tmp_path / "ct.nii", header, body_hu().T.astype(np.int16))
    (info,), _ = find_series(tmp_path / "ct.nii")
    assert ["denoisers are trained on square ones" in note for note in info.notes] == [True] * said
