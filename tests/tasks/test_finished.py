"""A finished task is done only while its results exist and belong to the present scans and weights."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from phantom_series import body_hu, write_series

from ctcycle.atomic import file_digests
from ctcycle.bundle import export
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.data.manifest import read_manifest
from ctcycle.run import main
from ctcycle.runs.checkpoints import read_checkpoint, write_checkpoint

SIMULATION = {"patients": 2, "slices": 1, "size": 32, "views": 16, "pixel_mm": 11.0}
WHOLE = {"PixelSpacing": [4.0, 4.0]}
BODY = np.rint(body_hu(1, 96) + 1024).astype(np.uint16)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and the last line on stderr."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    return code, capsys.readouterr().err.strip().replace("\r", "\n").rpartition("\n")[2]


def config(out: Path, task: str, **values: Any) -> Path:
    path = out.with_suffix(".yaml")
    path.write_text(dump_yaml({"task": task, "out": str(out), **values}))
    return path


def retrain(run_folder: Path) -> None:
    """Give a run other weights, as a second training does."""
    best = run_folder / "checkpoints" / "best.pt"
    state = dict(read_checkpoint(best))
    for name in ("denoiser", "ema", "networks"):
        if name in state:
            changed = {key: v + 0.01 if v.is_floating_point() else v for key, v in state[name].items()}
            state[name] = changed
    write_checkpoint(best, state)


@pytest.fixture
def copied_run(tiny_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "copied"))


def test_a_scan_notices_series_that_came_and_went(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "scan"
    write_series(source / "a", series="1.2.826.0.1.1")
    given = config(out, "scan", sources=[{"path": str(source)}])
    for _ in range(2):
        assert run(capsys, "--config", given)[0] == 0
    write_series(source / "b", series="1.2.826.0.1.2")
    code, said = run(capsys, "--config", given)
    assert (code, said.startswith(f"{source}: 1 series added since {out / 'manifest.csv'} was written")) == (3, True)
    assert run(capsys, "--config", given, "overwrite=true")[0] == 0
    assert len(read_manifest(out / "manifest.csv")) == 2
    (source / "b" / "0001.dcm").unlink()
    shutil.rmtree(source / "a")
    code, said = run(capsys, "--config", given)
    assert (code, "1 series removed, 1 series changed since" in said) == (3, True)


def test_a_scan_without_its_manifest_is_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    given = config(tmp_path / "scan", "scan", sources=[{"path": str(tmp_path / "in")}])
    assert run(capsys, "--config", given)[0] == 0
    before = (tmp_path / "scan" / "manifest.csv").read_bytes()
    (tmp_path / "scan" / "manifest.csv").unlink()
    assert run(capsys, "--config", given)[0] == 0
    assert (tmp_path / "scan" / "manifest.csv").read_bytes() == before


def test_a_lost_patient_is_simulated_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = config(tmp_path / "sim", "simulate", workers=1, simulation=SIMULATION)
    series = tmp_path / "sim" / "series"
    assert run(capsys, "--config", given)[0] == 0
    before = file_digests(series / "sim001")
    shutil.rmtree(series / "sim001")
    assert run(capsys, "--config", given)[0] == 0
    assert file_digests(series / "sim001") == before


def test_low_dose_of_scans_that_changed_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scans, out = tmp_path / "in", tmp_path / "low"
    write_series(scans / "a", BODY, "1.2.826.0.1.1", changes=WHOLE)
    low_dose = {"sources": [{"path": str(scans), "dose": "full_dose"}], "views": 24}
    given = config(out, "simulate", workers=1, low_dose=low_dose)
    assert run(capsys, "--config", given)[0] == 0
    made = file_digests(out)
    assert run(capsys, "--config", given)[0] == 0
    assert file_digests(out) == made
    write_series(scans / "b", BODY, "1.2.826.0.1.2", changes={**WHOLE, "PatientID": "other"})
    assert run(capsys, "--config", given)[0] == 0  # a new scan gets its low dose
    assert len(read_manifest(out / "manifest.csv").select(dose="low_dose")) == 2
    write_series(scans / "a", BODY[:, ::-1], "1.2.826.0.1.1", changes=WHOLE)
    code, said = run(capsys, "--config", given)
    assert (code, said.startswith(f"{scans / 'a'}: its files have changed since {out}")) == (3, True)
    with (out / "manifest.csv").open("a") as stream:
        stream.write("\n")
    shutil.rmtree(scans / "a")
    write_series(scans / "c", BODY, "1.2.826.0.1.3", changes={**WHOLE, "PatientID": "third"})
    code, said = run(capsys, "--config", given)
    assert (code, said.startswith(f"{out / 'manifest.csv'}: was changed after ctcycle wrote it")) == (4, True)
    assert len([path for path in (out / "series").iterdir() if path.name != ".ctcycle"]) == 2  # before any work


def test_a_finished_run_without_weights_is_not_called_finished(
    copied_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--config", copied_run / "config.yaml", f"out={copied_run}")[0] == 0
    (copied_run / "checkpoints" / "best.pt").unlink()
    code, said = run(capsys, "--config", copied_run / "config.yaml", f"out={copied_run}")
    assert (code, "best.pt: is missing, although the run is finished; restore it" in said) == (4, True)


def test_a_bench_of_other_weights_is_measured_again(
    copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    physics = {"size": 160, "pixel_mm": 1.4, "diameter_mm": 200.0, "views": 60, "kernel": "soft", "realisations": 10}
    methods = {"mine": str(copied_run)}
    given = config(
        tmp_path / "bench", "bench", workers=1, physics=physics, filters=["input"], methods=methods, device="cpu"
    )
    found = []
    for change in (None, None, retrain):
        if change:
            change(copied_run)
        assert run(capsys, "--config", given)[0] == 0
        found.append((tmp_path / "bench" / "results.json").read_bytes())
    assert found[0] == found[1]
    digests = [{m["name"]: m["digest"] for m in json.loads(text)["methods"]} for text in found]
    assert digests[1]["input"] == digests[2]["input"]
    assert digests[1]["mine"] != digests[2]["mine"]


def test_a_bundle_of_other_weights_is_refused(
    copied_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_costs", lambda _folder: {})
    monkeypatch.setattr(export, "model_card", lambda *_: "")
    bundle = tmp_path / "mine"
    given = config(tmp_path / "export", "bundle", run=str(copied_run), bundle=str(bundle), formats=[])
    for _ in range(2):
        assert run(capsys, "--config", given)[0] == 0
    weights = (bundle / "models" / "model.pt").read_bytes()
    made = file_digests(bundle)
    (tmp_path / "export" / "finished").unlink()  # as if it was killed when the bundle was complete
    assert run(capsys, "--config", given)[0] == 0
    assert file_digests(bundle) == made
    shutil.rmtree(bundle)
    assert run(capsys, "--config", given)[0] == 0
    assert (bundle / "models" / "model.pt").read_bytes() == weights
    retrain(copied_run)
    code, said = run(capsys, "--config", given)
    assert (code, said.startswith(f"{bundle}: was exported from other weights than {copied_run} has now")) == (4, True)
    assert run(capsys, "--config", given, "overwrite=true")[0] == 0
    assert (bundle / "models" / "model.pt").read_bytes() != weights
