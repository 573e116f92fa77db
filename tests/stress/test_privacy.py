"""The patients' identity stays in their images: nothing else that any task writes or prints contains a trace of it."""

import gzip
import logging
import os
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_series import slice_dataset, stored_body
from PIL import Image
from pydicom import Dataset, dcmread
from pydicom.dataset import Dataset as Item
from tiny_data import METHODS, TRAIN, TinyData

from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.ct.dicom.silence import quiet
from ctcycle.run import main

NUMBER = "776655443322"
"""Part of every UID."""

IDENTITY: dict[str, Any] = {
    "PatientName": "Zzcanärius^Ägidius",
    "PatientID": "PIDCANARY77",
    "OtherPatientIDs": "OTHERCANARY78",
    "IssuerOfPatientID": "ISSUERCANARY",
    "PatientBirthDate": "19330307",
    "PatientBirthTime": "034709",
    "PatientAddress": "Canary Street 123",
    "PatientMotherBirthName": "Zzmothername",
    "PatientComments": "Zzcommented of the patient",
    "AccessionNumber": "ACCNARY998877",
    "InstitutionName": "Zzcanary General",
    "InstitutionAddress": "Zzhospital Road",
    "ReferringPhysicianName": "Zzreferring^Zzphysician",
    "OperatorsName": "Zzoperator^Zztechnician",
    "StationName": "ZZSTATION5",
    "DeviceSerialNumber": "SERCANARY1199",
    "StudyID": "STUCANARY4455",
    "StudyDescription": "Zzstudy of Zzcanaerius",
    "SeriesDescription": "Zzseries of Zzcanaerius",
    "ImageComments": "Zzremark",
    "ProtocolName": "Zzprotocol",
    "StudyDate": "20170913",
    "SeriesDate": "20170914",
    "AcquisitionDate": "20170915",
    "ContentDate": "20170916",
    "StudyTime": "153947.271",
    "AcquisitionDateTime": "20170917153948",
    "StudyInstanceUID": f"1.2.826.0.{NUMBER}.1",
    "FrameOfReferenceUID": f"1.2.826.0.{NUMBER}.2",
}
HOLDS_PATIENT = {"OtherPatientIDsSequence": "NESTEDCANARY12"}


def secrets() -> list[str]:
    """Return every identifying word, and all dates also in the form YYYY-MM-DD."""
    words = [part for value in (*IDENTITY.values(), *HOLDS_PATIENT.values()) for part in str(value).split("^")]
    dates = [f"{value[:4]}-{value[4:6]}-{value[6:]}" for key, value in IDENTITY.items() if key.endswith("Date")]
    return [*words, *dates, NUMBER]


def needles() -> dict[bytes, str]:
    """Return each secret in every encoding; ASCII letters in lower case, others in both cases."""
    codes = ("utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "latin-1", "unicode_escape")
    forms = [(word, form) for word in secrets() for form in (word, word.lower(), word.upper())]
    return {form.encode(code).lower(): word for word, form in forms for code in codes}


NEEDLES = needles()


def found_in(content: bytes) -> set[str]:
    """Return the secrets contained in some bytes."""
    lower = content.lower()
    return {word for needle, word in NEEDLES.items() if needle in lower}


def parts(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file and of everything compressed or archived in it."""
    content = path.read_bytes()
    yield content
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            yield from (archive.read(name) for name in archive.namelist())
            yield "\n".join(archive.namelist()).encode()
    if path.suffix == ".png" and content:
        with Image.open(path) as image:
            image.load()
            yield repr(image.info).encode()


def leaks(folder: Path) -> dict[str, set[str]]:
    """Return the files under a folder with secrets in their name or content; DICOM images may contain them."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder).as_posix()
        words = found_in(place.encode())
        if path.is_file() and path.suffix != ".dcm":
            words |= set().union(*map(found_in, parts(path)))
        if words:
            found[place] = words
    return found


def plant(dataset: Dataset, series: int, number: int) -> None:
    """Plant the identity in an image, in UTF-8, and the number in its UIDs."""
    dataset.SpecificCharacterSet = "ISO_IR 192"
    for keyword, value in IDENTITY.items():
        setattr(dataset, keyword, value)
    item = Item()
    item.PatientID = HOLDS_PATIENT["OtherPatientIDsSequence"]
    dataset.OtherPatientIDsSequence = [item]
    dataset.add_new(0x00290010, "LO", "ZZPRIVATE")
    dataset.add_new(0x00291001, "LO", "PIDCANARY77")
    dataset.SeriesInstanceUID = f"1.2.826.0.{NUMBER}.3.{series}"
    dataset.SOPInstanceUID = f"1.2.826.0.{NUMBER}.4.{series}.{number}"
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


@pytest.fixture(scope="module")
def images(tiny: TinyData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny data as images of identified patients, in anonymous folders; the IDs differ by one letter."""
    folder = tmp_path_factory.mktemp("images")
    for count, source in enumerate(sorted(tiny.series.glob("sim*/*_dose"))):
        for number, file in enumerate(sorted(source.iterdir())):
            dataset = dcmread(file)
            plant(dataset, count, number)
            dataset.PatientID = f"PIDCANARY77{source.parent.name[-1]}"
            target = folder / "data" / source.name / f"case{source.parent.name[-1]}" / f"{number}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            dataset.save_as(target)
    return folder / "data"


def broken(folder: Path) -> Path:
    """Write images of the same patients with every kind of failure."""
    pixels = stored_body(2)

    def write(name: str, series: int, change: Any = lambda _dataset, _number: None) -> list[Path]:
        files = []
        for number, values in enumerate(pixels, start=1):
            dataset = slice_dataset(values, number=number)
            plant(dataset, series, number)
            with quiet():
                change(dataset, number)
                files.append(folder / name / f"{number}.dcm")
                files[-1].parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(files[-1])
        return files

    write("good", 100)
    cut = write("cut", 101)[0]
    cut.write_bytes(cut.read_bytes()[:-700])
    headless = write("headless", 102)[0]
    headless.write_bytes(headless.read_bytes()[132:])
    half = write("half", 103)[0]
    half.write_bytes(half.read_bytes()[: half.read_bytes().index(b"Zzcan") + 5])
    write("slope", 104, lambda dataset, _number: dataset.pop("RescaleSlope"))
    write("people", 105, lambda dataset, number: setattr(dataset, "PatientName", f"Zzcanärius^{'AB'[number - 1]}"))
    write("modality", 106, lambda dataset, _number: setattr(dataset, "Modality", "PIDCANARY77"[:3]))
    write("place", 107, lambda dataset, _number: setattr(dataset, "ImagePositionPatient", [0.0, 0.0, 0.0]))
    write("long", 108, lambda dataset, _number: setattr(dataset, "PatientID", "PIDCANARY77" * 100))
    write("odd", 109, lambda dataset, _number: setattr(dataset, "InstanceNumber", None))
    for name, tag in (("header", b"\x18\x00\x50\x00DS"), ("header2", b"\x20\x00\x13\x00IS")):
        for file in write(name, 110 + len(name)):
            file.write_bytes(file.read_bytes().replace(tag, tag[:4] + b"SQ"))
    write("unwritable", 120, lambda dataset, _number: setattr(dataset, "SpecificCharacterSet", "PIDCANARY77"))
    return folder


@pytest.mark.slow
def test_no_task_tells_who_anybody_is(
    images: Path,
    mlflow_store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "matplotlib")  # it logs every font
    bad = broken(tmp_path.with_name(f"{tmp_path.name}-bad"))
    Path("runs").mkdir()
    shutil.copy(mlflow_store, "runs/mlflow.db")
    data = os.path.relpath(images)
    sources = [{"path": f"{data}/{dose}", "dose": dose} for dose in ("low_dose", "full_dose")]
    low_dose = {
        "sources": [{"path": f"{data}/full_dose/case0"}, {"path": os.path.relpath(bad)}],
        "noise_hu": 20,
        "views": 16,
        "scan_kernel": "soft",
    }
    training = {**TRAIN, **METHODS["supervised"], "method": "supervised"}
    training |= {
        "data": {**TRAIN["data"], "manifest": "runs/scan/manifest.csv"},
        "tracking": {"enabled": True},
        "training": {**TRAIN["training"], "epochs": 2},
    }
    evaluation = {"manifest": "runs/scan/manifest.csv", "methods": {"net": "runs/train"}, "panels": 1}
    tasks: list[tuple[str, dict[str, Any], int]] = [
        ("scan", {"sources": sources, "split": {"val_fraction": 0.2, "test_fraction": 0.2}}, 0),
        ("scan-bad", {"task": "scan", "sources": [{"path": os.path.relpath(bad), "dose": "low_dose"}]}, 0),
        ("train", training, 0),
        ("evaluate", {**evaluation, "filters": ["input", "gaussian"]}, 0),
        ("bundle", {"run": "runs/train", "bundle": "runs/tiny_net", "formats": []}, 0),
        ("denoise", {"model": "runs/train", "input": f"{data}/low_dose", "residual": True, "uncertainty": True}, 0),
        ("denoise-bad", {"task": "denoise", "model": "runs/tiny_net", "input": os.path.relpath(bad)}, 3),
        ("simulate-low-dose", {"task": "simulate", "low_dose": low_dose, "workers": 1}, 0),
        ("train-bad", {**training, "data": {**training["data"], "manifest": "runs/scan-bad/manifest.csv"}}, 3),
    ]
    said = []
    for name, config, code in tasks:
        Path(f"{name}.yaml").write_text(dump_yaml({"task": name, "out": f"runs/{name}", **config}))
        assert main(["--config", f"{name}.yaml"]) == code, (name, capfd.readouterr().err)
        said += [*capfd.readouterr()]
    everything = "\n".join([*said, caplog.text])
    assert found_in(everything.encode()) == set(), everything
    assert leaks(tmp_path) == {}
    _check_that_this_could_fail(tmp_path, bad, everything)


def _check_that_this_could_fail(folder: Path, bad: Path, everything: str) -> None:
    """Check that the expected files exist, that bad series were refused, and that secrets can be found."""
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    assert {"runs/mlflow.db", "runs/train/log.txt", "runs/scan/manifest.csv", "runs/evaluate/results.json"} <= files
    assert any(name.endswith(".png") for name in files)
    assert any(".ctcycle_store/index/" in name for name in files)
    assert any(name.startswith("runs/simulate-low-dose/series/") for name in files)
    assert "runs/tiny_net/configs/metadata.json" in files
    assert everything.count("refused") > 5
    output = next(folder.glob("runs/denoise/*/*.dcm"))
    assert found_in(output.read_bytes()), "images keep their patient"
    assert found_in(next(bad.glob("good/*.dcm")).read_bytes()) >= {NUMBER, "PIDCANARY77", "Ägidius"}


def test_traces_are_found_wherever_they_are(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x", "Zzcanärius" * 100)
    (tmp_path / "b.gz").write_bytes(gzip.compress("Ägidius".encode("utf-16-be") * 100))
    (tmp_path / "c.txt").write_bytes(b"zzCANARY general")
    (tmp_path / "2017-09-13").mkdir()
    (tmp_path / "d").write_text("Zzcan\\xe4rius")
    (tmp_path / "clean.npy").write_bytes(np.arange(9).tobytes())
    assert leaks(tmp_path).keys() == {"a.zip", "b.gz", "c.txt", "2017-09-13", "d"}
