import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian

from ctcycle.ct.dicom.creating import SeriesHeader, write_new_series
from ctcycle.errors import OutputError, SeriesError

HEADER = SeriesHeader(
    patient="sim007",
    study="seed 1 sim007",
    number=2,
    description="low dose 0.25 simulated",
    derivation="Simulated",
    kernel="soft",
    pixel_mm=1.4 / 3,
    slice_spacing_mm=2.5,
    first_z_mm=-31.3,
)
HU = np.random.default_rng(0).uniform(-1100, 1500, (3, 6, 8)).astype(np.float32)

# Type 1 and 2 attributes of the modules of a CT image (DICOM PS3.3 A.3.3), type 1 with a value.
TYPE_1 = (
    *("StudyInstanceUID", "Modality", "SeriesInstanceUID", "FrameOfReferenceUID", "PixelSpacing", "ImageType"),
    *("ImageOrientationPatient", "ImagePositionPatient", "SamplesPerPixel", "PhotometricInterpretation", "Rows"),
    *("Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData", "RescaleIntercept"),
    *("RescaleSlope", "SOPClassUID", "SOPInstanceUID"),
)
TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "StudyDate", "StudyTime"),
    *("StudyID", "AccessionNumber", "SeriesNumber", "PositionReferenceIndicator", "Manufacturer", "InstanceNumber"),
    *("SliceThickness", "KVP", "AcquisitionNumber", "PatientPosition"),
)


@pytest.fixture
def files(tmp_path: Path) -> list[pydicom.FileDataset]:
    paths = write_new_series(HU, tmp_path / "deep" / "series", HEADER)
    assert [path.name for path in paths] == ["0001.dcm", "0002.dcm", "0003.dcm"]
    assert sorted(paths) == sorted((tmp_path / "deep" / "series").iterdir())
    return [pydicom.dcmread(path) for path in paths]


def test_values_come_back_rounded_not_truncated(files: list[pydicom.FileDataset]) -> None:
    for slice_hu, file in zip(HU, files, strict=True):
        back = file.pixel_array * float(file.RescaleSlope) + float(file.RescaleIntercept)
        assert np.array_equal(back, np.rint(slice_hu))


def test_every_required_attribute_is_there(files: list[pydicom.FileDataset]) -> None:
    for file in files:
        assert [name for name in TYPE_1 if name not in file or file[name].is_empty] == []
        assert [name for name in TYPE_2 if name not in file] == []
        assert file.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert file.SOPClassUID == file.file_meta.MediaStorageSOPClassUID == CTImageStorage
        assert file.SOPInstanceUID == file.file_meta.MediaStorageSOPInstanceUID
        assert file.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert (file.BitsStored, file.HighBit, file.PixelRepresentation) == (16, 15, 1)
        assert (file.Rows, file.Columns) == (6, 8)


def test_geometry_has_its_origin_in_the_middle_pixel(files: list[pydicom.FileDataset]) -> None:
    positions = np.array([file.ImagePositionPatient for file in files], float)
    assert positions[:, 2] == pytest.approx([-31.3, -28.8, -26.3])
    assert positions[:, :2] == pytest.approx(np.tile([-4 * 1.4 / 3, -3 * 1.4 / 3], (3, 1)), abs=1e-9)
    assert [file.InstanceNumber for file in files] == [1, 2, 3]
    assert [float(v) for v in files[0].PixelSpacing] == pytest.approx([1.4 / 3, 1.4 / 3])
    assert files[0].SliceThickness == 2.5
    assert files[0].ImageOrientationPatient == [1, 0, 0, 0, 1, 0]


def test_the_header_names_the_made_up_patient_only(files: list[pydicom.FileDataset]) -> None:
    assert str(files[0].PatientName) == files[0].PatientID == "sim007"
    assert files[0].SeriesDescription == "low dose 0.25 simulated"
    assert (files[0].SeriesNumber, files[0].ConvolutionKernel) == (2, "soft")


def test_uids_are_valid_unique_and_shared_where_they_must_be(files: list[pydicom.FileDataset], tmp_path: Path) -> None:
    other = write_new_series(HU + 1, tmp_path / "full", replace(HEADER, number=1))
    both = [*files, *(pydicom.dcmread(path) for path in other)]
    assert all(UID(file.SOPInstanceUID).is_valid for file in both)
    for name, count in (("SOPInstanceUID", 6), ("SeriesInstanceUID", 2), ("StudyInstanceUID", 1)):
        assert len({file[name].value for file in both}) == count
    assert len({file.FrameOfReferenceUID for file in both}) == 1
    (elsewhere, *_) = write_new_series(HU, tmp_path / "elsewhere", replace(HEADER, study="seed 2 sim007"))
    assert pydicom.dcmread(elsewhere).StudyInstanceUID != files[0].StudyInstanceUID


def test_the_same_input_gives_the_same_bytes_and_other_pixels_other_uids(tmp_path: Path) -> None:
    first, again = (write_new_series(HU, tmp_path / name, HEADER) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in again]
    changed = HU.copy()
    changed[0, 0, 0] += 2
    (*_, last) = write_new_series(changed, tmp_path / "c", HEADER)
    assert pydicom.dcmread(last).SOPInstanceUID != pydicom.dcmread(first[-1]).SOPInstanceUID


@pytest.mark.parametrize("value", [np.nan, np.inf, 31744.0, -33793.0])
def test_values_that_do_not_fit_are_refused_before_anything_is_written(value: float, tmp_path: Path) -> None:
    hu = HU.copy()
    hu[2, 1, 1] = value
    with pytest.raises(SeriesError, match="finite and from -33792 to 31743"):
        write_new_series(hu, tmp_path / "series", HEADER)
    assert not list(tmp_path.iterdir())


def test_extreme_values_that_fit_come_back(tmp_path: Path) -> None:
    (path,) = write_new_series(np.array([[[-33792.0, 31743.0]]]), tmp_path, HEADER)
    assert (pydicom.dcmread(path).pixel_array - 1024.0).tolist() == [[-33792.0, 31743.0]]


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        write_new_series(HU, tmp_path / "file" / "series", HEADER)


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian package dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(tmp_path: Path) -> None:
    for path in write_new_series(HU, tmp_path, HEADER):
        result = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr
        assert "Error" not in result.stderr
