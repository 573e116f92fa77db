import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from phantom_series import body_hu, write_series

from ctcycle import atomic
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import (
    Derivation,
    as_written,
    find_series,
    iterate_hu,
    read_series,
    sample_slices,
    write_corrected,
    write_map,
)
from ctcycle.errors import OutputError, SeriesError

DERIVATION = Derivation("9.9", "tiny", "0123")


def a_series(folder: Path) -> tuple[SeriesInfo, NDArray[np.float32]]:
    """A DICOM series, and a correction of nothing."""
    write_series(folder)
    (info,), _ = find_series(folder)
    return info, np.zeros(info.shape, dtype=np.float32)


def tree(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_every_format_is_found_however_nested_and_the_rest_is_counted(tmp_path: Path) -> None:
    write_series(tmp_path / "b" / "deep" / "er")
    nib.save(nib.Nifti1Image(body_hu().T, np.eye(4)), tmp_path / "a.nii.gz")
    (tmp_path / "c").mkdir()
    np.save(tmp_path / "c" / "1.npy", body_hu()[0])
    for name in ("notes.txt", ".DS_Store", "DICOMDIR", ".hidden.npy"):
        (tmp_path / name).write_bytes(b"something")
    write_series(tmp_path / ".cache")
    found, skipped = find_series(tmp_path)
    assert [(info.format, info.path.name) for info in found] == [("nifti", "a.nii.gz"), ("dicom", "er"), ("npy", "c")]
    assert [(entry.path, entry.reason) for entry in skipped] == [
        (tmp_path, "ignored 4 files (hidden or not CT images)")
    ]


def test_one_file_is_enough(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    (info,), skipped = find_series(files[1])
    assert (info.files, info.shape[0], skipped) == ((files[1],), 1, [])


def test_links_are_followed_once(tmp_path: Path) -> None:
    write_series(tmp_path / "real" / "scan")
    (tmp_path / "real" / "loop").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "dangling.dcm").symlink_to(tmp_path / "nowhere")
    (tmp_path / "entry").mkdir()
    (tmp_path / "entry" / "link").symlink_to(tmp_path / "real")
    assert len(find_series(tmp_path)[0]) == 1
    assert len(find_series(tmp_path / "entry")[0]) == 1


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.dcm")
    assert find_series(tmp_path)[0] == []


def test_an_empty_folder_has_nothing_and_a_missing_one_is_an_error(tmp_path: Path) -> None:
    assert find_series(tmp_path) == ([], [])
    with pytest.raises(SeriesError, match="nowhere: does not exist"):
        find_series(tmp_path / "nowhere")


def test_progress_sees_every_image_once(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    (tmp_path / "notes.txt").write_text("no image")
    seen: list[Path] = []
    find_series(tmp_path, progress=seen.append)
    assert seen == files


@pytest.mark.parametrize(
    ("values", "guess"),
    [
        (body_hu() + 1024, "stored values without their rescale intercept"),
        ((body_hu() + 1024) / 20, "values scaled to 0..255"),
        ((body_hu() + 1024) / 2000, "attenuation"),
        (body_hu() / 1024 * 0.5, "values normalised"),
        (np.full((2, 8, 8), 40.0, dtype=np.float32), "values scaled to 0..255"),
        (np.full((2, 8, 8), -1000.0, dtype=np.float32), "only air"),
        (body_hu().clip(-100, None), "no air, which surrounds the body"),
        (body_hu() * 60, "too bright for CT"),
    ],
)
def test_what_does_not_look_like_hu_is_refused_with_a_guess(
    tmp_path: Path, values: NDArray[np.float32], guess: str
) -> None:
    nib.save(nib.Nifti1Image(values.astype(np.float32).T, np.diag([-1.0, -1.0, 1.0, 1.0])), tmp_path / "ct.nii")
    (info,), _ = find_series(tmp_path)
    with pytest.raises(SeriesError, match=rf"values do not look like HU \(range .* to .*\): .*{guess}.*assume_hu=true"):
        read_series(info)
    np.testing.assert_allclose(read_series(info, assume_hu=True).hu, values.clip(-1500, None), atol=476)


def test_a_slice_far_off_the_one_before_it_is_refused(tmp_path: Path) -> None:
    values = np.repeat(body_hu(1), 5, axis=0)
    values[2:] += 1024
    for number, image in enumerate(values):
        np.save(tmp_path / f"{number}.npy", image)
    (info,), _ = find_series(tmp_path)
    with pytest.raises(SeriesError, match=r"2\.npy: slice 2 is 1024 HU off the slice before it in nearly every pixel"):
        list(iterate_hu(info))
    np.testing.assert_array_equal(list(iterate_hu(info, assume_hu=True)), values)
    np.testing.assert_array_equal(read_series(info, assume_hu=True).hu, values)


def test_slices_that_are_no_neighbours_may_differ_as_anatomy_does(tmp_path: Path) -> None:
    """A narrow field of view within the lung that ends in soft tissue."""
    values = np.linspace(-900, 60, 21, dtype=np.float32)[:, None, None] + body_hu(21, 16) / 50
    for number, image in enumerate(values):
        np.save(tmp_path / f"{number:02}.npy", image)
    (info,), _ = find_series(tmp_path)
    np.testing.assert_array_equal(list(iterate_hu(info)), values)
    np.testing.assert_array_equal(sample_slices(info, 3).hu, values[[0, 10, 20]])


def test_padding_does_not_count_as_air(tmp_path: Path) -> None:
    values = body_hu().clip(-100, None)
    values[:, :8] = -2000
    np.save(tmp_path / "ct.npy", values)
    (info,), _ = find_series(tmp_path)
    with pytest.raises(SeriesError, match="no air, which surrounds the body"):
        read_series(info)


def test_the_folder_appears_whole_and_alone(tmp_path: Path) -> None:
    info, zero = a_series(tmp_path / "in")
    written = write_corrected(info, zero, tmp_path / "new" / "out", DERIVATION)
    assert [file.name for file in written] == ["IM00001.dcm", "IM00002.dcm", "IM00003.dcm"]
    assert all(file.is_file() for file in written)
    assert tree(tmp_path / "new") == ["out", "out/IM00001.dcm", "out/IM00002.dcm", "out/IM00003.dcm"]


def test_a_failure_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, zero = a_series(tmp_path / "in")
    info.files[2].write_bytes(b"damaged since")
    with pytest.raises(SeriesError, match=r"0003\.dcm"):
        write_corrected(info, zero, tmp_path / "out", DERIVATION)
    assert tree(tmp_path) == ["in", "in/0001.dcm", "in/0002.dcm", "in/0003.dcm"]
    info, zero = a_series(tmp_path / "in")

    def full(_path: Path, _write: object) -> None:
        raise OutputError("disk full")

    monkeypatch.setattr(atomic, "write_file", full)
    with pytest.raises(OutputError, match="disk full"):
        write_corrected(info, zero, tmp_path / "out", DERIVATION)
    assert tree(tmp_path) == ["in", "in/0001.dcm", "in/0002.dcm", "in/0003.dcm"]


def test_inputs_are_never_touched(tmp_path: Path) -> None:
    info, zero = a_series(tmp_path / "in")
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in info.files}
    read_series(info)
    write_corrected(info, zero + 5, tmp_path / "out", DERIVATION)
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in info.files} == before


def test_an_existing_output_is_kept(tmp_path: Path) -> None:
    info, zero = a_series(tmp_path / "in")
    out = tmp_path / "out"
    out.mkdir()
    write_corrected(info, zero, out, DERIVATION)
    first = (out / "IM00001.dcm").read_bytes()
    with pytest.raises(OutputError, match="out: exists and is not empty"):
        write_corrected(info, zero + 9, out, DERIVATION)
    assert (out / "IM00001.dcm").read_bytes() == first


@pytest.mark.parametrize("make", [lambda out: (out / "sub").mkdir(parents=True), lambda out: out.write_text("thesis")])
def test_nothing_that_exists_is_replaced(tmp_path: Path, make: object) -> None:
    info, zero = a_series(tmp_path / "in")
    make(tmp_path / "out")  # type: ignore[operator]
    before = tree(tmp_path)
    with pytest.raises(OutputError, match="choose another"):
        write_corrected(info, zero, tmp_path / "out", DERIVATION)
    assert tree(tmp_path) == before


def test_an_existing_volume_is_kept(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", body_hu())
    (info,), _ = find_series(tmp_path)
    out = tmp_path / "out.npy"
    correction = np.ones(info.shape, dtype=np.float32)
    write_corrected(info, correction, out, DERIVATION)
    with pytest.raises(OutputError, match=r"out\.npy: already exists"):
        write_corrected(info, correction + 1, out, DERIVATION)
    np.testing.assert_array_equal(np.load(out), body_hu() + 1)


@pytest.mark.parametrize("out", ["in", "in/denoised", "in/../in/x", "link/x"])
def test_the_output_does_not_go_into_the_input(tmp_path: Path, out: str) -> None:
    info, zero = a_series(tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    with pytest.raises(OutputError, match=r"is the input .* or inside it"):
        write_corrected(info, zero, tmp_path / out, DERIVATION)
    assert len(tree(tmp_path / "in")) == 3


def test_a_volume_is_not_written_over_itself(tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", body_hu())
    (info,), _ = find_series(tmp_path)
    with pytest.raises(OutputError, match=r"is the input .* or inside it"):
        write_corrected(info, np.zeros(info.shape, dtype=np.float32), info.path, DERIVATION)


@pytest.mark.parametrize(
    ("shape", "value", "reason"),
    [
        ((3, 2, 2), 0, r"new slice 0 has shape \(2, 2\); must be finite and \(32, 36\)"),
        ((3, 32, 36), np.nan, r"new slice 0 has NaN or infinity; must be finite"),
        ((2, 32, 36), 0, r"got 2 slices to write, but the series has 3"),
        ((4, 32, 36), 0, r"got 4 slices to write, but the series has 3"),
    ],
)
@pytest.mark.parametrize("name", ["series", "ct.nii", "ct.npy", "slices"])
@pytest.mark.parametrize("write", [write_corrected, write_map])
def test_what_does_not_fit_the_series_is_refused(
    name: str, shape: tuple[int, ...], value: float, reason: str, write: object, tmp_path: Path
) -> None:
    info = make(tmp_path, name)
    with pytest.raises(SeriesError, match=reason):
        write(info, np.full(shape, value, dtype=np.float32), tmp_path / f"out{info.path.suffix}", DERIVATION)  # type: ignore[operator]
    assert not [entry for entry in tree(tmp_path) if "out" in entry]


FORMATS = ("series", "ct.nii", "ct.nii.gz", "ct.npy", "slices")


def make(folder: Path, name: str, slices: int = 3) -> SeriesInfo:
    """A body as DICOM, as a volume, or as slices, of that name."""
    hu, path = body_hu(slices), folder / name
    if name == "series":
        write_series(path, (hu + 1024).astype(np.uint16))
    elif ".nii" in name:
        nib.save(nib.Nifti1Image(hu.T.astype(np.int16), np.diag([-0.5, -0.75, 2.0, 1.0])), path)
    elif name == "ct.npy":
        np.save(path, hu)
    else:
        path.mkdir()
        for number, image in enumerate(hu):
            np.save(path / f"{number}.npy", image)
    (info,), _ = find_series(path)
    return info


@pytest.mark.parametrize("name", FORMATS)
def test_slices_one_by_one_are_those_of_the_whole(name: str, tmp_path: Path) -> None:
    info = make(tmp_path, name)
    slices = list(iterate_hu(info))
    assert all((image.shape, image.dtype) == (info.shape[1:], np.float32) for image in slices)
    np.testing.assert_array_equal(slices, read_series(info).hu)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(("count", "picked"), [(1, [0]), (2, [0, 6]), (3, [0, 3, 6]), (16, list(range(7)))])
def test_a_sample_is_spread_over_the_series(name: str, count: int, picked: list[int], tmp_path: Path) -> None:
    info = make(tmp_path, name, slices=7)
    sample = sample_slices(info, count)
    np.testing.assert_array_equal(sample.hu, body_hu(7)[picked])
    assert (sample.info, sample.padding) == (info, None)


def test_a_sample_reads_no_other_slices_and_marks_their_padding(tmp_path: Path) -> None:
    stored = (body_hu(5) + 1024).clip(1, None).astype(np.uint16)
    stored[2, :4], stored[3] = 0, 0
    files = write_series(tmp_path, stored, changes={"PixelPaddingValue": 0})
    (info,), _ = find_series(tmp_path)
    for index in (1, 3):
        files[index].write_bytes(b"gone")
    padding = sample_slices(info, 3).padding
    assert padding is not None
    assert padding.sum(axis=(1, 2)).tolist() == [0, 4 * 36, 0]


@pytest.mark.parametrize("name", ["ct.nii", "ct.npy", "slices"])
def test_a_slice_that_is_not_finite_is_named_wherever_it_is_met(name: str, tmp_path: Path) -> None:
    hu = body_hu(5)
    hu[2, 3, 3] = np.inf
    if name == "ct.nii":
        nib.save(nib.Nifti1Image(hu.T, np.diag([-0.5, -0.75, 2.0, 1.0])), tmp_path / name)
    else:
        (tmp_path / "slices").mkdir()
        np.save(tmp_path / "ct.npy", hu)
        for number, image in enumerate(hu):
            np.save(tmp_path / "slices" / f"{number}.npy", image)
    (info,), _ = find_series(tmp_path / name)
    file = "slices/2.npy" if name == "slices" else name
    for read in (read_series, sample_slices, lambda found: list(iterate_hu(found))):
        with pytest.raises(SeriesError, match=rf"{file}: slice 2 contains NaN or infinity"):
            read(info)


def test_a_slice_is_read_and_corrected_only_when_its_turn_comes(tmp_path: Path) -> None:
    """The order of events: no slice is asked for before the one before it is written."""
    info = make(tmp_path, "series", slices=4)
    seen = []

    def corrections() -> Iterator[NDArray[np.float32]]:
        for hu in iterate_hu(info):
            seen.append(len([entry for entry in tree(tmp_path) if entry.endswith(".dcm") and "partial" in entry]))
            yield np.ones_like(hu)

    write_corrected(info, corrections(), tmp_path / "out", DERIVATION)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("name", FORMATS)
def test_a_fault_in_the_middle_leaves_nothing(name: str, tmp_path: Path) -> None:
    info = make(tmp_path, name, slices=4)
    before = tree(tmp_path)

    def corrections() -> Iterator[NDArray[np.float32]]:
        for number, hu in enumerate(iterate_hu(info)):
            if number == 2:
                raise SeriesError("out of memory")
            yield np.ones_like(hu)

    with pytest.raises(SeriesError, match="out of memory"):
        write_corrected(info, corrections(), tmp_path / f"out{''.join(info.path.suffixes)}", DERIVATION)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("name", FORMATS)
def test_maps_have_the_geometry_of_their_series(name: str, tmp_path: Path) -> None:
    info = make(tmp_path, name)
    out = tmp_path / f"map{''.join(info.path.suffixes)}"
    maps = np.random.default_rng(0).normal(0, 30, info.shape).astype(np.float32)
    written = write_map(info, maps, out, Derivation("1", "m", "d", kind="residual"))
    again = find_series(out)[0][0]
    assert (again.shape, again.spacing_mm, again.positions_mm) == (info.shape, info.spacing_mm, info.positions_mm)
    assert again.files == tuple(written)
    np.testing.assert_allclose(list(iterate_hu(again)), np.rint(maps) if name == "series" else maps)


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_written_is_found_again_without_a_search(name: str, tmp_path: Path) -> None:
    info = make(tmp_path, name, slices=12)
    out = tmp_path / f"out{''.join(info.path.suffixes)}"
    steps = np.arange(12, dtype=np.float32)[:, None, None] * np.ones(info.shape, dtype=np.float32)
    written = write_corrected(info, steps, out, DERIVATION)
    assert as_written(info, out).files == tuple(written)
    np.testing.assert_array_equal(list(iterate_hu(as_written(info, out))), body_hu(12) + steps)


def test_what_was_written_to_a_relative_place_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info, zero = a_series(tmp_path / "in")
    monkeypatch.chdir(tmp_path)
    written = write_corrected(info, zero, Path("some/out"), DERIVATION)
    assert as_written(info, Path("some/out")).files == tuple(written)
    np.testing.assert_array_equal(list(iterate_hu(as_written(info, Path("some/out")))), body_hu())


@pytest.mark.real_data
@pytest.mark.parametrize("part", ["mayo2016_pairs", "mayo2016_unpaired", "volumes"])
def test_real_series_are_all_found_and_come_back_bit_for_bit(real_data: Path, part: str, tmp_path: Path) -> None:
    expected = {"mayo2016_pairs": 8, "mayo2016_unpaired": 7, "volumes": 9}
    found, skipped = find_series(real_data / part)
    assert len(found) == expected[part]
    assert all("ignored" in entry.reason for entry in skipped)
    for info in found[:3]:
        series = read_series(info)
        out = tmp_path / "out"
        write_corrected(info, np.zeros(info.shape, dtype=np.float32), out, DERIVATION)
        again = read_series(find_series(out)[0][0])
        np.testing.assert_array_equal(again.hu, series.hu)
        shutil.rmtree(out)


@pytest.mark.real_data
def test_lossless_syntaxes_of_one_real_image_agree(real_data: Path) -> None:
    lossless = ("BigEndianExplicit", "DeflatedExplicitVRLittleEndian", "ImplicitLE", "JPEG2000LosslessOnly")
    lossless += ("JPEGLSLossless", "JPEGProcess14", "JPEGProcess14SV1", "LittleEndianImplicit", "RLELossless")
    folder = real_data / "zoo" / "same_image_many_syntaxes"
    images = {file.stem.removeprefix("CTImage_"): find_series(file)[0][0] for file in sorted(folder.iterdir())}
    reference = read_series(images["LittleEndianExplicit"]).hu
    for name in lossless:
        np.testing.assert_array_equal(read_series(images[name]).hu, reference, err_msg=name)
    for name in ("JPEGProcess2_4", "JPEGProcess10_12", "JPEGProcess6_8"):
        with pytest.raises(SeriesError, match="convert it to Explicit VR Little Endian"):
            read_series(images[name])


@pytest.mark.real_data
def test_the_zoo_of_odd_files_gives_reasons_not_tracebacks(real_data: Path) -> None:
    found, skipped = find_series(real_data / "zoo")
    assert len(found) == 28
    assert sum(not info.is_volume for info in found) == 6  # the same image in several syntaxes, mostly
    refused = 0
    for info in found:
        try:
            read_series(info)
        except SeriesError:
            refused += 1
    assert refused == 8
    text = "\n".join(entry.reason for entry in skipped)
    for reason in ("localizer", "MR, not CT", "RescaleType US", "missing 'DICM' prefix"):
        assert reason in text


@pytest.mark.real_data
def test_a_real_nifti_in_hu_is_taken_and_one_in_grey_values_is_not(real_data: Path, tmp_path: Path) -> None:
    grey, true = find_series(real_data / "nifti")[0]
    with pytest.raises(SeriesError, match=r"0\.\.255"):
        read_series(grey)
    assert read_series(true).hu.shape == true.shape
    (out,) = write_corrected(true, np.zeros(true.shape, dtype=np.float32), tmp_path / "out.nii.gz", DERIVATION)
    before, after = nib.load(true.path), nib.load(out)
    differ = {key for key in before.header if before.header[key].tobytes() != after.header[key].tobytes()}
    assert differ == {"descrip"}
    np.testing.assert_array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
