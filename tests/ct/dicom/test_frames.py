"""Enhanced multi-frame CT: every frame a slice, written as classic single-frame images."""

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from phantom_enhanced import enhanced_dataset, write_enhanced
from phantom_series import body_hu, save, stored_body, write_series
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, JPEGLSLossless, RLELossless

from ctcycle.ct import dicom
from ctcycle.ct.dicom import Derivation, find_series, read_stored, write_corrected
from ctcycle.ct.series import SeriesInfo, Skipped
from ctcycle.errors import SeriesError

DERIVATION = Derivation(version="9.9", model="tiny", model_digest="sha256:0123")


def found_in(folder: Path) -> tuple[list[SeriesInfo], list[Skipped]]:
    return find_series(sorted(folder.iterdir()))


def the_series(folder: Path) -> SeriesInfo:
    found, skipped = found_in(folder)
    assert len(found) == 1, skipped
    assert not skipped
    return found[0]


def hu(info: SeriesInfo, slices: list[int] | None = None) -> NDArray[np.float32]:
    return np.concatenate([stored.hu() for stored in read_stored(info, slices)])


def denoised(info: SeriesInfo, out: Path, step: float = 0.0) -> list[pydicom.FileDataset]:
    out.mkdir(exist_ok=True)
    steps = np.full(info.shape, step, dtype=np.float32)
    return [pydicom.dcmread(file) for file in write_corrected(info, steps, out, DERIVATION)]


def test_an_enhanced_file_is_found_as_the_classic_files_of_the_same_slices(tmp_path: Path) -> None:
    classic = the_series(write_series(tmp_path / "classic", stored_body(5))[0].parent)
    file = write_enhanced(tmp_path / "enhanced" / "all.dcm", stored_body(5), order=[3, 0, 4, 1, 2])
    enhanced = the_series(file.parent)
    assert enhanced.files == (file,)
    for name in ("shape", "spacing_mm", "positions_mm", "plane", "kernel", "thickness_mm", "patient_id", "uid"):
        assert getattr(enhanced, name) == getattr(classic, name), name
    np.testing.assert_array_equal(hu(enhanced), body_hu(5))


def test_some_slices_are_read_without_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = the_series(write_enhanced(tmp_path / "all.dcm", stored_body(5), order=[4, 3, 2, 1, 0]).parent)
    decoded = []

    def watched(dataset: Any, index: int, **options: Any) -> Any:
        decoded.append(index)
        return pydicom.pixels.pixel_array(dataset, index=index, **options)

    monkeypatch.setattr("ctcycle.ct.dicom.reading.pixel_array", watched)
    np.testing.assert_array_equal(hu(info, [1, 4]), body_hu(5)[[1, 4]])
    assert decoded == [3, 0]


def test_the_file_is_opened_once_for_all_its_frames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = the_series(write_enhanced(tmp_path / "all.dcm", stored_body(4)).parent)
    opened = []
    read = dicom.reading.read_dataset
    monkeypatch.setattr("ctcycle.ct.dicom.reading.read_dataset", lambda path: opened.append(path) or read(path))
    hu(info)
    assert opened == [info.files[0]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_frames_come_out_as_classic_images_with_their_own_numbers(tmp_path: Path, syntax: Any) -> None:
    stored = stored_body(3)
    dataset = enhanced_dataset(stored[::-1], [6.0, 4.0, 2.0])
    if syntax.is_compressed:
        dataset.compress(syntax, generate_instance_uid=False)
    source = save(dataset, tmp_path / "in" / "all.dcm")
    derived = denoised(the_series(source.parent), tmp_path / "out")
    assert len({image.SOPInstanceUID for image in derived}) == 3
    for number, image in enumerate(derived):
        np.testing.assert_array_equal(image.pixel_array, stored[number])
        assert image.SOPClassUID == image.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert image.InstanceNumber == number + 1
        assert image.ImagePositionPatient == [-10, -20, 2.0 * (number + 1)]
        (reference,) = image.SourceImageSequence
        assert reference.ReferencedSOPClassUID == EnhancedCTImageStorage
        assert reference.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        assert reference.ReferencedFrameNumber == 3 - number


def test_what_functional_groups_say_is_said_at_the_top(tmp_path: Path) -> None:
    source = write_enhanced(tmp_path / "in" / "all.dcm", stored_body(3))
    image = denoised(the_series(source.parent), tmp_path / "out")[0]
    said = {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL"],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.75, 0.5],
        "SliceThickness": 3,
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
        "RescaleType": "HU",
        "WindowCenter": 40,
        "WindowWidth": 400,
        "ConvolutionKernel": ["B30f", "3"],
        "ReconstructionDiameter": 360,
        "KVP": 120,
        "ExposureTime": 500,
        "XRayTubeCurrent": 200,
        "ExposureModulationType": "NONE",
        "SpiralPitchFactor": 0.9,
        "AcquisitionNumber": 6,
        "AcquisitionDate": "20200102",
        "AcquisitionTime": "030405.5",
        "StudyInstanceUID": "1.2.826.0.1.7",
        "FrameOfReferenceUID": "1.2.826.0.1.8",
    }
    assert {keyword: image.get(keyword) for keyword in said} == said
    gone = {
        "NumberOfFrames",
        "PerFrameFunctionalGroupsSequence",
        "SharedFunctionalGroupsSequence",
        "VolumetricProperties",
    }
    assert not gone & set(image.dir())


def test_each_frame_has_the_rescale_of_its_own_group(tmp_path: Path) -> None:
    slopes = [1.0, 2.0, 4.0]
    stored = np.stack([stored_body(3, "uint16", slope)[index] for index, slope in enumerate(slopes)])
    source = save(enhanced_dataset(stored, [2.0, 4.0, 6.0], slopes), tmp_path / "in" / "all.dcm")
    info = the_series(source.parent)
    np.testing.assert_allclose(hu(info), body_hu(3), atol=2)
    derived = denoised(info, tmp_path / "out", 8.0)
    assert [image.RescaleSlope for image in derived] == slopes
    for image, before, slope in zip(derived, stored, slopes, strict=True):
        assert np.unique(image.pixel_array.astype(int) - before).tolist() == [8 / slope]


def test_one_series_in_several_files_is_put_together_and_numbered_through(tmp_path: Path) -> None:
    stored = stored_body(5)
    save(enhanced_dataset(stored[[0, 2, 4]], [2.0, 6.0, 10.0], name="a"), tmp_path / "in" / "a.dcm")
    save(enhanced_dataset(stored[[1, 3]], [4.0, 8.0], name="b"), tmp_path / "in" / "b.dcm")
    info = the_series(tmp_path / "in")
    assert [file.name for file in info.files] == ["a.dcm", "b.dcm"]
    np.testing.assert_array_equal(hu(info), body_hu(5))
    np.testing.assert_array_equal(hu(info, [3]), body_hu(5)[[3]])
    derived = denoised(info, tmp_path / "out")
    assert [image.InstanceNumber for image in derived] == [1, 2, 3, 4, 5]
    assert len({image.SOPInstanceUID for image in derived}) == 5


def test_a_copy_of_an_enhanced_file_is_dropped_once(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "a.dcm", stored_body(3))
    (tmp_path / "b.dcm").write_bytes(file.read_bytes())
    (info,), skipped = found_in(tmp_path)
    assert info.files == (file,)
    assert [(entry.path.name, entry.reason.split(",")[0]) for entry in skipped] == [
        ("b.dcm", "byte-for-byte copy of another file of its series")
    ]


def test_phases_in_one_file_are_all_kept_with_a_note(tmp_path: Path) -> None:
    save(enhanced_dataset(stored_body(4), [2.0, 4.0, 2.0, 4.0]), tmp_path / "all.dcm")
    info = the_series(tmp_path)
    assert not info.is_volume
    assert info.positions_mm == (2.0, 2.0, 4.0, 4.0)
    assert info.notes[0].startswith("has 4 images at 2 positions, such as phases or repeats")
    np.testing.assert_array_equal(hu(info), body_hu(4)[[0, 2, 1, 3]])
    images = denoised(info, tmp_path / "out", step=3)
    np.testing.assert_array_equal([image.pixel_array for image in images], stored_body(4)[[0, 2, 1, 3]] + 3)


def test_functional_groups_that_are_too_few_are_damage(tmp_path: Path) -> None:
    dataset = enhanced_dataset(stored_body(3), [2.0, 4.0, 6.0])
    dataset.PerFrameFunctionalGroupsSequence.pop()
    save(dataset, tmp_path / "all.dcm")
    found, (skipped,) = found_in(tmp_path)
    assert found == []
    assert skipped.damaged


def test_a_file_that_lost_frames_since_is_named(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "all.dcm", stored_body(3))
    info = the_series(tmp_path)
    write_enhanced(file, stored_body(2))
    with pytest.raises(SeriesError, match="has 2 frames, but had 3 when it was found"):
        hu(info)


def test_cut_frames_are_named(tmp_path: Path) -> None:
    file = write_enhanced(tmp_path / "all.dcm", stored_body(3))
    info = the_series(tmp_path)
    file.write_bytes(file.read_bytes()[:-600])
    with pytest.raises(SeriesError, match=r"all\.dcm: .*copy"):
        hu(info)


def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    info = the_series(write_enhanced(tmp_path / "in" / "all.dcm", stored_body(3)).parent)
    for name in ("a", "b"):
        denoised(info, tmp_path / name, 3.0)
    for number in (1, 2, 3):
        name = f"IM{number:05d}.dcm"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def as_hu(source: Path, target: Path) -> Path:
    """A copy of a map that a scanner made, its values called HU."""
    content = source.read_bytes()
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content.replace(b"(\0T\x10LO\x02\0US", b"(\0T\x10LO\x02\0HU"))
    return target


@pytest.mark.real_data
def test_frames_of_every_lossless_syntax_agree(real_data: Path, tmp_path: Path) -> None:
    plain, *others = sorted((real_data / "zoo" / "enhanced_multiframe").glob("CT0012.*"))
    reference = pydicom.dcmread(plain).pixel_array[::-1]  # its frames run against their normal
    lossless = [file for file in others if not any(lossy in file.name for lossy in (".51.", ".81."))]
    assert len(lossless) == 7
    for file in [plain, *lossless]:
        info = the_series(as_hu(file, tmp_path / file.stem / "all.dcm").parent)
        values = np.concatenate([stored.values for stored in read_stored(info)])
        np.testing.assert_array_equal(values, reference, err_msg=file.name)
