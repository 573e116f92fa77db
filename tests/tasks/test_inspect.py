"""The tasks `inspect` and `view` through the command line: files, exit codes, and what is never replaced."""

from pathlib import Path

import numpy as np
import pytest
from noisy_series import write_npy

from ctcycle.config.loading import load_config
from ctcycle.run import command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two patients of each dose, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        write_npy(tmp_path / "a" / f"P{number}", 40.0, slices=1, seed=number)
        write_npy(tmp_path / "b" / f"R{number}", 15.0, slices=1, seed=10 + number)
    return tmp_path


def test_inspect_writes_a_page_and_configs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["inspect", "a", "b", "--out", "found"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "next: ctcycle run found/scan.yaml"
    assert {path.name for path in (folder / "found").glob("*.*") if not path.name.startswith(".")} == {
        *("config.yaml", "inspect.html", "log.txt", "scan.yaml", "series.csv", "train.yaml"),
    }
    assert load_config(folder / "found" / "train.yaml").resolved["method"] == "calibrated_pairs"
    assert "proposal: calibrated_pairs, disjoint_patients" in said
    assert command(["run", "found/scan.yaml"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: ctcycle run found/train.yaml"


def test_inspecting_again_looks_again_and_removes_old_proposals(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["inspect", "sources=[{path: a, dose: low_dose}, {path: b}]", "--out", "found"]
    assert command(line) == 0
    assert (folder / "found" / "scan.yaml").exists()
    for number in range(2):
        write_npy(folder / "b" / f"R{number}", 40.0, slices=1, seed=20 + number)
    assert command(line) == 0
    assert not (folder / "found" / "scan.yaml").exists()
    assert "next: ctcycle denoise a a_denoised" in capsys.readouterr().out


def test_a_changed_page_is_not_replaced(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["inspect", "a", "--out", "found"]) == 0
    (folder / "found" / "inspect.html").write_text("mine")
    capsys.readouterr()
    assert command(["inspect", "a", "--out", "found"]) == 4
    assert "was changed after ctcycle wrote it" in capsys.readouterr().err
    assert (folder / "found" / "inspect.html").read_text() == "mine"


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("line", "code", "sentence"),
    [
        (["inspect", "nowhere"], 3, "nowhere: does not exist"),
        (["inspect", "a", "slices=0"], 2, "slices"),
        (["view", "a", "nowhere"], 3, "nowhere: does not exist; give the output folder of ctcycle denoise"),
        (["view", "nowhere", "a"], 3, "nowhere: does not exist"),
        (["view", "a", "b", "--out", "a/pages"], 4, "is the input a or inside it"),
    ],
)
def test_what_is_refused(line: list[str], code: int, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(line) == code
    assert sentence in capsys.readouterr().err.splitlines()[-1]


def test_view_writes_pages(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("before", "after"):
        np.save(folder / f"{name}.npy", np.load(folder / "a" / "P0" / "slice_1.npy")[None].repeat(2, 0))
    assert command(["view", "before.npy", "after.npy", "--out", "pages"]) == 0
    assert "-> pages/series01.html" in capsys.readouterr().out
    assert "before.npy" not in (folder / "pages" / "series01.html").read_text()
