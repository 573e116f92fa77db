"""Reading and writing the pixels of DICOM series; which files make a series is in test_dicom_finding."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from phantom_series import PATIENT_ID, body_hu, put_pixels, save, slice_dataset, stored_body, write_series
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ctcycle.ct.dicom import Derivation
from ctcycle.ct.series import SeriesInfo
from ctcycle.ct.series_io import WriteOptions, find_series, read_series, write_corrected, write_map
from ctcycle.errors import SeriesError

DERIVATION = Derivation(version="9.9", model="tiny", model_digest="sha256:0123", description="Noise reduction.")


def the_series(root: Path) -> SeriesInfo:
    found, skipped = find_series(root)
    assert len(found) == 1, skipped
    return found[0]


def denoised(
    root: Path,
    out: Path,
    step: float = 0.0,
    derivation: Derivation = DERIVATION,
    options: WriteOptions = WriteOptions(),  # noqa: B008 (frozen)
) -> list[pydicom.FileDataset]:
    info = the_series(root)
    files = write_corrected(info, np.full(info.shape, step, dtype=np.float32), out, derivation, options)
    return [pydicom.dcmread(file) for file in files]


@pytest.mark.parametrize(
    ("dtype", "slope", "intercept"), [("uint16", 1.0, -1024.0), ("int16", 1.0, 0.0), ("int16", 2.5, -1000.0)]
)
def test_hu_in_and_the_stored_numbers_out(tmp_path: Path, dtype: str, slope: float, intercept: float) -> None:
    stored = stored_body(3, dtype, slope, intercept)
    write_series(tmp_path / "in", stored, changes={"RescaleSlope": slope, "RescaleIntercept": intercept})
    series = read_series(the_series(tmp_path / "in"))
    np.testing.assert_allclose(series.hu, body_hu(3), atol=slope / 2)
    assert series.hu.dtype == np.float32
    assert series.padding is None
    for dataset, source in zip(denoised(tmp_path / "in", tmp_path / "out"), stored, strict=True):
        assert dataset.pixel_array.dtype == source.dtype
        np.testing.assert_array_equal(dataset.pixel_array, source)
        assert (dataset.RescaleSlope, dataset.RescaleIntercept) == (slope, intercept)


def test_the_rescale_is_each_slice_s_own(tmp_path: Path) -> None:
    for number, slope in enumerate([1.0, 2.0, 4.0], start=1):
        dataset = slice_dataset(stored_body(3, "int16", slope, -1024.0)[number - 1], number=number)
        dataset.RescaleSlope = slope
        save(dataset, tmp_path / "in" / f"{number}.dcm")
    np.testing.assert_allclose(read_series(the_series(tmp_path / "in")).hu, body_hu(3), atol=2)
    stored = [dataset.pixel_array for dataset in denoised(tmp_path / "in", tmp_path / "out", 8.0)]
    for number, slope in enumerate([1.0, 2.0, 4.0]):
        steps = stored[number] - stored_body(3, "int16", slope, -1024.0)[number].astype(int)
        assert np.unique(steps).tolist() == [8 / slope]


def test_reading_follows_position_and_writing_follows_reading(tmp_path: Path) -> None:
    write_series(tmp_path / "in", names=["c.dcm", "a.dcm", "b.dcm"])
    info = the_series(tmp_path / "in")
    np.testing.assert_array_equal(read_series(info).hu, body_hu(3))
    correction = np.array([10, 20, 30], dtype=np.float32)[:, None, None] * np.ones(info.shape, dtype=np.float32)
    for number, file in enumerate(write_corrected(info, correction, tmp_path / "out", DERIVATION)):
        dataset = pydicom.dcmread(file)
        assert file.name == f"IM{number + 1:05d}.dcm"
        assert dataset.ImagePositionPatient[2] == 2.0 * (number + 1)
        assert dataset.InstanceNumber == number + 1
        np.testing.assert_array_equal(dataset.pixel_array, stored_body(3)[number] + 10 * (number + 1))


@pytest.mark.parametrize("marker", [-100, 65436])
def test_padding_is_marked_read_as_air_and_written_back_untouched(tmp_path: Path, marker: int) -> None:
    stored = stored_body(3, "int16")
    stored[:, :4, :4] = -100
    vr = "SS" if marker < 0 else "US"
    for number, pixels in enumerate(stored, start=1):
        dataset = slice_dataset(pixels, number=number)
        dataset.add_new("PixelPaddingValue", vr, marker)
        save(dataset, tmp_path / "in" / f"{number}.dcm")
    series = read_series(the_series(tmp_path / "in"))
    assert series.padding is not None
    np.testing.assert_array_equal(series.padding, stored == -100)
    assert np.all(series.hu[series.padding] == -1024)
    for dataset, source in zip(denoised(tmp_path / "in", tmp_path / "out", 7.0), stored, strict=True):
        np.testing.assert_array_equal(dataset.pixel_array, np.where(source == -100, -100, source + 7))
        assert dataset.PixelPaddingValue == marker


def test_a_padding_range_is_all_padding(tmp_path: Path) -> None:
    stored = stored_body(1, "int16")
    stored[0, 0, :3] = [-100, -90, -80]
    dataset = slice_dataset(stored[0])
    dataset.add_new("PixelPaddingValue", "SS", -90)
    dataset.add_new("PixelPaddingRangeLimit", "SS", -120)
    save(dataset, tmp_path / "1.dcm")
    series = read_series(the_series(tmp_path))
    assert series.padding is not None
    assert series.padding.sum() == 2
    assert series.padding[0, 0, :3].tolist() == [True, True, False]


def test_padding_without_a_tag_is_known_by_impossible_values(tmp_path: Path) -> None:
    stored = stored_body(2, "int16")
    stored[1, 0] = -2000
    write_series(tmp_path, stored)
    series = read_series(the_series(tmp_path))
    assert series.padding is not None
    assert series.padding.any(axis=(1, 2)).tolist() == [False, True]


def test_corrections_are_clipped_to_the_bits_stored(tmp_path: Path) -> None:
    stored = stored_body(1)
    stored[0, 0, 0], stored[0, 0, 1] = 4090, 3
    write_series(tmp_path / "in", stored, changes={"BitsStored": 12, "HighBit": 11})
    assert denoised(tmp_path / "in", tmp_path / "up", 20.0)[0].pixel_array[0, 0] == 4095
    assert denoised(tmp_path / "in", tmp_path / "down", -20.0)[0].pixel_array[0, 1] == 0


@pytest.mark.parametrize(
    "syntax",
    [
        ExplicitVRLittleEndian,
        ImplicitVRLittleEndian,
        ExplicitVRBigEndian,
        DeflatedExplicitVRLittleEndian,
        RLELossless,
        JPEGLSLossless,
        JPEG2000Lossless,
    ],
)
def test_every_lossless_syntax_gives_the_same_numbers_in_and_out(tmp_path: Path, syntax: Any) -> None:
    stored = stored_body(2, "int16")
    for number, pixels in enumerate(stored, start=1):
        dataset = slice_dataset(pixels, number=number)
        dataset.add_new("RedPaletteColorLookupTableData", "OW", b"\1\2")
        if syntax.is_compressed:
            dataset.compress(syntax, generate_instance_uid=False)
        else:
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.PixelData = pixels.astype(">i2" if not syntax.is_little_endian else "<i2").tobytes()
            dataset["PixelData"].VR = "OW"
        save(dataset, tmp_path / "in" / f"{number}.dcm")
    np.testing.assert_array_equal(read_series(the_series(tmp_path / "in")).hu, body_hu(2))
    for dataset, source in zip(denoised(tmp_path / "in", tmp_path / "out"), stored, strict=True):
        assert dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert (
            "RedPaletteColorLookupTableData" in dataset
        ) == syntax.is_little_endian  # the bytes of other words are not swapped
        np.testing.assert_array_equal(dataset.pixel_array, source)


def test_what_was_lossy_once_stays_flagged(tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.compress(JPEGLSNearLossless, jls_error=2, generate_instance_uid=False)
    dataset.pop("LossyImageCompression", None)
    save(dataset, tmp_path / "in" / "1.dcm")
    derived = denoised(tmp_path / "in", tmp_path / "out")[0]
    assert derived.LossyImageCompression == "01"
    assert derived.LossyImageCompressionMethod == "ISO_14495_1"
    size = len(dataset.PixelData)
    assert derived.LossyImageCompressionRatio == pytest.approx(dataset.Rows * dataset.Columns * 2 / size, abs=0.01)


def test_the_derived_header_says_what_it_is(tmp_path: Path) -> None:
    sources = [pydicom.dcmread(file) for file in write_series(tmp_path / "in")]
    derived = denoised(tmp_path / "in", tmp_path / "out", 1.0)
    assert {dataset.SeriesInstanceUID for dataset in derived} != {sources[0].SeriesInstanceUID}
    assert len({dataset.SeriesInstanceUID for dataset in derived}) == 1
    assert len({dataset.SOPInstanceUID for dataset in [*derived, *sources]}) == 6
    for dataset, source in zip(derived, sources, strict=True):
        assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert dataset.ImageType == ["DERIVED", "SECONDARY", "AXIAL"]
        assert dataset.SeriesDescription == "Abdomen 2.0 ctcycle denoised"
        assert dataset.SeriesNumber == 4001
        assert dataset.DerivationDescription == (
            "Noise reduction. Not for diagnostic use, research use only. ctcycle 9.9, model tiny, weights sha256:0123."
        )
        assert dataset.ImageComments == "Not for diagnostic use, research use only."
        assert dataset.DerivationCodeSequence[-1].CodeValue == "113087"
        assert dataset.file_meta.ImplementationVersionName == "CTCYCLE_9.9"
        assert dataset.SourceImageSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert "ReferencedFrameNumber" not in dataset.SourceImageSequence[0]
        (series,) = dataset.ReferencedSeriesSequence
        assert series.SeriesInstanceUID == source.SeriesInstanceUID
        assert series.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == source.SOPInstanceUID
        assert dataset.ContributingEquipmentSequence[-1].SoftwareVersions == ["sha256:0123", "9.9"]
        for kept in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient"):
            assert dataset[kept] == source[kept]


def test_what_the_source_said_of_itself_is_kept_beside_what_is_new(tmp_path: Path) -> None:
    said = {
        "ImageType": ["DERIVED", "PRIMARY", "AXIAL", "VMI", "X"],
        "DerivationDescription": "Metal artefact reduction",
        "ImageComments": "z" * 10_240,
        "SeriesDescription": "y" * 64,
        "SeriesNumber": 2_147_483_647,
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": "7.5",
        "LossyImageCompressionMethod": "ISO_15444_1",
        "BurnedInAnnotation": "NO",
        "SpecificCharacterSet": "ISO_IR 192",
        "InstitutionName": "Sjúkrahús 病院",
        "WindowCenter": [40, -500],
        "WindowWidth": [400, 1500],
        "IrradiationEventUID": "1.2.826.0.1.99",
        "PatientName": "Åse=山田",
    }
    files = write_series(tmp_path / "in", changes=said)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.ContributingEquipmentSequence = Sequence([Dataset()])
        dataset.ContributingEquipmentSequence[0].Manufacturer = "ACME"
        dataset.DerivationCodeSequence = Sequence([Dataset()])
        dataset.DerivationCodeSequence[0].CodeValue = "113072"
        dataset.save_as(file)
    (derived, *_) = denoised(tmp_path / "in", tmp_path / "out")
    changed = {
        "ImageType": ["DERIVED", "SECONDARY", "AXIAL", "VMI", "X"],
        "DerivationDescription": (
            "Noise reduction. Not for diagnostic use, research use only. ctcycle 9.9, model tiny, weights sha256:0123. "
            "Previously: Metal artefact reduction"
        ),
        "ImageComments": f"{10_000 * 'z'}; Not for diagnostic use, research use only.",
        "SeriesDescription": f"{40 * 'y'} ctcycle denoised",
        "SeriesNumber": 1,
    }
    assert {keyword: derived[keyword].value for keyword in said} == {
        keyword: changed.get(keyword, pydicom.dcmread(files[0])[keyword].value) for keyword in said
    }
    assert [item.Manufacturer for item in derived.ContributingEquipmentSequence] == ["ACME", "ctcycle"]
    assert [item.CodeValue for item in derived.DerivationCodeSequence] == ["113072", "113087"]


@pytest.mark.parametrize(("kind", "place", "window"), [("residual", 2, (0, 200)), ("uncertainty", 3, (25, 50))])
def test_a_map_replaces_the_pixels_and_says_what_it_is(
    tmp_path: Path, kind: Any, place: int, window: tuple[int, int]
) -> None:
    stored = stored_body(2, "int16", 2.0, -1000.0)
    changes = {"RescaleSlope": 2, "RescaleIntercept": -1000, "PixelPaddingValue": int(stored[0, 0, 0])}
    write_series(tmp_path / "in", stored, changes=changes | {"WindowCenter": 40, "WindowWidth": 400})
    info = the_series(tmp_path / "in")
    hu = np.linspace(-30, 30, info.shape[1] * info.shape[2], dtype=np.float32).reshape(info.shape[1:])
    derivation = replace(DERIVATION, kind=kind)
    files = write_map(info, (sign * hu for sign in (1, -1)), tmp_path / "out", derivation)
    image = pydicom.dcmread(files[1])
    np.testing.assert_allclose(image.pixel_array * 2.0 - 1000, -hu, atol=1)
    assert image.ImageType == ["DERIVED", "SECONDARY", "AXIAL", kind.upper()]
    assert image.SeriesDescription == f"Abdomen 2.0 ctcycle {kind}"
    assert image.SeriesNumber == 4000 + place
    assert "Not an image of the patient but a map" in image.DerivationDescription
    assert (image.WindowCenter, image.WindowWidth) == window
    assert "PixelPaddingValue" not in image
    plain = denoised(tmp_path / "in", tmp_path / "plain")[1]
    assert plain.SeriesInstanceUID != image.SeriesInstanceUID
    assert plain.SOPInstanceUID != image.SOPInstanceUID


def test_private_elements_stay_on_request(tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.private_block(0x0029, "A VENDOR", create=True).add_new(0x10, "LO", "text")
    save(dataset, tmp_path / "in" / "1.dcm")
    keeping = WriteOptions(keep_private=True)
    (kept,) = denoised(tmp_path / "in", tmp_path / "out", options=keeping)
    info = the_series(tmp_path / "in")
    files = write_map(info, read_series(info).hu, tmp_path / "map", replace(DERIVATION, kind="residual"), keeping)
    for image in (kept, pydicom.dcmread(files[0])):
        assert image.private_block(0x0029, "A VENDOR")[0x10].value == "text"


def test_slices_that_may_miss_one_are_denoised_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = write_series(tmp_path / "in", stored_body(6))
    assert len(denoised(tmp_path / "in", tmp_path / "whole")) == 6
    assert not caplog.messages
    files[2].unlink()
    assert len(denoised(tmp_path / "in", tmp_path / "out")) == 5
    (message,) = caplog.messages
    assert "slices 2 and 3 are 4 mm apart" in message


def test_what_a_derivation_says_must_be_writable(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    image = denoised(
        tmp_path / "in", tmp_path / "out", derivation=Derivation("1" * 99, "a\\b" * 40, "0" * 99, "x" * 900)
    )[0]
    (equipment,) = image.ContributingEquipmentSequence
    assert equipment.ManufacturerModelName == ("a/b" * 40)[:64]
    assert equipment.SoftwareVersions == ["0" * 64, "1" * 63]
    assert "Not for diagnostic use" in image.DerivationDescription
    assert len(image.DerivationDescription) == 1024


def test_a_source_header_that_breaks_the_rules_is_refused(tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.add_new("DerivationCodeSequence", "LO", "no sequence")
    save(dataset, tmp_path / "in" / "1.dcm")
    with pytest.raises(SeriesError, match=r"1\.dcm: cannot write its header as DICOM"):
        denoised(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_a_name_in_another_character_set_than_declared_keeps_its_bytes(tmp_path: Path, syntax: Any) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.PatientName, dataset.PatientID, dataset.SeriesDescription = "MQQller^Eva", "QQ7", "gefQQhrt"
    file = save(dataset, tmp_path / "in" / "1.dcm")
    file.write_bytes(file.read_bytes().replace(b"QQ", b"\xfc\xfc"))  # not UTF-8
    image = denoised(tmp_path / "in", tmp_path / "out")[0]
    assert image.get_item("PatientName").value.strip() == b"M\xfc\xfcller^Eva"
    assert image.get_item("PatientID").value.strip() == b"\xfc\xfc7"
    assert image.SeriesDescription.endswith("hrt ctcycle denoised")


def test_what_would_be_stale_is_dropped(tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1, "int16")[0])
    dataset.private_block(0x0029, "A VENDOR", create=True).add_new(0x10, "LO", "secret")
    dataset.add_new("SmallestImagePixelValue", "SS", -3)
    dataset.add_new(0x60003000, "OW", b"\0\0")
    dataset.add_new(0x60000010, "US", 32)
    icon = Dataset()
    icon.Rows = 4
    dataset.IconImageSequence = Sequence([icon])
    dataset.InstanceCreationDate, dataset.StudyDate = "20200101", "20200101"
    save(dataset, tmp_path / "in" / "1.dcm")
    (derived,) = denoised(tmp_path / "in", tmp_path / "out")
    assert derived.HighBit == 15
    assert not any(element.tag.is_private or element.tag.group == 0x6000 for element in derived)
    assert not {"IconImageSequence", "InstanceCreationDate"} & set(derived.dir())
    assert derived.SmallestImagePixelValue == stored_body(1, "int16").min() != -3
    assert "LargestImagePixelValue" not in derived
    assert derived.StudyDate == "20200101"


def test_a_second_run_gives_the_same_bytes_and_another_model_other_uids(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    first, second = denoised(tmp_path / "in", tmp_path / "a", 3.0), denoised(tmp_path / "in", tmp_path / "b", 3.0)
    for number in (1, 2, 3):
        name = f"IM{number:05d}.dcm"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    other = denoised(tmp_path / "in", tmp_path / "c", 3.0, Derivation("9.9", "tiny", "sha256:4567", "Noise reduction."))
    assert other[0].SeriesInstanceUID != first[0].SeriesInstanceUID
    stronger = denoised(tmp_path / "in", tmp_path / "d", 4.0)
    assert stronger[0].SeriesInstanceUID == second[0].SeriesInstanceUID
    assert stronger[0].SOPInstanceUID != second[0].SOPInstanceUID


def test_a_source_without_uids_gets_valid_ones(tmp_path: Path) -> None:
    names = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
    write_series(tmp_path / "in", changes=dict.fromkeys(names, ""))
    derived = denoised(tmp_path / "in", tmp_path / "out")
    assert len({dataset.SOPInstanceUID for dataset in derived}) == 3
    assert len({(dataset.StudyInstanceUID, dataset.SeriesInstanceUID) for dataset in derived}) == 1
    assert derived[0].StudyInstanceUID.is_valid
    assert derived[0].SeriesInstanceUID.is_valid
    assert "SourceImageSequence" not in derived[0]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEGLSLossless, RLELossless])
def test_cut_pixels_are_named(tmp_path: Path, syntax: Any) -> None:
    files = write_series(tmp_path)
    dataset = slice_dataset(stored_body()[1], number=2)
    if syntax.is_compressed:
        dataset.compress(syntax, generate_instance_uid=False)
    save(dataset, files[1])
    content = files[1].read_bytes()
    files[1].write_bytes(content[: len(content) - 600])
    info = the_series(tmp_path)
    with pytest.raises(SeriesError, match=r"0002\.dcm: .*copy"):
        read_series(info)


def test_an_unknown_syntax_is_named(tmp_path: Path) -> None:
    file = write_series(tmp_path, stored_body(1))[0]
    content = file.read_bytes()
    file.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0"))
    info = the_series(tmp_path)
    with pytest.raises(SeriesError, match=r"no decoder for 1\.2\.840\.10008\.9\.9\.9; convert"):
        read_series(info)


def test_a_file_that_vanished_or_changed_is_named(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    info = the_series(tmp_path)
    dataset = slice_dataset(stored_body()[1], number=2)
    put_pixels(dataset, stored_body()[1][:16])
    save(dataset, files[1])
    with pytest.raises(SeriesError, match=r"0002\.dcm: shape is \(16, 36\), but was \(32, 36\)"):
        read_series(info)
    files[1].unlink()
    with pytest.raises(SeriesError, match=r"0002\.dcm: .*FileNotFoundError"):
        read_series(info)


def test_stored_values_behind_an_empty_rescale_are_noticed(tmp_path: Path) -> None:
    write_series(tmp_path, changes={"RescaleIntercept": 0})
    info = the_series(tmp_path)
    with pytest.raises(SeriesError, match="stored values without their rescale intercept"):
        read_series(info)
    np.testing.assert_array_equal(read_series(info, assume_hu=True).hu, body_hu() + 1024)


def test_odd_values_neither_warn_nor_tell_who_it_is(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    file = write_series(tmp_path / "in", stored_body(1))[0]
    content = file.read_bytes()
    uid = str(pydicom.dcmread(file).SOPInstanceUID).encode()
    # pydicom warns of a UID like this, and quotes it, when a header is copied
    file.write_bytes(content.replace(b"19330303", b"ZZCANARY").replace(uid, b"ZZCANARY" + uid[8:]))
    derived = denoised(tmp_path / "in", tmp_path / "out")
    assert derived[0].PatientID == PATIENT_ID
    info = the_series(tmp_path / "in")
    file.write_bytes(content[:-9])
    with pytest.raises(SeriesError) as caught:
        read_series(info)
    names = [name for _folder, folders, files in os.walk(tmp_path) for name in [*folders, *files]]
    assert "CANARY" not in "".join([str(caught.value), *names, caplog.text, *capfd.readouterr()])


def test_what_may_name_a_patient_outside_the_elements_is_dropped(tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.preamble = b"JANE DOE".ljust(128, b"\0")
    dataset.add_new(0x50000005, "US", 1)
    dataset.add_new(0x50021001, "UI", "1.2.3")
    dataset.add_new("EncapsulatedDocument", "OB", b"JANE DOE")
    save(dataset, tmp_path / "in" / "1.dcm")
    denoised(tmp_path / "in", tmp_path / "out")
    (file,) = (tmp_path / "out").iterdir()
    image = pydicom.dcmread(file)
    assert image.preamble == bytes(128)
    assert "EncapsulatedDocument" not in image
    assert not [tag for tag in image.keys() if tag.group in {0x5000, 0x5002}]  # noqa: SIM118 (iterating decodes)
    assert b"JANE DOE" not in file.read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 65535},
        {"PixelPaddingValue": 1064},
        {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 1064},
        {"PixelPaddingValue": 200},
    ],
    ids=["everything", "soft tissue", "air and soft tissue", "lung"],
)
def test_padding_that_tissue_can_have_marks_nothing(tmp_path: Path, changes: dict[str, int]) -> None:
    """All values are read as they are, those equal to the padding value and those beside them."""
    stored = stored_body()
    stored[:, 12:20, 12:20] = 1064
    stored[:, 14, 14] = 200
    write_series(tmp_path / "in", stored, changes=changes)
    series = read_series(the_series(tmp_path / "in"))
    assert series.padding is None
    np.testing.assert_array_equal(series.hu, stored.astype(np.float32) - 1024)
    images = denoised(tmp_path / "in", tmp_path / "out", step=9)
    np.testing.assert_array_equal([image.pixel_array for image in images], stored + 9)


@pytest.mark.parametrize("changes", [{"PixelPaddingValue": 0}, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 124}])
def test_padding_as_dark_as_air_is_marked(tmp_path: Path, changes: dict[str, int]) -> None:
    stored = stored_body()
    stored[:, :4] = max(changes.values())
    write_series(tmp_path / "in", stored, changes=changes)
    padding = read_series(the_series(tmp_path / "in")).padding
    assert padding is not None
    assert padding[:, :4].all()
    assert not padding[:, 10:22, 10:22].any()


def test_a_padding_value_that_tissue_can_have_is_padding_only_up_to_the_border(tmp_path: Path) -> None:
    """The corners outside a round field of view are filled with the value of some pixels of soft tissue."""
    stored = stored_body()
    rows, columns = np.mgrid[:32, :36]
    corners = np.hypot(rows - 15.5, columns - 17.5) > 17
    stored[:, corners] = 1064
    stored[:, 12:20, 12:20] = 1064
    write_series(tmp_path / "in", stored, changes={"PixelPaddingValue": 1064})
    padding = read_series(the_series(tmp_path / "in")).padding
    assert padding is not None
    np.testing.assert_array_equal(padding, np.broadcast_to(corners, stored.shape))
    images = denoised(tmp_path / "in", tmp_path / "out", step=9)
    np.testing.assert_array_equal([image.pixel_array for image in images], stored + 9 * ~corners)


def test_a_padding_value_of_single_pixels_at_the_border_changes_nothing(tmp_path: Path) -> None:
    """The body fills the image, and noise gives single pixels the padding value; their neighbours are soft tissue."""
    stored = np.random.default_rng(0).normal(1064, 30, (2, 128, 128)).round().astype(np.uint16)
    stored[:, 60:70] = 24
    write_series(tmp_path / "in", stored, changes={"PixelPaddingValue": 1064})
    series = read_series(the_series(tmp_path / "in"))
    assert (series.hu == 40).sum() > 100
    np.testing.assert_array_equal(series.hu, stored.astype(np.float32) - 1024)


@pytest.mark.parametrize(("found", "kept"), [("HU_MOD", "HU_MOD"), ("HU", "HU"), (None, "HU"), ("", "HU")])
def test_the_rescale_type_stays_what_it_is(tmp_path: Path, found: str | None, kept: str) -> None:
    write_series(tmp_path / "in", changes={"RescaleType": found})
    assert {image.RescaleType for image in denoised(tmp_path / "in", tmp_path / "out", step=9)} == {kept}
