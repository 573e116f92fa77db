"""What independent programs say of the DICOM that is written: validators, other parsers, another toolkit.

Where a validator is absent its tests are skipped; where CTCYCLE_REQUIRE_VALIDATORS is 1, they fail instead.
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_validators import REQUIRED, complaints, run
from phantom_enhanced import write_enhanced
from phantom_series import save, slice_dataset, stored_body
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from ctcycle.ct.dicom import Derivation, find_series, write_corrected, write_map
from ctcycle.ct.series import SeriesInfo

NEEDED = {
    "ReferringPhysicianName": "",
    "StudyDate": "20200101",
    "StudyTime": "010203",
    "AccessionNumber": "",
    "StudyID": "1",
    "PatientSex": "O",
    "Manufacturer": "ACME",
    "KVP": 120,
    "AcquisitionNumber": 1,
    "PatientPosition": "HFS",
    "PositionReferenceIndicator": "",
    "BodyPartExamined": "ABDOMEN",
    "SpecificCharacterSet": "ISO_IR 192",
}
"""What phantom_series leaves out, and a CT image must have."""

DERIVATION = Derivation("9.9.9", "tiny", "sha256:" + 64 * "0")


def check_series(sources: Iterable[Path], derived: Iterable[Path]) -> None:
    """Every derived file is a valid CT image, or has no fault that its source lacks, and all parsers read it."""
    sources = list(sources)
    for source, file in zip(sources, derived, strict=True):
        known = complaints(source)
        assert not complaints(file) - known, f"new in {file.name}"
        assert run("dcmdump", "-q", file)[0] == 0
        assert run("dcm2json", file)[0] == 0


def check_entities(sources: list[Path], derived: list[Path]) -> None:
    """Source and derived files agree on patient, study and frame of reference, and nothing has two names."""
    _code, before = run("dcentvfy", *sources)
    code, after = run("dcentvfy", *sources, *derived)
    assert code == 0 or before
    assert not judgements(after) - judgements(before)
    for source, file in zip(sources * (len(derived) // len(sources)), derived, strict=True):
        assert identity(source).items() <= identity(file).items()


def identity(file: Path) -> dict[str, str]:
    """Whose image it is, and where it lies, as far as the file says it."""
    kept = ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "FrameOfReferenceUID")
    dataset = pydicom.dcmread(file, stop_before_pixels=True)
    texts = {keyword: str(dataset.get(keyword, "")).strip() for keyword in kept}
    return {keyword: text for keyword, text in texts.items() if text}


def judgements(lines: Iterable[str]) -> Counter[str]:
    """What dcentvfy says, without the files; blanks and nothing are the same to DICOM, and for us to compare."""
    return Counter(line.partition(" for file ")[0] for line in lines if "Attribute is empty" not in line)


def the_series(files: Iterable[Path]) -> SeriesInfo:
    (info,), _ = find_series(files)
    return info


def written(info: SeriesInfo, folder: Path, derivation: Derivation = DERIVATION) -> list[Path]:
    """The series with no correction at all, or as a map of zeros."""
    folder.mkdir()
    zeros = np.zeros(info.shape, dtype=np.float32)
    write: Callable[..., list[Path]] = write_corrected if derivation.kind == "denoised" else write_map
    return write(info, zeros, folder, derivation)


def phantom(folder: Path, dtype: str = "int16", syntax: Any = None, **elements: Any) -> list[Path]:
    """A series with all that a CT image needs, so that a validator has nothing to say of it."""
    files = []
    intercept, slope = elements.get("RescaleIntercept", -1024), elements.get("RescaleSlope", 1)
    for number, pixels in enumerate(stored_body(3, dtype, slope, intercept), start=1):
        dataset = slice_dataset(pixels, number=number)
        for keyword, value in (NEEDED | elements).items():
            setattr(dataset, keyword, value)
        if syntax is not None and syntax.is_compressed:
            options = {"jls_error": 2} if syntax == JPEGLSNearLossless else {}
            dataset.compress(syntax, generate_instance_uid=False, **options)
        elif syntax is not None:
            dataset.file_meta.TransferSyntaxUID = syntax
            if not syntax.is_little_endian:
                dataset.PixelData = pixels.astype(pixels.dtype.newbyteorder(">")).tobytes()
                dataset["PixelData"].VR = "OW"
        files.append(save(dataset, folder / f"{number}.dcm"))
    return files


VARIANTS: dict[str, dict[str, Any]] = {
    "signed": {},
    "unsigned": {"dtype": "uint16"},
    "slope": {"RescaleSlope": 2.5, "RescaleIntercept": -1000},
    "padding": {"PixelPaddingValue": -2000, "SmallestImagePixelValue": -5, "LargestImagePixelValue": 5},
    "12 bits": {"dtype": "uint16", "BitsStored": 12, "HighBit": 11},
    "derived": {"ImageType": ["DERIVED", "PRIMARY", "AXIAL"], "DerivationDescription": "Metal artefact reduction"},
    "lossy": {
        "LossyImageCompression": "01",
        "LossyImageCompressionRatio": 7,
        "LossyImageCompressionMethod": "ISO_10918_1",
    },
    "comments": {"ImageComments": "x" * 10_240, "SeriesDescription": "y" * 64, "SeriesNumber": 2_147_483_647},
    "names": {"PatientName": "Møller^Åse=山田^太郎", "TimezoneOffsetFromUTC": "+0900"},
    "multi-energy": {"MultienergyCTAcquisition": "NO"},
    "implicit": {"syntax": ImplicitVRLittleEndian},
    "big endian": {"syntax": ExplicitVRBigEndian},
    "deflated": {"syntax": DeflatedExplicitVRLittleEndian},
    "RLE": {"syntax": RLELossless},
    "JPEG-LS": {"syntax": JPEGLSLossless},
    "JPEG-LS lossy": {"syntax": JPEGLSNearLossless},
    "JPEG 2000": {"syntax": JPEG2000Lossless},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_validators_find_nothing_in_what_is_written(tmp_path: Path, name: str) -> None:
    sources = phantom(tmp_path / "in", **VARIANTS[name])
    derived = written(the_series(sources), tmp_path / "out")
    for file in derived:
        code, lines = run("dciodvfy", "-new", file)
        assert code == 0, lines
        assert lines == ["CTImage"], lines
        assert run("dcmdump", "-q", file)[0] == 0
        assert run("dcm2json", file)[0] == 0
    check_entities(sources, derived)


@pytest.mark.parametrize("kind", ["residual", "uncertainty"])
def test_validators_find_nothing_in_maps(tmp_path: Path, kind: Any) -> None:
    sources = phantom(tmp_path / "in", PixelPaddingValue=-2000)
    info = the_series(sources)
    derived = [*written(info, tmp_path / "out"), *written(info, tmp_path / kind, replace(DERIVATION, kind=kind))]
    for file in derived[3:]:  # defined terms can be extended (PS3.5 6.3)
        term = f"Warning - </ImageType(0008,0008)[4]> - Unrecognized defined term = <{kind.upper()}>"
        assert run("dciodvfy", "-new", file) == (0, ["CTImage", term])
    check_entities(sources, derived)


def test_validators_find_nothing_in_what_comes_of_enhanced_files(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(write_enhanced(tmp_path / "all.dcm", stored_body(3)))
    for keyword, value in NEEDED.items():
        setattr(dataset, keyword, value)
    source = save(dataset, tmp_path / "all.dcm")
    derived = written(the_series([source]), tmp_path / "out")
    for file in derived:
        assert run("dciodvfy", "-new", file) == (0, ["CTImage"])
        assert run("dcmdump", "-q", file)[0] == 0
    check_entities([source], derived)


def test_a_validator_that_finds_faults_is_heard(tmp_path: Path) -> None:
    sources = phantom(tmp_path / "in")
    derived = written(the_series(sources), tmp_path / "out")
    dataset = pydicom.dcmread(derived[0])
    dataset.PatientName = "Another"
    del dataset.RescaleSlope
    dataset.save_as(derived[0])
    with pytest.raises(AssertionError, match="new in IM00001"):
        check_series(sources, derived)
    with pytest.raises(AssertionError):
        check_entities(sources, derived)


@pytest.mark.parametrize("multi_frame", [False, True])
def test_another_toolkit_sees_the_same_geometry_and_the_same_numbers(tmp_path: Path, multi_frame: bool) -> None:
    sources = phantom(tmp_path / "in", dtype="uint16")
    info = the_series(sources)
    if multi_frame:
        info = the_series([write_enhanced(tmp_path / "enhanced.dcm", stored_body(3), order=[2, 0, 1])])
    check_geometry(sources, written(info, tmp_path / "out"))


def check_geometry(sources: list[Path], derived: list[Path]) -> None:
    reason = "SimpleITK is not installed"
    sitk = import_module("SimpleITK") if REQUIRED else pytest.importorskip("SimpleITK", reason=reason)
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    before, after = (sitk.ReadImage([str(file) for file in files]) for files in (sources, derived))
    for name in ("GetSize", "GetOrigin", "GetSpacing", "GetDirection", "GetPixelIDValue"):
        assert getattr(after, name)() == getattr(before, name)(), name
    np.testing.assert_array_equal(sitk.GetArrayFromImage(after), sitk.GetArrayFromImage(before))


@pytest.mark.real_data
@pytest.mark.parametrize("part", ["mayo2016_pairs", "mayo2016_unpaired", "volumes"])
def test_real_series_gain_no_fault(real_data: Path, tmp_path: Path, part: str) -> None:
    files = [file for file in sorted((real_data / part).rglob("*")) if file.is_file() and is_dicom(file)]
    found, _ = find_series(files)
    assert len(found) >= 5
    for number, info in enumerate(found):
        pair = the_series(info.files[:2])
        derived = written(pair, tmp_path / str(number))
        sources = [said_to_be_ct(file, tmp_path / f"{number}-{file.name}") for file in pair.files]
        check_series(sources, derived)
        check_entities(sources, derived)
        if len(sources) == 2:
            check_geometry(sources, derived)


def said_to_be_ct(source: Path, target: Path) -> Path:
    """The file, or a copy that says what it is: a validator does not look at what does not."""
    dataset = pydicom.dcmread(source)
    if dataset.SOPClassUID:
        return source
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.save_as(target)
    return target


def is_dicom(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(132)[128:] == b"DICM"


@pytest.mark.real_data
def test_real_enhanced_files_become_valid_classic_ones(real_data: Path, tmp_path: Path) -> None:
    zoo = real_data / "zoo" / "enhanced_multiframe"
    for name in ("CT0012.explicit_little_endian.dcm", "legacy_converted_enhanced_24x38x3.dcm"):
        dataset = pydicom.dcmread(zoo / name)
        (transformation,) = dataset.SharedFunctionalGroupsSequence[0].PixelValueTransformationSequence
        transformation.RescaleType = "HU"  # it is a perfusion map, and of no unit
        source = tmp_path / name
        dataset.save_as(source)
        derived = written(the_series([source]), tmp_path / f"{name}-out")
        for file in derived:
            assert run("dciodvfy", "-new", file)[0] == 0
        check_entities([source], derived)
