"""Denoising of folders and files: what appears where, what is kept, what is refused and what goes on all the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from phantom_series import PATIENT_ID, PATIENT_NAME, body_hu, stored_body, write_series

from ctcycle import tasks
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.denoise import output_paths
from ctcycle.denoiser import load_denoiser
from ctcycle.errors import BundleError, OutputError, SeriesError
from ctcycle.volumes import find_series

KEPT = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing")


def denoise(model: Path, source: Path, out: Path, *overrides: str) -> Path:
    config = out.parent / f"{out.name}.yaml"
    config.write_text(
        dump_yaml({"task": "denoise", "model": str(model), "input": str(source), "out": str(out), "device": "cpu"})
    )
    tasks.run(load_config(config, overrides))
    return out


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


OWN = {"config.yaml", "log.txt", "summary.json", "finished"}


def test_a_folder_of_many_with_a_broken_one(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    write_series(source / "a" / "1", series="1.2.826.0.1.1")
    write_series(source / "a" / "2", series="1.2.826.0.1.2", changes={"PixelData": b"\0" * 10})
    write_series(source / "b", series="1.2.826.0.1.3")
    (source / "b" / "notes.txt").write_text("not an image")
    with pytest.raises(SeriesError, match=r"^2 denoised, .* 1 refused, .*: \S*in/a/2$") as error:
        denoise(tiny_run, source, tmp_path / "out")
    assert error.value.exit_code == 3
    out = tmp_path / "out"
    assert {name for name in files(out) if name.endswith(".dcm")} == {
        f"{folder}/IM0000{number}.dcm" for folder in ("a/1", "b") for number in (1, 2, 3)
    }
    found = summary(out)
    assert found["denoised"] == 2
    assert [entry["path"] for entry in found["refused"]] == [str(source / "a" / "2")]
    assert PATIENT_NAME not in capsys.readouterr().err + (out / "log.txt").read_text() + json.dumps(found)
    assert not (out / "finished").exists()


@pytest.mark.parametrize("length", [0, 100, 700])
def test_a_damaged_slice_refuses_its_series_and_no_other(length: int, tiny_run: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_series(source / "a", series="1.2.826.0.1.1")
    write_series(source / "b", series="1.2.826.0.1.2")
    damaged = sorted((source / "a").iterdir())[1]
    damaged.write_bytes(damaged.read_bytes()[:length])
    with pytest.raises(SeriesError, match=r"^1 denoised, 0 there already, 2 refused, 0 skipped; see .*summary\.json"):
        denoise(tiny_run, source, out)
    assert not (out / "a").exists()
    assert len(list((out / "b").iterdir())) == 3
    reasons = {entry["path"]: entry["reason"] for entry in summary(out)["refused"]}
    assert f"a slice may be missing, since {damaged.name} is damaged" in reasons[str(source / "a")]
    assert str(damaged) in reasons
    assert damaged.name in (out / "log.txt").read_text()


def test_two_refused_series_of_one_folder_are_two(tiny_run: Path, tmp_path: Path) -> None:
    for number in (1, 2):
        changes = {"PixelData": b"\0" * 10, "InstanceNumber": number}
        write_series(tmp_path / "in" / str(number), series=f"1.2.826.0.1.{number}", changes=changes)
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in (tmp_path / "in").rglob("*.dcm"):
        shutil.copy(file, flat / f"{file.parent.name}-{file.name}")
    with pytest.raises(SeriesError, match=r"^0 denoised, 0 there already, 2 refused"):
        denoise(tiny_run, flat, tmp_path / "out")


def test_dicom_output_is_the_network_on_whole_slices_under_new_uids(tiny_run: Path, tmp_path: Path) -> None:
    sources = [pydicom.dcmread(file) for file in write_series(tmp_path / "in")]
    out = denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    written = [pydicom.dcmread(file) for file in sorted((out / "in").glob("*.dcm"))]
    hu = np.stack([source.pixel_array - 1024.0 for source in sources]).astype(np.float32)
    expected = hu + np.rint(load_denoiser(tiny_run, "best", "cpu").correction(hu))
    np.testing.assert_array_equal(np.stack([image.pixel_array - 1024.0 for image in written]), expected)
    assert (expected != hu).any()
    for image, source in zip(written, sources, strict=True):
        assert [image[name].value for name in KEPT] == [source[name].value for name in KEPT]
        assert image.ImageType[:2] == ["DERIVED", "SECONDARY"]
    uids = {image.SOPInstanceUID for image in written} | {image.SeriesInstanceUID for image in written}
    assert len(uids) == len(sources) + 1
    assert not uids & {image.SOPInstanceUID for image in sources}
    assert sources[0].PatientID == PATIENT_ID


def test_a_second_run_leaves_what_is_there_and_takes_what_is_new(tiny_run: Path, tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_series(source / "a", series="1.2.826.0.1.1")
    write_series(source / "b", series="1.2.826.0.1.2", changes={"PixelData": b"\0" * 10})
    with pytest.raises(SeriesError):
        denoise(tiny_run, source, out)
    before = {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()}
    shutil.rmtree(source / "b")
    write_series(source / "b", series="1.2.826.0.1.2")
    denoise(tiny_run, source, out)
    assert {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()} == before
    assert len(list((out / "b").iterdir())) == 3
    assert summary(out)["refused"] == []
    write_series(source / "c", series="1.2.826.0.1.3")
    denoise(tiny_run, source, out)
    assert len(list((out / "c").iterdir())) == 3
    assert {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()} == before
    denoise(tiny_run, source, out, "overwrite=true")
    assert {path: path.stat().st_mtime_ns for path in (out / "a").iterdir()} != before


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.npy"])
def test_a_single_volume(name: str, tiny_run: Path, tmp_path: Path) -> None:
    hu, affine = body_hu(2), np.diag([0.5, 0.75, 3.0, 1.0])
    if name.endswith("npy"):
        np.save(tmp_path / name, hu)
    else:
        nib.Nifti1Image(hu.T, affine).to_filename(tmp_path / name)
    out = denoise(tiny_run, tmp_path / name, tmp_path / "out")
    assert files(out) == {name, *OWN}
    found = np.load(out / name) if name.endswith("npy") else nib.load(out / name).get_fdata().T
    change = np.abs(found - hu)
    assert 0 < change.max() < 300
    if not name.endswith("npy"):
        np.testing.assert_array_equal(nib.load(out / name).affine, affine)


def test_a_single_slice(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "slices").mkdir()
    np.save(tmp_path / "slices" / "7.npy", body_hu(1)[0])
    assert files(denoise(tiny_run, tmp_path / "slices" / "7.npy", tmp_path / "out")) == {"slices/7.npy", *OWN}


def test_series_in_the_folder_itself_and_below_it(tiny_run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in", series="1.2.826.0.1.1")
    write_series(tmp_path / "in" / "more", series="1.2.826.0.1.2")
    out = denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    folders = {Path(name).parent for name in files(out) - OWN}
    assert {folder.parent.as_posix() for folder in folders} == {"in"}
    assert {folder.name[:7] for folder in folders} == {"series-", "more"}
    assert summary(out)["denoised"] == 2
    before = files(out)
    denoise(tiny_run, tmp_path / "in", out, "overwrite=true")
    assert files(out) == before


def test_two_series_in_one_folder(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "mixed", series="1.2.826.0.1.1", names=["a1", "a2", "a3"])
    write_series(tmp_path / "in" / "mixed", series="1.2.826.0.1.2", names=["b1", "b2", "b3"])
    found, _ = find_series(tmp_path / "in")
    paths = output_paths(found, tmp_path / "in", tmp_path / "out")
    assert len(set(paths)) == 2
    assert {path.parent for path in paths} == {tmp_path / "out" / "mixed"}


def test_the_current_folder_as_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_series(tmp_path / "in")
    monkeypatch.chdir(tmp_path / "in")
    found, _ = find_series(Path())
    assert output_paths(found, Path(), Path("/out")) == [Path("/out/in")]


@pytest.mark.parametrize("out", ["in", "in/denoised"])
def test_output_inside_the_input(out: str, tiny_run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    config = tmp_path / "c.yaml"
    config.write_text(f"task: denoise\nmodel: {tiny_run}\ninput: {tmp_path / 'in'}\nout: {tmp_path / out}\n")
    before = files(tmp_path / "in")
    with pytest.raises(OutputError, match="lies inside, the input"):
        tasks.run(load_config(config))
    assert files(tmp_path / "in") == before


def test_nothing_to_denoise(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeriesError, match=r"empty: no CT found; name a folder or file of DICOM, NIfTI or npy"):
        denoise(tiny_run, tmp_path / "empty", tmp_path / "out")
    write_series(tmp_path / "mr", changes={"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"})
    with pytest.raises(SeriesError, match=r"mr: no CT found \(.*MR.*\); name"):
        denoise(tiny_run, tmp_path / "mr", tmp_path / "out")
    with pytest.raises(SeriesError, match="nowhere: does not exist"):
        denoise(tiny_run, tmp_path / "nowhere", tmp_path / "out")
    assert files(tmp_path / "out") == {"log.txt"}


def test_no_model(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    with pytest.raises(BundleError, match="nothing: not a run folder"):
        denoise(tmp_path / "nothing", tmp_path / "in", tmp_path / "out")


def test_padding_stays(tiny_run: Path, tmp_path: Path) -> None:
    stored = stored_body(3, "int16", intercept=0.0)
    stored[:, :5] = -500  # declared as padding although the network would see it
    write_series(tmp_path / "in", stored, changes={"RescaleIntercept": 0, "PixelPaddingValue": -500})
    out = denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    for file in sorted((out / "in").glob("*.dcm")):
        np.testing.assert_array_equal(pydicom.dcmread(file).pixel_array[:5], -500)
