"""A bundle is refreshed from the code: scripts and configs are new, all else stays."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import SPEC, bundle_config, write_bundle

from ctcycle.bundle.refresh import main, refresh
from ctcycle.bundle.scripts import scripts
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import BundleError
from ctcycle.runs.bundle_folder import BundleFacts, read_bundle_facts

ROOT = Path(__file__).parents[2]


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_scripts_and_configs_are_written_and_all_else_stays(tmp_path: Path) -> None:
    bundle = tmp_path / "ct"
    write_bundle(bundle, {**bundle_config(), "fingerprint": "configs/fingerprint.json", "average_flips": True})
    (bundle / "scripts" / "old").mkdir(parents=True)
    (bundle / "scripts" / "old" / "gone.py").touch()
    (bundle / "docs").mkdir()
    (bundle / "docs" / "README.md").write_text("the card")
    before = files(bundle)
    refresh(bundle)
    after = files(bundle)
    assert {name for name in before if after.get(name) != before[name]} == {
        "configs/inference.json",
        "scripts/old/gone.py",
    }
    new = {f"scripts/{name}" for name in scripts()} | {"configs/evaluate.json", "configs/train.json"}
    assert set(after) == set(before) - {"scripts/old/gone.py"} | new
    assert read_bundle_facts(bundle) == BundleFacts(SPEC, HUWindow(-1024, 2000), 0.02, True, True)


def test_a_second_refresh_changes_nothing(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct")
    refresh(tmp_path / "ct")
    first = files(tmp_path / "ct")
    refresh(tmp_path / "ct")
    assert files(tmp_path / "ct") == first
    assert json.loads(first["configs/inference.json"])["fingerprint"] == ""


def test_classes_that_were_moved_are_found_by_their_place_in_the_config(tmp_path: Path) -> None:
    text = json.dumps(bundle_config()).replace("scripts.networks.resnet.ResNetGenerator", "scripts.nets.Generator")
    write_bundle(tmp_path / "ct", json.loads(text))
    with pytest.raises(BundleError, match=r"_target_ is 'scripts\.nets\.Generator', not"):
        read_bundle_facts(tmp_path / "ct")
    refresh(tmp_path / "ct")
    assert read_bundle_facts(tmp_path / "ct").spec == SPEC


def test_what_is_no_bundle_is_told_in_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "mine.py").touch()
    assert main([str(tmp_path)]) == 4
    told = capsys.readouterr().err
    assert told == f"{tmp_path}: not a bundle folder (configs/metadata.json is missing); choose another folder\n"
    assert main([]) == main(["a", "b"]) == 2
    assert capsys.readouterr().err.startswith(
        "command line: must be one bundle folder; run python -m ctcycle.bundle.re"
    )
    assert [path.name for path in tmp_path.rglob("*")] == ["scripts", "mine.py"]


def test_a_config_that_cannot_be_read_leaves_the_scripts_alone(tmp_path: Path) -> None:
    write_bundle(tmp_path / "ct", {"mu_water": 0.02})
    (tmp_path / "ct" / "scripts").mkdir()
    (tmp_path / "ct" / "scripts" / "mine.py").touch()
    before = files(tmp_path / "ct")
    with pytest.raises(
        BundleError, match=r"inference\.json: not a config written by ctcycle \('network_def' is missing"
    ):
        refresh(tmp_path / "ct")
    assert files(tmp_path / "ct") == before


def test_any_line_of_the_code_can_be_edited(tmp_path: Path) -> None:
    """In a copy of the repository: an edit, then what `make bundle` runs."""
    for name in ("ctcycle", "bundles"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    edited = tmp_path / "ctcycle" / "ct" / "npy.py"
    edited.write_text(edited.read_text().replace('"""', '"""Edited. ', 1))
    before = files(tmp_path / "bundles")
    command = [sys.executable, "-B", "-W", "ignore", "-m", "ctcycle.bundle.refresh", "bundles/ct_denoiser"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    after = files(tmp_path / "bundles")
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    assert changed == ["ct_denoiser/scripts/ct/npy.py"]
    assert b'"""Edited. ' in after["ct_denoiser/scripts/ct/npy.py"]
