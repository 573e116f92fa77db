"""The command after each task: real values, and valid as a command line."""

import json
import shlex
from pathlib import Path
from typing import Any

import pytest
from tiny_data import TEST, VAL, TinyData, train_config, write_train_config

from ctcycle.config.loading import load_config
from ctcycle.config.shipped import find_config
from ctcycle.run import command
from ctcycle.tasks.terminal.next_step import next_command


def step(name: str, *overrides: str) -> Any:
    return load_config(find_config(name), overrides).config


def words(line: str) -> list[str]:
    program, *rest = shlex.split(line)
    assert program == "ctcycle"
    return rest


def checked(line: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The resolved config that a command stands for."""
    assert command([*words(line), "--check"]) == 0
    return capsys.readouterr().out


def test_after_simulating_phantoms_comes_inspection(capsys: pytest.CaptureFixture[str]) -> None:
    line = next_command(step("simulate", "out=my scans"))
    assert line == "ctcycle inspect 'my scans' --out 'my scans_inspect'"
    assert "path: my scans" in checked(line, capsys)


def test_after_inspection_comes_the_first_proposed_config(tmp_path: Path) -> None:
    config = step("inspect", "sources=[{path: data}]", f"out={tmp_path}")
    assert next_command(config) == "ctcycle denoise data data_denoised"
    (tmp_path / "scan.yaml").touch()
    assert next_command(config) == f"ctcycle run {tmp_path / 'scan.yaml'}"


def test_after_a_scan_comes_the_proposed_training(tiny: TinyData, tmp_path: Path) -> None:
    scan = step("scan", f"out={tmp_path / 'scan'}", f"manifest={tiny.manifest}")
    assert words(next_command(scan))[:3] == ["run", "supervised", f"data.manifest={tiny.manifest}"]
    write_train_config(tiny, tmp_path / "train", "supervised")
    assert next_command(scan) == f"ctcycle run {tmp_path / 'train.yaml'}"


def test_a_proposal_for_another_manifest_is_not_followed(tiny: TinyData, tmp_path: Path) -> None:
    write_train_config(TinyData(tiny.series, tmp_path / "other.csv"), tmp_path / "train", "supervised")
    scan = step("scan", f"out={tmp_path / 'scan'}", f"manifest={tiny.manifest}")
    assert words(next_command(scan))[1] == "supervised"


def test_after_training_comes_evaluation(tiny: TinyData, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = train_config(tiny, tmp_path / "Run 1", "supervised").config
    found = checked(next_command(config), capsys)
    assert f"run_1: {tmp_path / 'Run 1'}" in found or f"run_1: '{tmp_path / 'Run 1'}'" in found
    assert "split: test" in found
    assert str(tiny.manifest) in found


def test_the_split_to_evaluate(tiny: TinyData, tmp_path: Path) -> None:
    text = tiny.manifest.read_text()
    data = TinyData(tiny.series, tmp_path / "manifest.csv")
    config = train_config(data, tmp_path / "run", "supervised").config
    for change, expected in (("test", "split=test"), ("val", "split=val"), ("", "bundle=")):
        lines = [
            line.replace("dicom,series", f"dicom,{tiny.series}")
            for line in text.splitlines()
            if (TEST not in line or change == "test") and (VAL not in line or change)
        ]
        data.manifest.write_text("\n".join(lines))
        assert expected in next_command(config)


def test_after_evaluation_the_best_run_is_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("good", "bad"):
        (tmp_path / name / "checkpoints").mkdir(parents=True)
    rows = [{"method": name, "psnr": psnr, "protocol": "hu2000"} for name, psnr in (("good", 40), ("bad", 30))]
    (tmp_path / "results.json").write_text(json.dumps({"rows": [*rows, {"method": "nlm", "protocol": "hu2000"}]}))
    methods = {name: str(tmp_path / name) for name in ("bad", "good")}
    evaluate = step("evaluate", f"methods={json.dumps(methods)}", f"out={tmp_path}")
    (tmp_path / "results.json").write_text(json.dumps({"rows": rows}))
    found = checked(next_command(evaluate), capsys)
    assert f"run: {tmp_path / 'good'}" in found
    assert f"bundle: {tmp_path / 'bundles' / 'good'}" in found
    assert f"Held-out patients: {tmp_path / 'results.json'}" in found


def test_after_the_export_a_held_out_series_is_denoised(
    tiny: TinyData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(write_train_config(tiny, run, "supervised").read_text())
    line = next_command(step("bundle", f"run={run}", f"bundle={tmp_path / 'b'}"))
    assert words(line)[1] == str(tiny.series / TEST / "low_dose")
    assert f"model: {tmp_path / 'b'}" in checked(line, capsys)


def test_after_denoising_the_result_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    line = next_command(step("denoise", "input=scans/a", "out=clean/a"))
    assert line == "ctcycle view scans/a clean/a"
    found = checked(line, capsys)
    assert "task: view" in found
    assert "out: clean/a_view" in found


def test_nothing_follows_a_view_or_lost_files(tmp_path: Path) -> None:
    assert next_command(step("view")) == ""
    assert next_command(step("bundle", f"run={tmp_path / 'gone'}")) == ""
    assert next_command(step("scan", f"out={tmp_path / 'gone'}")) == ""
