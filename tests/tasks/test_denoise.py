"""Denoising of folders and files: what appears where, what is kept, what is refused and what goes on all the same."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml
from phantom_series import PATIENT_ID, PATIENT_NAME, body_hu, stored_body, write_series

from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.ct.hounsfield import hu_to_mu, mu_to_hu
from ctcycle.ct.series_io import find_series
from ctcycle.errors import BundleError, ConfigError, OutputError, SeriesError
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.inference.output_paths import output_paths
from ctcycle.runs.models import load_denoiser
from ctcycle.tasks import running

KEPT = ("PatientID", "PatientName", "StudyInstanceUID", "FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing")


def denoise(model: Path, source: Path, out: Path, *overrides: str) -> Path:
    config = out.parent / f"{out.name}.yaml"
    config.write_text(
        dump_yaml({"task": "denoise", "model": str(model), "input": str(source), "out": str(out), "device": "cpu"})
    )
    running.run(load_config(config, overrides))
    return out


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def files(folder: Path) -> set[str]:
    """All files but the records of outputs."""
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(".ctcycle/")}


OWN = {"config.yaml", "log.txt", "summary.json", "finished"}


@pytest.mark.parametrize("name", ["summary.json", "finished"])
def test_a_run_killed_before_its_last_files_says_the_same_when_it_is_run_again(
    name: str, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in")
    out, replaced = tmp_path / "out", Path.replace

    def killed(self: Path, target: Path) -> Path:
        if target == out / name:
            raise KeyboardInterrupt
        return replaced(self, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            denoise(tiny_run, tmp_path / "in", out)
    assert not (out / name).exists()
    denoise(tiny_run, tmp_path / "in", out)
    assert (out / "finished").read_text() == f"1 denoised, 0 already done, 0 refused, 0 skipped; -> {out}\n"
    assert (summary(out)["denoised"], summary(out)["already_there"]) == (1, 0)
    denoise(tiny_run, tmp_path / "in", out)
    assert (summary(out)["denoised"], summary(out)["already_there"]) == (0, 1)


def test_a_folder_of_many_with_a_broken_one(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    write_series(source / "a" / "1", series="1.2.826.0.1.1")
    write_series(source / "a" / "2", series="1.2.826.0.1.2", changes={"PixelData": b"\0" * 10})
    write_series(source / "b", series="1.2.826.0.1.3")
    (source / "b" / "notes.txt").write_text("not an image")
    with pytest.raises(
        SeriesError, match=r"^2 denoised, 0 already done, 1 refused, 1 skipped; .*: refused .*in/a/2$"
    ) as error:
        denoise(tiny_run, source, tmp_path / "out")
    assert error.value.exit_code == 3
    out = tmp_path / "out"
    assert {name for name in files(out) if name.endswith(".dcm")} == {
        f"{folder}/IM0000{number}.dcm" for folder in ("a/1", "b") for number in (1, 2, 3)
    }
    found = summary(out)
    assert found["denoised"] == 2
    assert [entry["path"] for entry in found["refused"]] == [str(source / "a" / "2")]
    assert found["damaged"] == []
    assert PATIENT_NAME not in capsys.readouterr().err + (out / "log.txt").read_text() + json.dumps(found)
    assert not (out / "finished").exists()


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


@pytest.mark.parametrize("names", [["1.IMA", "2.IMA", "3.IMA"], ["1.2.1", "1.2.2", "1.2.3"]])
@pytest.mark.parametrize("length", [0, 50, 400, 700, -4000])
def test_a_series_with_a_damaged_file_is_refused_and_the_file_named(
    names: list[str], length: int, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = write_series(tmp_path / "in" / "a", series="1.2.826.0.1.1", names=names)[1]
    broken.write_bytes(broken.read_bytes()[:length])
    write_series(tmp_path / "in" / "b", series="1.2.826.0.1.2")
    with pytest.raises(SeriesError, match=r"^1 denoised, 0 already done, 1 refused, 0 skipped;"):
        denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    assert files(tmp_path / "out") == {
        "config.yaml",
        "log.txt",
        "summary.json",
        *(f"b/IM0000{n}.dcm" for n in (1, 2, 3)),
    }
    assert broken.name in (tmp_path / "out" / "log.txt").read_text()
    found = summary(tmp_path / "out")
    assert broken.name in json.dumps(found["damaged"] or found["refused"])
    assert PATIENT_NAME not in capsys.readouterr().err + json.dumps(found)


def test_damage_that_tells_its_series_leaves_the_others_whole(tiny_run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    broken = write_series(folder, series="1.2.826.0.1.1", names=["a1", "a2", "a3"], changes={"PixelData": None})
    write_series(folder, series="1.2.826.0.1.2", names=["b1", "b2", "b3"])
    np.save(folder / "x_1.npy", body_hu(1)[0])
    np.save(folder / "y_1.npy", body_hu(1)[0])
    (folder / "y_2.npy").write_bytes(b"")
    with pytest.raises(SeriesError, match=r"^2 denoised, .* 1 refused, 0 skipped; .*refused .*in; damaged .*y_2\.npy$"):
        denoise(tiny_run, folder, tmp_path / "out")
    found = summary(tmp_path / "out")
    assert len(found["damaged"]) == 2
    assert all(file.name in found["damaged"][0]["reason"] for file in broken)
    assert "y_2.npy is unreadable or refused" in found["refused"][0]["reason"]


def test_every_refused_series_of_a_folder_is_counted(tiny_run: Path, tmp_path: Path) -> None:
    for number in range(7):
        names = [f"{number}{letter}" for letter in "abc"]
        uid = f"1.2.826.0.1.{number + 1}"
        write_series(tmp_path / "in", series=uid, names=names, changes={"PixelData": b"\0" * 10})
    with pytest.raises(SeriesError, match=r"^0 denoised, 0 already done, 7 refused, .* and 2 more$") as error:
        denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    assert "\n" not in str(error.value)
    refused = summary(tmp_path / "out")["refused"]
    assert {entry["path"] for entry in refused} == {str(tmp_path / "in")}
    assert len({entry["series"] for entry in refused}) == 7


def test_other_things_beside_a_series_are_fine(tiny_run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in", series="1.2.826.0.1.1")
    write_series(tmp_path / "in", series="1.2.826.0.1.2", names=["m1", "m2", "m3"], changes={"Modality": "MR"})
    scout = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"], "PixelData": None}
    write_series(tmp_path / "in", series="1.2.826.0.1.3", names=["s1", "s2", "s3"], changes=scout)
    for name in ("notes.txt", ".hidden", "empty.txt"):
        (tmp_path / "in" / name).write_bytes(b"")
    found = summary(denoise(tiny_run, tmp_path / "in", tmp_path / "out"))
    assert (found["denoised"], found["already_there"], found["refused"], found["damaged"]) == (1, 0, [], [])
    assert len(found["skipped"]) == 3
    assert summary(denoise(tiny_run, tmp_path / "in", tmp_path / "out"))["already_there"] == 1


def test_attenuation_is_read_with_the_water_and_air_of_the_training(tiny_run: Path, tmp_path: Path) -> None:
    run, mu_water, mu_air = tmp_path / "run", 0.025, 0.002
    shutil.copytree(tiny_run, run)
    content = yaml.safe_load((run / "config.yaml").read_text())
    content["data"] |= {"mu_water": mu_water, "mu_air": mu_air}
    (run / "config.yaml").write_text(dump_yaml(content))
    hu = body_hu(2).clip(-1000, None)
    np.save(tmp_path / "mu.npy", hu_to_mu(hu, mu_water, mu_air).astype(np.float32))
    out = denoise(run, tmp_path / "mu.npy", tmp_path / "out")
    expected = hu + load_denoiser(tiny_run, "best", "cpu").correction(hu.astype(np.float32))
    np.testing.assert_allclose(mu_to_hu(np.load(out / "mu.npy"), mu_water, mu_air), expected, atol=0.5)


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
    with pytest.raises(OutputError, match="or inside it"):
        running.run(load_config(config))
    assert files(tmp_path / "in") == before


def test_nothing_to_denoise(tiny_run: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SeriesError, match=r"empty: no CT found; give a folder or file of DICOM, NIfTI or npy"):
        denoise(tiny_run, tmp_path / "empty", tmp_path / "out")
    write_series(tmp_path / "mr", changes={"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"})
    with pytest.raises(SeriesError, match=r"mr: no CT found \(.*MR.*\); give"):
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


def test_options_of_the_command_line_reach_the_files(tiny_run: Path, tmp_path: Path) -> None:
    hu = body_hu(2, size=160)
    np.save(tmp_path / "ct.npy", hu)
    options = {"strength": "strength=0.5", "tile": "tile=64", "both": "residual=true", "spread": "uncertainty=true"}
    plain = np.load(denoise(tiny_run, tmp_path / "ct.npy", tmp_path / "plain") / "ct.npy")
    out = {name: denoise(tiny_run, tmp_path / "ct.npy", tmp_path / name, value) for name, value in options.items()}
    np.testing.assert_allclose(np.load(out["strength"] / "ct.npy"), (hu + plain) / 2, atol=1e-3)
    assert 0 < np.abs(np.load(out["tile"] / "ct.npy") - plain).max() < 1
    np.testing.assert_array_equal(np.load(out["both"] / "ct_residual.npy"), hu - plain)
    assert np.load(out["spread"] / "ct_uncertainty.npy").max() > 0


@pytest.mark.parametrize("wrong", ["strength=2.5", "strength=-1", "tile=32", "tile=100", "tile=-64"])
def test_options_out_of_range_are_refused_before_anything_is_read(wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=wrong.partition("=")[0]):
        denoise(tmp_path / "nothing", tmp_path / "nowhere", tmp_path / "out", wrong)


def test_a_run_with_a_fingerprint_can_be_strict(tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run, run)
    (run / "fingerprint.json").unlink()  # which earlier versions did not write
    np.save(tmp_path / "ct.npy", body_hu(2, size=128))
    with pytest.raises(BundleError, match="no fingerprint"):
        denoise(run, tmp_path / "ct.npy", tmp_path / "without", "strict=true")
    (run / "fingerprint.json").write_text(json.dumps(measure_fingerprint(body_hu(2, size=128, seed=4)).as_dict()))
    assert summary(denoise(run, tmp_path / "ct.npy", tmp_path / "out", "strict=true"))["denoised"] == 1
    (run / "fingerprint.json").write_text(json.dumps(measure_fingerprint(body_hu(2, size=128) * 0 + 700).as_dict()))
    with pytest.raises(SeriesError, match="1 refused"):
        denoise(run, tmp_path / "ct.npy", tmp_path / "other", "strict=true")


def test_the_header_names_the_model_by_folder_and_weights(tiny_run: Path, tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    out = denoise(tiny_run, tmp_path / "in", tmp_path / "out")
    digest = hashlib.sha256((tiny_run / "checkpoints" / "best.pt").read_bytes()).hexdigest()
    described = pydicom.dcmread(out / "in" / "IM00001.dcm").DerivationDescription
    assert tiny_run.name in described
    assert digest in described


def test_a_time_series_is_denoised_volume_by_volume(tiny_run: Path, tmp_path: Path) -> None:
    """The result of each slice is the one that it has in a volume of its own."""
    hu = np.stack([body_hu(seed=seed) for seed in (0, 1)]).astype(np.int16)
    (tmp_path / "in").mkdir()
    for name, values in (("time", hu.T), ("first", hu[0].T), ("second", hu[1].T)):
        nib.Nifti1Image(values, np.eye(4)).to_filename(tmp_path / "in" / f"{name}.nii.gz")
    found = summary(denoise(tiny_run, tmp_path / "in", tmp_path / "out"))
    assert (found["denoised"], found["refused"]) == (3, [])
    time, first, second = (
        np.asarray(nib.load(tmp_path / "out" / f"{name}.nii.gz").dataobj) for name in ("time", "first", "second")
    )
    assert (time[..., 0] != hu[0].T).any()
    np.testing.assert_array_equal(time[..., 0], first)
    np.testing.assert_array_equal(time[..., 1], second)


def test_a_cube_is_denoised_along_the_given_axis(tiny_run: Path, tmp_path: Path) -> None:
    slices = body_hu(32)[:, :, :32].astype(np.int16)
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "cube.npy", slices.transpose(1, 2, 0))
    with pytest.raises(SeriesError, match=r"does not show the axis of the slices; .* set slice_axis to 0, 1 or 2"):
        denoise(tiny_run, tmp_path / "in", tmp_path / "none")
    denoise(tiny_run, tmp_path / "in", tmp_path / "out", "slice_axis=2")
    for number in (0, 31):
        (tmp_path / "one").mkdir(exist_ok=True)
        np.save(tmp_path / "one" / f"{number}.npy", slices[number])
    denoise(tiny_run, tmp_path / "one", tmp_path / "alone")
    cube = np.load(tmp_path / "out" / "cube.npy")
    for number in (0, 31):
        (alone,) = (tmp_path / "alone").rglob(f"{number}.npy")
        np.testing.assert_array_equal(cube[:, :, number], np.load(alone))
