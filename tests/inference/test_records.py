"""Outputs that exist: done, refused or replaced, by what they were made with and from; and never of anyone else."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import torch
from phantom_series import body_hu, change, save, stored_body, write_series

from ctcycle.atomic import file_digests
from ctcycle.ct.dicom import Derivation
from ctcycle.ct.hounsfield import HUWindow, MuScale
from ctcycle.errors import ConfigError, CtcycleError, OutputError, SeriesError
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.folders import DenoiseOptions, denoise_folder
from ctcycle.inference.inferers import make_inferer
from ctcycle.inference.records import FOLDER, differences

DERIVATION = Derivation("1.0", "tiny", "0" * 64)
OVERWRITE = DenoiseOptions(overwrite=True)


def denoiser(size: int = 3, window: HUWindow | None = None, mu_water: float = 0.02, **options: Any) -> Denoiser:
    """Averages the neighbours of each pixel, those below and to the right of it with more weight."""
    net = torch.nn.Conv2d(1, 1, size, padding=size // 2, padding_mode="replicate", bias=False)
    weights = torch.arange(1.0, size**2 + 1).reshape(1, 1, size, size)
    net.weight.data = weights / weights.sum()
    strength = options.pop("strength", 1.0)
    mu = MuScale(mu_water)
    return Denoiser(
        net, window or HUWindow(), torch.device("cpu"), inferer=make_inferer(**options), strength=strength, mu=mu
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A DICOM series ``in/a`` and a volume ``in/ct.npy``."""
    write_series(tmp_path / "in" / "a", stored_body(2), series="1.2.826.0.1.1")
    np.save(tmp_path / "in" / "ct.npy", body_hu(2))
    return tmp_path / "in"


@pytest.fixture
def out(source: Path) -> Path:
    """The results of both, once made with default options."""
    out = source.with_name("out")
    denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions())
    return out


def summary(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def images(out: Path) -> dict[str, str]:
    """Digests of all files but the summary and the records."""
    return {name: digest for name, digest in file_digests(out).items() if name.endswith((".dcm", ".npy", ".nii"))}


def test_the_same_again_is_done_whatever_the_times_of_the_files(source: Path, out: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.suffix in {".dcm", ".npy"}}
    for path in source.rglob("*"):
        os.utime(path, (1, 1))
    shutil.copytree(source, source.with_name("copy") / "in")
    denoise_folder(source.with_name("copy") / "in", out, denoiser(), DERIVATION, DenoiseOptions())
    found = summary(out)
    assert (found["denoised"], found["already_there"], found["refused"]) == (0, 2, [])
    assert {path: path.stat().st_mtime_ns for path in before} == before


OTHERS: dict[str, tuple[Denoiser, Derivation, DenoiseOptions, str]] = {
    "strength": (denoiser(strength=0.3), DERIVATION, DenoiseOptions(), r"strength=0\.3 instead of 1\.0"),
    "tile": (denoiser(tile=64), DERIVATION, DenoiseOptions(), "tile=64 instead of 0"),
    "flips": (denoiser(average_flips=True), DERIVATION, DenoiseOptions(), "average_flips=True instead of False"),
    "window": (
        denoiser(window=HUWindow(-900, 900)),
        DERIVATION,
        DenoiseOptions(),
        r"hu_window=\[-900\.0, 900\.0, True, None\] instead of \[-1000\.0, .*",
    ),
    "network": (denoiser(size=5), DERIVATION, DenoiseOptions(), "network=[0-9a-f]{12} instead of [0-9a-f]{12}"),
    "attenuation": (denoiser(mu_water=0.019), DERIVATION, DenoiseOptions(), r"mu_water=0\.019 instead of 0\.02"),
    "weights": (
        denoiser(),
        replace(DERIVATION, model_digest="f" * 64),
        DenoiseOptions(),
        "weights=f{12} instead of 0{12}",
    ),
    "version": (denoiser(), replace(DERIVATION, version="1.1"), DenoiseOptions(), r"ctcycle=1\.1 instead of 1\.0"),
    "elements": (denoiser(), DERIVATION, DenoiseOptions(keep_private=True), "keep_private=True instead of False"),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("input_is", ["the same", "other series"])
def test_results_of_other_weights_or_options_are_never_given_out_nor_joined(
    name: str, input_is: str, source: Path, out: Path
) -> None:
    network, derivation, options, message = OTHERS[name]
    before = file_digests(out)
    if input_is == "other series":
        shutil.rmtree(source)
    write_series(source / "new", stored_body(1), series="1.2.826.0.1.9")
    with pytest.raises(ConfigError, match=rf"was made with other weights or options \({message}\); set ") as error:
        denoise_folder(source, out, network, derivation, options)
    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)
    assert file_digests(out) == before


@pytest.mark.parametrize("name", OTHERS)
def test_results_of_other_weights_or_options_are_replaced_if_told_so(name: str, source: Path, out: Path) -> None:
    network, derivation, options, _message = OTHERS[name]
    denoise_folder(source, out, network, derivation, replace(options, overwrite=True))
    assert summary(out)["denoised"] == 2
    again = source.with_name("again")
    denoise_folder(source, again, network, derivation, options)
    assert images(out) == images(again)
    assert file_digests(out / FOLDER) == file_digests(again / FOLDER)
    denoise_folder(source, out, network, derivation, options)
    assert summary(out)["already_there"] == 2


def test_an_overwrite_leaves_no_results_of_two_kinds(source: Path, out: Path) -> None:
    shutil.rmtree(source / "a")
    before = file_digests(out)
    with pytest.raises(ConfigError, match=r"out/a: was made .* \(strength=0\.5 .*; it is not in the input, so move"):
        denoise_folder(source, out, denoiser(strength=0.5), DERIVATION, OVERWRITE)
    assert file_digests(out) == before
    shutil.rmtree(out / "a")
    denoise_folder(source, out, denoiser(strength=0.5), DERIVATION, OVERWRITE)


def brighter(source: Path) -> None:
    write_series(source / "a", stored_body(2) + 1, series="1.2.826.0.1.1")


def renamed(source: Path) -> None:
    write_series(source / "a", stored_body(2), series="1.2.826.0.1.1", changes={"PatientName": "Other"})


def one_slice_more(source: Path) -> None:
    write_series(source / "a", stored_body(3), series="1.2.826.0.1.1")


@pytest.mark.parametrize("edit", [brighter, renamed, one_slice_more])
def test_a_series_whose_files_have_changed_is_refused_and_the_others_are_not(
    edit: Callable[[Path], object], source: Path, out: Path
) -> None:
    before = images(out)
    edit(source)
    write_series(source / "new", stored_body(1), series="1.2.826.0.1.9")
    with pytest.raises(SeriesError, match=r"^1 denoised, 1 already done, 1 refused.*: refused .*in/a$") as error:
        denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions())
    assert error.value.exit_code == 3
    assert "its files have changed since" in summary(out)["refused"][0]["reason"]
    assert "set overwrite=true, or choose another `out`" in summary(out)["refused"][0]["reason"]
    assert {name: digest for name, digest in images(out).items() if not name.startswith("new/")} == before
    denoise_folder(source, out, denoiser(), DERIVATION, OVERWRITE)
    denoise_folder(source, source.with_name("again"), denoiser(), DERIVATION, DenoiseOptions())
    assert images(out) == images(source.with_name("again"))


@pytest.mark.parametrize("options", [DenoiseOptions(), OVERWRITE])
@pytest.mark.parametrize("what", ["scans", "volume", "changed", "more", "link", "record gone", "record cut"])
def test_what_ctcycle_did_not_write_is_never_taken_for_a_result_nor_replaced(
    what: str, options: DenoiseOptions, source: Path, out: Path
) -> None:
    if what == "scans":  # of someone who has put the originals there
        shutil.rmtree(out / "a")
        write_series(out / "a", stored_body(33))
    elif what == "volume":
        np.save(out / "ct.npy", body_hu(2))
    elif what == "changed":
        image = pydicom.dcmread(out / "a" / "IM00001.dcm")
        change(image, {"PatientID": "corrected"})
        save(image, out / "a" / "IM00001.dcm")
    elif what == "more":
        shutil.copy(source / "a" / "0001.dcm", out / "a" / "0001.dcm")
    elif what == "link":
        (out / "a").rename(source.with_name("elsewhere"))
        (out / "a").symlink_to(source.with_name("elsewhere"))
    else:
        for record in (out / FOLDER).iterdir():
            record.write_bytes(record.read_bytes()[:100]) if what == "record cut" else record.unlink()
    before = file_digests(source.parent)
    with pytest.raises(
        OutputError, match="so it is never replaced; move it elsewhere, or choose another `out`"
    ) as error:
        denoise_folder(source, out, denoiser(), DERIVATION, options)
    assert error.value.exit_code == 4
    assert file_digests(source.parent) == before


KILLED = """
import os, sys
from pathlib import Path
from ctcycle import atomic
import test_records as tests
rename, number = Path.rename, int(sys.argv[2])
def dying(self, target):
    global number
    number -= 1
    if number == 0:
        os.kill(os.getpid(), 9)
    return rename(self, target)
Path.rename = dying
out = Path(sys.argv[1])
options = tests.DenoiseOptions(overwrite=sys.argv[3] == "True")
tests.denoise_folder(out.with_name("in"), out, tests.denoiser(strength=0.5), tests.DERIVATION, options)
"""


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("rename", [1, 2, 3])
def test_a_run_that_was_killed_is_finished_by_the_next_and_leaves_nothing(
    rename: int, overwrite: bool, source: Path, out: Path
) -> None:
    """At any rename: of the new series, of the old one to its hiding place, of the new one to its place."""
    if not overwrite:
        shutil.rmtree(out)
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED, str(out), str(rename), str(overwrite)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    denoise_folder(source, out, denoiser(strength=0.5), DERIVATION, DenoiseOptions(overwrite=overwrite))
    expected = source.with_name("expected")
    denoise_folder(source, expected, denoiser(strength=0.5), DERIVATION, DenoiseOptions())
    left = file_digests(out)
    assert {name: left[name] for name in left if name != "summary.json"} == {
        name: digest for name, digest in file_digests(expected).items() if name != "summary.json"
    }


def head(source: Path, out: Path, network: Denoiser, derivation: Derivation = DERIVATION) -> pydicom.Dataset:
    """The first image of the first series."""
    denoise_folder(source, out, network, derivation, DenoiseOptions())
    return pydicom.dcmread(min(out.rglob("*.dcm")))


def test_series_and_images_have_uids_of_their_own_for_all_that_changes_pixels(source: Path, tmp_path: Path) -> None:
    variants: dict[str, tuple[Denoiser, Derivation]] = {
        "plain": (denoiser(), DERIVATION),
        **{name: (network, derivation) for name, (network, derivation, _options, _m) in OTHERS.items()},
        "none": (denoiser(strength=0), DERIVATION),
    }
    del variants["elements"]
    made = {name: head(source, tmp_path / name, *variant) for name, variant in variants.items()}
    brighter(source)
    made["other scan with the same UIDs"] = head(source, tmp_path / "brighter", denoiser())
    for keyword in ("SeriesInstanceUID", "SOPInstanceUID"):
        assert len({image[keyword].value for image in made.values()}) == len(made)
    assert {image.StudyInstanceUID for image in made.values()} == {made["plain"].StudyInstanceUID}
    assert {image.ReferencedSeriesSequence[0].SeriesInstanceUID for image in made.values()} == {"1.2.826.0.1.1"}


def test_the_same_gives_the_same_uids(source: Path, tmp_path: Path) -> None:
    first, second = (head(source, tmp_path / name, denoiser(strength=0.7)) for name in "ab")
    assert first == second


@pytest.mark.parametrize(
    ("model", "strength", "series", "derivation"),
    [
        (
            "abdomen_v2",
            0.5,
            "Abdomen 2.0 abdomen_v2 x0.5 ctcycle denoised",
            "model abdomen_v2, strength 0.5, weights 00",
        ),
        ("ctcycle", 1.0, "Abdomen 2.0 ctcycle x1 ctcycle denoised", "model ctcycle, strength 1, weights 0000"),
        ("a" * 60, 0.123456, "Abdomen 2.0 aaaaaaaaaaaaaaaa x0.123 ctcycle denoised", "strength 0.123, weights"),
        ("Lunge\\größer", 0.0, "Abdomen 2.0 Lunge?gr??er x0 ctcycle denoised", "strength 0, weights"),
    ],
)
def test_the_headers_name_model_and_strength(
    model: str, strength: float, series: str, derivation: str, source: Path, tmp_path: Path
) -> None:
    image = head(source, tmp_path / "out", denoiser(strength=strength), replace(DERIVATION, model=model))
    assert image.SeriesDescription == series
    assert derivation in image.DerivationDescription
    assert len(image.SeriesDescription) <= 64


def test_differences_name_the_new_value_first() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": "x"}) == ["b=3 instead of 2", "c=x instead of None"]
    assert differences({"a": 1, "b": "ab" * 32}, {"b": "cd" * 32}) == [
        "b=cdcdcdcdcdcd instead of abababababab",
        "a=None instead of 1",
    ]


def test_two_at_once_in_one_folder(source: Path, out: Path) -> None:
    def nested(images: Any, _name: str, _count: int) -> Any:
        with pytest.raises(OutputError, match="another process is writing it; wait for it, stop it"):
            denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions())
        return images

    denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions(overwrite=True, progress=nested))
    assert summary(out)["denoised"] == 2


@pytest.mark.parametrize("place", ["in/a", "in", "in/a/deeper"])
@pytest.mark.parametrize("options", [DenoiseOptions(), OVERWRITE])
def test_no_output_takes_the_place_of_its_input(place: str, options: DenoiseOptions, source: Path) -> None:
    before = file_digests(source)
    with pytest.raises(CtcycleError):
        denoise_folder(source, source.parent / place, denoiser(), DERIVATION, options)
    with pytest.raises(OutputError, match=r"is the input .* or inside it"):
        denoise_folder(source / "a", source, denoiser(), DERIVATION, options)
    assert file_digests(source) == before


@pytest.mark.parametrize("name", [".DS_Store", "._IM00001.dcm", "Thumbs.db", "desktop.ini"])
def test_files_of_file_managers_change_no_result(name: str, source: Path, out: Path) -> None:
    (out / "a" / name).write_text("shown")
    denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions())
    assert summary(out)["already_there"] == 2
    (out / "a" / "notes.txt").write_text("of a reader")
    with pytest.raises(OutputError, match="was changed after ctcycle wrote it"):
        denoise_folder(source, out, denoiser(), DERIVATION, OVERWRITE)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_records_are_written_nowhere_else(kind: str, source: Path, tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "new", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    if kind == "link":
        (out / FOLDER).symlink_to(elsewhere)
    else:
        (out / FOLDER).touch()
    with pytest.raises(OutputError, match=r"\.ctcycle: is not a folder; ctcycle keeps its records there"):
        denoise_folder(source, out, denoiser(), DERIVATION, DenoiseOptions())
    assert not list(elsewhere.iterdir())
    assert [path.name for path in out.iterdir()] == [FOLDER]


@pytest.mark.parametrize("name", ["summary.json", "finished", "log.txt"])
def test_a_series_never_takes_the_name_of_a_file_of_ctcycle(name: str, source: Path, tmp_path: Path) -> None:
    write_series(source / name, stored_body(2), series="1.2.826.0.1.2")
    with pytest.raises(OutputError, match=rf"new/{name}: ctcycle uses this name for a file of its own; rename"):
        denoise_folder(source, tmp_path / "new", denoiser(), DERIVATION, DenoiseOptions())
    assert not (tmp_path / "new").exists()


def test_results_are_never_written_among_the_scans(source: Path) -> None:
    before = file_digests(source)
    with pytest.raises(OutputError, match=r"in/results: is the input .*/in or inside it"):
        denoise_folder(source, source / "results", denoiser(), DERIVATION, DenoiseOptions())
    assert file_digests(source) == before
