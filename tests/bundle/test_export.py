"""From a run to a bundle: its files, what of the run is in it, and what happens where that cannot be."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exported_bundle import low_dose, plan_of, read_json
from tiny_data import TinyData, write_train_config

from ctcycle.atomic import file_digests, sole_writer
from ctcycle.bundle.export import export_bundle
from ctcycle.config.loading import load_config
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.errors import BundleError, OutputError
from ctcycle.inference.fingerprint import read_fingerprint
from ctcycle.runs.models import load_denoiser
from ctcycle.tasks import running


def test_it_has_the_files_of_a_bundle(bundle: Path) -> None:
    for name in (
        "LICENSE",
        "docs/README.md",
        "docs/data_license.txt",
        "models/model.pt",
        "models/model.onnx",
        "models/model.pt2",
    ):
        assert (bundle / name).stat().st_size > 0, name
    configs = {path.name for path in (bundle / "configs").iterdir()}
    assert configs == {
        *(f"{name}.json" for name in ("metadata", "inference", "evaluate", "train", "fingerprint")),
        "logging.conf",
    }
    assert "Apache License" in (bundle / "LICENSE").read_text()
    assert (bundle / "docs" / "data_license.txt").read_text() == "Nobody's data.\n"
    assert not list(bundle.parent.glob(".*"))


def test_files_are_small_and_hold_nothing_but_their_content(bundle: Path) -> None:
    for path in bundle.rglob("*"):
        assert re.fullmatch(r"[A-Za-z0-9_.]+", path.name), path.name
        assert path.name != "__pycache__"
        assert path.is_dir() or path.stat().st_size <= 25 * 2**20


def test_nothing_in_it_tells_where_it_was_made(bundle: Path, tiny_run: Path) -> None:
    root = Path(running.__file__).parents[1]
    telling = [str(place).encode() for place in (root, sys.prefix, tiny_run.parent, bundle.parent, Path.home())]
    files = [path for path in bundle.rglob("*") if path.is_file()]
    assert len(files) > 30
    for path in files:
        content = path.read_bytes()
        assert not [place for place in telling if place in content], path.name
        assert not re.search(rb"site-packages|/lib/python\d", content), path.name
    assert b"anna" not in (bundle / "docs" / "README.md").read_bytes()  # keys of patients are no part of a model card


@pytest.mark.usefixtures("unmeasured")
def test_network_window_and_water_are_those_of_the_run(tiny: TinyData, tmp_path: Path) -> None:
    path = write_train_config(tiny, tmp_path / "run", "supervised")
    settings = ["data.hu_window={low: -900, high: 1500, scale: 3000}", "data.mu_water=0.02", "data.mu_air=0.001"]
    settings.append("generator.norm=instance")
    running.run(load_config(path, [*settings, "generator.dilations=[1]", "training.epochs=1", "validation.every=9"]))
    made = plan_of(tmp_path / "run", tmp_path / "other", formats=(), fingerprint=False, checkpoint="last")
    export_bundle(made)
    config = read_json(tmp_path / "other" / "configs" / "inference.json")
    assert config["hu_window"] == {
        "_target_": "scripts.ct.hounsfield.HUWindow",
        "low": -900.0,
        "high": 1500.0,
        "clip_upper": True,
        "scale": 3000.0,
    }
    assert (config["mu_water"], config["mu_air"]) == (0.02, 0.001)
    assert config["network_def"]["spec"]["norm"] == "instance"
    assert config["network_def"]["spec"]["dilations"] == [1]
    tensor = read_json(tmp_path / "other" / "configs" / "metadata.json")["network_data_format"]["inputs"]["image"]
    assert tensor["value_range"] == [-0.3, 0.5]
    card = (tmp_path / "other" / "docs" / "README.md").read_text()
    assert "The network sees values between -900 and 1500 HU." in card
    assert "has no fingerprint of its training data" in card
    assert "No evaluation was given" in card
    assert "1 phantom slices of 8 x 8 px, 2 CPU threads, abacus:" in card
    assert "Peak memory" not in card
    assert not (tmp_path / "other" / "configs" / "fingerprint.json").exists()
    hu = low_dose(tiny)[0]
    found, expected = (load_denoiser(model, "last", "cpu")(hu) for model in (tmp_path / "other", tmp_path / "run"))
    np.testing.assert_array_equal(found, expected)


def test_foreign_code_in_a_bundle_is_refused_by_ctcycle(copy: Path) -> None:
    path = copy / "configs" / "inference.json"
    config = read_json(path)
    config["network_def"]["_target_"] = "os.system"
    path.write_text(json.dumps(config))
    with pytest.raises(BundleError, match=r"os\.system"):
        load_denoiser(copy, device="cpu")


def test_the_weights_are_nothing_but_weights(bundle: Path, tiny_run: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    expected = load_denoiser(tiny_run, device="cpu").generator.state_dict()
    assert set(weights) == set(expected)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_fingerprint_is_that_of_the_low_dose_training_slices(bundle: Path, tiny: TinyData) -> None:
    from ctcycle.data.manifest import read_manifest
    from ctcycle.inference.fingerprint import measure_fingerprint

    rows = read_manifest(tiny.manifest).select(dose="low_dose", split="train")
    series = [read_series(find_series(tiny.manifest.parent / row.path)[0][0]).hu for row in rows]
    expected = measure_fingerprint(np.concatenate(series))
    found = read_fingerprint(bundle / "configs" / "fingerprint.json")
    assert len(series) == 6
    np.testing.assert_allclose(found.noise_hu, expected.noise_hu)
    np.testing.assert_allclose(found.histogram, expected.histogram)


@pytest.mark.usefixtures("unmeasured")
def test_an_existing_bundle_stays_unless_it_may_be_replaced(copy: Path, tiny_run: Path) -> None:
    with pytest.raises(OutputError, match="already exists; choose another `bundle`, or set overwrite=true"):
        export_bundle(plan_of(tiny_run, copy))
    text = export_bundle(plan_of(tiny_run, copy, overwrite=True, formats=(), fingerprint=False))
    assert text.startswith("bundle tiny_denoiser 0.1.0 of ")
    assert not (copy / "models" / "model.onnx").exists()
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


@pytest.mark.parametrize("what", ["added", "changed", "no record"])
def test_a_bundle_with_anything_of_others_is_never_replaced(what: str, copy: Path, tiny_run: Path) -> None:
    name = {"added": "old.txt", "changed": "docs/README.md", "no record": ".ctcycle/files.json"}[what]
    (copy / name).unlink() if what == "no record" else (copy / name).write_text("mine")
    before = file_digests(copy)
    with pytest.raises(OutputError, match="never replaced; move it elsewhere, or choose another `bundle`") as error:
        export_bundle(plan_of(tiny_run, copy, overwrite=True, formats=(), fingerprint=False))
    assert error.value.exit_code == 4
    assert file_digests(copy) == before


def test_two_exports_to_one_bundle_at_once(tiny_run: Path, tmp_path: Path) -> None:
    with sole_writer(tmp_path / "made"), pytest.raises(OutputError, match="made: another process is writing it; wait"):
        export_bundle(plan_of(tiny_run, tmp_path / "made", formats=(), fingerprint=False))


KILLED = """
import os, sys
from pathlib import Path
from ctcycle.bundle import export
export._costs = lambda folder: os.kill(os.getpid(), 9)
export.export_bundle(export.BundlePlan(Path(sys.argv[1]), Path(sys.argv[2]), formats=(), fingerprint=False))
"""


@pytest.mark.slow
@pytest.mark.usefixtures("unmeasured")
def test_what_a_killed_export_left_is_removed_by_the_next(tiny_run: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tiny_run), str(tmp_path / "made")]
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert list(tmp_path.glob(".made.partial-*/models/model.pt"))
    export_bundle(plan_of(tiny_run, tmp_path / "made", formats=(), fingerprint=False))
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


@pytest.mark.usefixtures("unmeasured")
def test_models_too_large_for_the_zoo_are_told(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ctcycle.bundle.export._ZOO_MB", 0)
    export_bundle(plan_of(tiny_run, tmp_path / "made", formats=(), fingerprint=False))
    assert "model.pt is 0 MB; the model zoo accepts files above 0 MB only as links" in caplog.text


def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, tiny_run: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("dear")
    with pytest.raises(OutputError, match="exists and is not a bundle"):
        export_bundle(plan_of(tiny_run, tmp_path / "mine", overwrite=True))
    assert (tmp_path / "mine" / "notes.txt").read_text() == "dear"


def test_a_failure_leaves_the_old_bundle_and_nothing_else(
    copy: Path, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (copy / "docs" / "README.md").read_bytes()

    def fail(_folder: Path) -> dict[str, Any]:
        raise BundleError("measuring failed")

    monkeypatch.setattr("ctcycle.bundle.export._costs", fail)
    with pytest.raises(BundleError, match="measuring failed"):
        export_bundle(plan_of(tiny_run, copy, overwrite=True, formats=(), fingerprint=False))
    assert (copy / "docs" / "README.md").read_bytes() == before
    assert [path.name for path in copy.parent.iterdir()] == [copy.name]


def test_only_training_runs_make_bundles(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"(not a run folder|is a run of task)"):
        export_bundle(plan_of(bundle.parent / "run", tmp_path / "made", formats=()))
