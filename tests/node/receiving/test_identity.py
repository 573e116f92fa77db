"""UIDs are read from the bytes that arrived, in every encoding, and nothing of a header is quoted."""

import io
from pathlib import Path

import pytest
from phantom_series import PATIENT_NAME, slice_dataset, stored_body
from pydicom.filewriter import dcmwrite
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from ctcycle.errors import SeriesError
from ctcycle.node.receiving.identity import read_identity


def encoded(syntax: str = ExplicitVRLittleEndian, **changes: object) -> bytes:
    dataset = slice_dataset(stored_body(1)[0])
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    for keyword, value in changes.items():
        setattr(dataset, keyword, value)
    buffer = io.BytesIO()
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=little, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "syntax",
    [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=str,
)
def test_every_encoding(syntax: str) -> None:
    found = read_identity(encoded(syntax, NumberOfSeriesRelatedInstances=12), syntax)
    dataset = slice_dataset(stored_body(1)[0])
    assert found.instance == dataset.SOPInstanceUID
    assert (found.study, found.series, found.announced) == ("1.2.826.0.1.7", "1.2.826.0.1.77", 12)
    assert found.sop_class == "1.2.840.10008.5.1.4.1.1.2"


def test_a_number_that_is_not_given_is_0() -> None:
    assert read_identity(encoded(), ExplicitVRLittleEndian).announced == 0


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_that_is_none_is_refused_unquoted(keyword: str) -> None:
    with pytest.raises(SeriesError, match="not a UID") as caught:
        read_identity(encoded(**{keyword: "../../etc/passwd"}), ExplicitVRLittleEndian)
    assert "passwd" not in str(caught.value)


@pytest.mark.parametrize("cut", [0, 100, 140, 300])
def test_a_truncated_object(cut: int) -> None:
    with pytest.raises(SeriesError, match="received object"):
        read_identity(encoded()[:cut], ExplicitVRLittleEndian)


def test_noise_is_refused_unquoted(tmp_path: Path) -> None:
    with pytest.raises(SeriesError) as caught:
        read_identity(bytes(128) + b"DICM" + PATIENT_NAME.encode() * 50, ExplicitVRLittleEndian)
    assert "CANARY" not in str(caught.value)
