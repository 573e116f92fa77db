"""Folders of series through a denoiser: what is written, warned of and refused, and how much memory it takes."""

import json
import logging
import re
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
import torch
from numpy.typing import NDArray
from phantom_series import PATIENT_ID, PATIENT_NAME, body_hu, write_series
from textured_noise import noisy_trunk
from torch.nn import Identity, Module

from ctcycle.ct.dicom import Derivation
from ctcycle.ct.hounsfield import HUWindow, hu_to_mu
from ctcycle.ct.series_io import find_series, iterate_hu
from ctcycle.errors import BundleError, OutputError, SeriesError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.fingerprint import Fingerprint, measure_fingerprint
from ctcycle.inference.folders import DenoiseOptions, denoise_folder
from ctcycle.inference.records import OutputRecords
from ctcycle.inference.routine_dose import measure_noise

ALL = DenoiseOptions(residual=True, uncertainty=True)
DERIVATION = Derivation("1.0", "tiny", "0123")


def smooth(strength: float = 1.0) -> Denoiser:
    """Averages 3 x 3 pixels, all but the first row and column of which it takes double: flips matter."""
    net = torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="replicate", bias=False)
    net.weight.data = torch.tensor([[1.0, 1, 1], [1, 2, 2], [1, 2, 2]])[None, None] / 13
    return Denoiser(net, HUWindow(), torch.device("cpu"), strength=strength)


def run(
    source: Path,
    out: Path,
    options: DenoiseOptions = ALL,
    denoiser: Denoiser | None = None,
    fingerprint: Fingerprint | None = None,
) -> dict[str, Any]:
    """Denoises, and gives the summary."""
    denoise_folder(source, out, denoiser or smooth(), DERIVATION, options, fingerprint)
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def write(folder: Path, name: str, hu: NDArray[np.float32]) -> None:
    """A series as DICOM, volume, or slices, in whole HU or in attenuation."""
    folder.mkdir(parents=True, exist_ok=True)
    if name == "series":
        write_series(folder / name, (hu + 1024).astype(np.uint16), changes={"PixelSpacing": [0.75, 0.75]})
    elif ".nii" in name:
        nib.save(nib.Nifti1Image(hu.T.astype(np.int16), np.diag([-0.75, -0.75, 2.0, 1.0])), folder / name)
    elif name.endswith(".npy"):
        np.save(folder / name, hu if name == "hu.npy" else hu_to_mu(hu).astype(np.float32))
    else:
        (folder / name).mkdir()
        for number, image in enumerate(hu):
            np.save(folder / name / f"{number}.npy", image)


def read(path: Path) -> NDArray[np.float32]:
    (info,), _ = find_series(path)
    return np.stack(list(iterate_hu(info)))


def tree(folder: Path) -> list[str]:
    """All files but the records of outputs."""
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return [name for name in found if not name.startswith(".ctcycle/")]


NAMES = {
    "series": ("series", "series-residual", "series-uncertainty"),
    "slices": ("slices", "slices-residual", "slices-uncertainty"),
    "a.b.nii.gz": ("a.b.nii.gz", "a.b_residual.nii.gz", "a.b_uncertainty.nii.gz"),
    "ct.nii": ("ct.nii", "ct_residual.nii", "ct_uncertainty.nii"),
    "hu.npy": ("hu.npy", "hu_residual.npy", "hu_uncertainty.npy"),
    "mu.npy": ("mu.npy", "mu_residual.npy", "mu_uncertainty.npy"),
}


@pytest.mark.parametrize("name", NAMES)
def test_what_was_removed_and_what_is_uncertain_lie_beside_the_result(name: str, tmp_path: Path) -> None:
    hu = body_hu(4)
    write(tmp_path / "in", name, hu)
    assert run(tmp_path / "in", tmp_path / "out")["denoised"] == 1
    places = [tmp_path / "out" / place for place in NAMES[name]]
    assert {entry.name for entry in (tmp_path / "out").iterdir()} == {*NAMES[name], "summary.json", ".ctcycle"}
    before = read(tmp_path / "in" / name)
    denoised, residual, uncertainty = (read(place) for place in places)
    np.testing.assert_array_equal(residual, before - denoised)
    assert residual.std() > 5
    step = 1.0 if name in {"series", "a.b.nii.gz", "ct.nii"} else 0.01
    np.testing.assert_allclose(denoised, before + smooth().correction(before), atol=step / 2 + 1e-3)
    expected = np.stack([smooth().uncertainty(image) for image in before])
    np.testing.assert_allclose(uncertainty, expected, atol=0.5 if name == "series" else 1e-3)
    assert expected.mean() > 1


def test_maps_are_series_of_their_own_that_name_their_kind(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "a")
    run(tmp_path / "in", tmp_path / "out")
    images = [pydicom.dcmread(tmp_path / "out" / name / "IM00002.dcm") for name in ("a", "a-residual", "a-uncertainty")]
    assert len({image.SeriesInstanceUID for image in images}) == 3
    assert len({image.SOPInstanceUID for image in images}) == 3
    for image, kind in zip(images, ("denoised", "residual", "uncertainty"), strict=True):
        assert kind in image.SeriesDescription.lower()
    assert {image.FrameOfReferenceUID for image in images} == {"1.2.826.0.1.8"}


def test_what_is_wanted_later_is_added_and_the_rest_stays(tmp_path: Path) -> None:
    write(tmp_path / "in", "series", body_hu(3))
    write(tmp_path / "in", "ct.nii", body_hu(3))
    out = tmp_path / "out"
    run(tmp_path / "in", out, DenoiseOptions())
    before = {
        path: path.stat().st_mtime_ns
        for path in out.rglob("*")
        if path.parent.name != ".ctcycle" and path.name != "summary.json"
    }
    found = run(tmp_path / "in", out)
    assert (found["denoised"], found["already_there"]) == (2, 0)
    assert {path: path.stat().st_mtime_ns for path in before if path.is_file()} == {
        path: time for path, time in before.items() if path.is_file()
    }
    assert len(tree(out)) == 3 * 3 + 3 + 1
    found = run(tmp_path / "in", out)
    assert (found["denoised"], found["already_there"]) == (0, 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_scales_what_is_written(name: str, strength: float, tmp_path: Path) -> None:
    write(tmp_path / "in", name, body_hu(3))
    for part, factor in (("full", 1.0), ("part", strength)):
        run(tmp_path / "in", tmp_path / part, DenoiseOptions(), smooth(factor))
    before, full, part = (read(tmp_path / folder / name) for folder in ("in", "full", "part"))
    assert np.abs(full - before).max() > 20
    step = 1.0 if name in {"series", "a.b.nii.gz", "ct.nii"} else 0.01
    assert np.abs((part - before) - strength * (full - before)).max() <= step
    if strength == 0:
        np.testing.assert_array_equal(part, before)
        if name.endswith(("nii", "npy")):
            result, source = ((tmp_path / folder / name).read_bytes() for folder in ("part", "in"))
            assert result.replace(b"ctcycle denoised", bytes(16)) == source  # the mark in the header of NIfTI


def peak_bytes(source: Path, out: Path, options: DenoiseOptions) -> int:
    """The most memory that arrays and objects take at a time."""
    tracemalloc.start()
    run(source, out, options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("series", DenoiseOptions()), ("slices", ALL), ("hu.npy", ALL)])
def test_a_long_series_needs_no_more_memory_than_a_short_one(
    name: str, options: DenoiseOptions, tmp_path: Path
) -> None:
    hu = body_hu(1, size=160)
    write(tmp_path / "short", name, hu.repeat(16, axis=0))
    write(tmp_path / "long", name, hu.repeat(64, axis=0))
    run(tmp_path / "short", tmp_path / "warm", options)
    short, long = (  # the least of two: Python's own tables, such as that of interned names, grow now and then
        min(peak_bytes(tmp_path / part, tmp_path / f"{part}-{turn}", options) for turn in range(2))
        for part in ("short", "long")
    )
    assert long - short < 8 * hu.nbytes  # up to 8 slices are on their way between the threads, sooner or later


@pytest.fixture(scope="module")
def trained_on() -> Fingerprint:
    """Of bodies like those of the tests, large enough to measure the noise."""
    return measure_fingerprint(body_hu(4, size=128, seed=1))


def test_a_series_like_the_training_passes_a_strict_run(trained_on: Fingerprint, tmp_path: Path) -> None:
    write(tmp_path / "in", "ct.nii", body_hu(3, size=128))
    found = run(tmp_path / "in", tmp_path / "out", DenoiseOptions(strict=True), fingerprint=trained_on)
    assert (found["denoised"], found["warnings"], found["refused"]) == (1, [], [])


def quiet_series(folder: Path) -> None:
    """A body with hardly any noise."""
    hu = body_hu(1, size=128)
    even = np.select([hu < -500, hu < 400], [-1000.0, 40.0], 700.0).repeat(3, axis=0)
    write_series(folder, (even + 1024 + np.arange(128)[:, None] % 2).astype(np.uint16))


def test_a_departure_is_warned_of_and_noted(
    trained_on: Fingerprint, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path / "in", "ct.nii", body_hu(3, size=128))
    quiet_series(tmp_path / "in" / "quiet")
    with caplog.at_level(logging.WARNING, "ctcycle"):
        found = run(tmp_path / "in", tmp_path / "out", DenoiseOptions(), fingerprint=trained_on)
    assert (found["denoised"], found["refused"]) == (2, [])
    assert found["warnings"]
    assert {entry["path"] for entry in found["warnings"]} == {str(tmp_path / "in" / "quiet")}
    assert any("so there is little noise to remove" in entry["warning"] for entry in found["warnings"])
    assert f"{tmp_path}/in/quiet: noise of 0.5" in caplog.text
    assert not {PATIENT_NAME, PATIENT_ID} & set(caplog.text.split())


def test_a_strict_run_refuses_a_departure_before_it_writes(trained_on: Fingerprint, tmp_path: Path) -> None:
    write(tmp_path / "in", "ct.nii", body_hu(3, size=128))
    quiet_series(tmp_path / "in" / "quiet")
    strict = DenoiseOptions(strict=True, residual=True)
    with pytest.raises(SeriesError, match=r"^1 denoised, .* 1 refused, .*: refused .*/in/quiet$") as error:
        run(tmp_path / "in", tmp_path / "out", strict, fingerprint=trained_on)
    assert error.value.exit_code == 3
    assert tree(tmp_path / "out") == ["ct.nii", "ct_residual.nii", "summary.json"]
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert "noise of 0.5" in found["refused"][0]["reason"]
    assert found["refused"][0]["reason"].endswith("; set strict=false to denoise it anyway")
    assert found["warnings"] == []


def test_strict_needs_something_to_compare_with(tmp_path: Path) -> None:
    write(tmp_path / "in", "ct.nii", body_hu(3))
    with pytest.raises(BundleError, match=r"^strict=true: the model has no fingerprint"):
        run(tmp_path / "in", tmp_path / "out", DenoiseOptions(strict=True))
    assert not (tmp_path / "out").exists()


def test_two_results_of_one_name_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    for name in ("ct.nii", "ct_residual.nii"):
        write(tmp_path / "volumes", name, body_hu(2))
    run(tmp_path / "volumes", tmp_path / "out", DenoiseOptions(uncertainty=True))
    with pytest.raises(OutputError, match=r"again/ct_residual\.nii: two outputs would have this name; rename"):
        run(tmp_path / "volumes", tmp_path / "again", ALL)
    assert not (tmp_path / "again").exists()


class Broken(Module):
    """Leaves the finite numbers at bright pixels."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.where(image > 0.6, torch.nan, 0.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", ["file", "folder", "above"])
def test_results_are_not_denoised_again(name: str, place: str, tmp_path: Path) -> None:
    write(tmp_path / "in", name, body_hu(3))
    run(tmp_path / "in", tmp_path / "once" / "out", DenoiseOptions(residual=True, uncertainty=True))
    out = tmp_path / "once" / "out"
    source = {"file": next(iter(sorted(out.glob(f"{name}*")))), "folder": out, "above": out.parent}[place]
    if name.endswith(".npy") or name != "series":
        source = out / name if place == "file" else source
    with pytest.raises(SeriesError, match=r"no CT found \(a result of ctcycle \((denoised|residual)\), not a scan"):
        run(source, tmp_path / "twice")
    write(out, "new_" + name, body_hu(3))
    assert run(source.parent if place == "file" else source, tmp_path / "twice")["denoised"] == 1


def test_numbers_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    hu = body_hu(3)
    hu[:2] = hu[:2].clip(None, 500)
    for name in ("series", "ct.nii", "hu.npy"):
        write(tmp_path / "in", name, hu)
    with pytest.raises(SeriesError, match=r"^0 denoised, .* 3 refused"):
        run(tmp_path / "in", tmp_path / "out", DenoiseOptions(), Denoiser(Broken(), HUWindow(), torch.device("cpu")))
    assert tree(tmp_path / "out") == ["summary.json"]
    refused = json.loads((tmp_path / "out" / "summary.json").read_text())["refused"]
    assert all("new slice 2 has NaN or infinity" in entry["reason"] for entry in refused)


def test_private_elements_are_kept_only_where_it_is_wished(tmp_path: Path) -> None:
    for file in write_series(tmp_path / "in"):
        dataset = pydicom.dcmread(file)
        dataset.private_block(0x0099, "VENDOR", create=True).add_new(1, "LO", "noise index 12")
        dataset.save_as(file)
    for keep in (False, True):
        run(tmp_path / "in", tmp_path / str(keep), DenoiseOptions(keep_private=keep))
        written = pydicom.dcmread(tmp_path / str(keep) / "in" / "IM00001.dcm")
        assert ((0x0099, 0x1001) in written) == keep


def noisy(folder: Path, noise_hu: float, **changes: Any) -> NDArray[np.float32]:
    """A DICOM series of a trunk with noise through a sharp kernel, in pixels of 0.75 mm; gives its HU."""
    stored = np.rint(noisy_trunk(noise_hu, 0.45, size=160) + 1024).clip(0)
    write_series(folder, stored.astype(np.uint16), changes={"PixelSpacing": [0.75, 0.75], **changes})
    return stored.astype(np.float32) - 1024


def test_a_routine_dose_is_warned_of_and_refused_if_strict(trained_on: Fingerprint, tmp_path: Path) -> None:
    wide = replace(trained_on, noise_hu=(13.0, 59.0, 144.0))  # several kernels
    noisy(tmp_path / "in" / "low", 60.0)
    noisy(tmp_path / "in" / "routine", 18.0)
    found = run(tmp_path / "in", tmp_path / "out", DenoiseOptions(), fingerprint=wide)
    warned = [entry for entry in found["warnings"] if "denoising would over-smooth it" in entry["warning"]]
    assert [entry["path"] for entry in warned] == [str(tmp_path / "in" / "routine")]
    assert run(tmp_path / "in", tmp_path / "none", DenoiseOptions(), smooth(0.0))["warnings"] == []
    with pytest.raises(SeriesError, match="refused"):
        run(tmp_path / "in" / "routine", tmp_path / "strict", DenoiseOptions(strict=True), fingerprint=wide)
    assert tree(tmp_path / "strict") == ["summary.json"]


def test_auto_strength_leaves_routine_noise_and_is_recorded(tmp_path: Path) -> None:
    low = noisy(tmp_path / "in" / "low", 60.0)
    noisy(tmp_path / "in" / "routine", 18.0)
    noisy(tmp_path / "in" / "thick", 60.0, SliceThickness=20.0)
    with pytest.raises(SeriesError, match=r"^2 denoised, .* 1 refused") as error:
        run(tmp_path / "in", tmp_path / "out", DenoiseOptions(auto_strength=True), smooth(0.3))
    assert "/in/thick" in str(error.value)
    found = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert re.search(r"thick: strength=auto: slice thickness of 20 mm; .*; set strength", found["refused"][0]["reason"])
    assert found["warnings"] == []
    chosen = {Path(entry["path"]).name: entry for entry in found["strengths"]}
    assert chosen["routine"]["strength"] == 0
    assert "already at routine dose, left unchanged" in chosen["routine"]["reason"]
    np.testing.assert_array_equal(read(tmp_path / "out" / "routine"), read(tmp_path / "in" / "routine"))
    strength = chosen["low"]["strength"]
    assert 0 < strength < 1
    expected = low + np.rint(smooth(strength).correction(low))
    np.testing.assert_array_equal(read(tmp_path / "out" / "low"), expected)
    assert measure_noise(expected).hu == pytest.approx(chosen["low"]["routine_hu"], rel=0.05)
    image = pydicom.dcmread(tmp_path / "out" / "low" / "IM00001.dcm")
    assert f"Strength {strength:.2f} chosen for the noise of a routine dose." in image.DerivationDescription
    run(tmp_path / "in" / "low", tmp_path / "again", DenoiseOptions(), smooth(strength))
    plain = pydicom.dcmread(tmp_path / "again" / "low" / "IM00001.dcm")
    assert plain.SOPInstanceUID != image.SOPInstanceUID
    assert plain.PixelData == image.PixelData


@pytest.mark.parametrize("written", [1, 2, 3], ids=["one result", "one series", "all but the summary"])
def test_a_run_that_was_killed_goes_on_to_the_same_summary(
    written: int, trained_on: Fingerprint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Warnings and strengths of what was finished before are kept, and it counts as denoised."""
    source, out = tmp_path / "in", tmp_path / "out"
    noisy(source / "low", 60.0)
    noisy(source / "routine", 18.0)
    said: list[str] = []
    options = DenoiseOptions(auto_strength=True, residual=True, finished=said.append)
    whole = run(source, out, options, fingerprint=trained_on)
    assert {Path(entry["path"]).name for entry in whole["strengths"]} == {"low", "routine"}
    assert {Path(entry["path"]).name for entry in whole["warnings"]} == {"low"}
    out.rename(tmp_path / "whole")
    write_output, left = OutputRecords.writing, written

    @contextmanager
    def killed_after(*args: Any) -> Iterator[Path]:
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        with write_output(*args) as hidden:
            yield hidden

    with monkeypatch.context() as patch:
        patch.setattr(OutputRecords, "writing", killed_after)
        with pytest.raises(KeyboardInterrupt):
            run(source, out, options, fingerprint=trained_on)
    assert run(source, out, options, fingerprint=trained_on) == whole
    assert said == [f"2 denoised, 0 already done, 0 refused, 0 skipped; -> {out}"] * 2
    again = run(source, out, options, fingerprint=trained_on)
    assert (again["denoised"], again["already_there"]) == (0, 2)
    assert (again["warnings"], again["strengths"]) == (whole["warnings"], whole["strengths"])


def test_what_is_no_ct_is_refused_before_all_of_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of zeros may claim, and have, 31 GB: to hash it takes minutes."""
    np.save(tmp_path / "ct.npy", np.zeros((3, 32, 36), np.int16) - 1000)
    hashed: list[Any] = []
    monkeypatch.setattr("ctcycle.inference.folders.source_digest", hashed.append)
    with pytest.raises(SeriesError, match="refused"):
        run(tmp_path / "ct.npy", tmp_path / "out")
    assert hashed == []


def test_progress_sees_each_slice_of_each_result(tmp_path: Path) -> None:
    write_series(tmp_path / "in")
    seen: list[tuple[str, int, int]] = []

    def watch(images: Any, name: str, count: int) -> Any:
        for number, image in enumerate(images):
            seen.append((name, number, count))
            yield image

    run(tmp_path / "in", tmp_path / "out", DenoiseOptions(uncertainty=True, progress=watch))
    assert seen == [(name, number, 3) for name in ("in", "in uncertainty") for number in range(3)]


def test_nothing_of_a_patient_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    quiet_series(tmp_path / "in" / "quiet")
    write_series(tmp_path / "in" / "broken", changes={"PixelData": b"\0" * 10})
    with caplog.at_level(logging.DEBUG), pytest.raises(SeriesError) as error:
        run(tmp_path / "in", tmp_path / "out", ALL, Denoiser(Identity(), HUWindow(), torch.device("cpu")))
    told = caplog.text + str(error.value) + (tmp_path / "out" / "summary.json").read_text()
    assert "broken" in told
    assert not [word for word in (PATIENT_NAME, "ZZCANARY", PATIENT_ID, "19330303") if word in told]
