"""The task `bench`: results of all methods in one file and one table, without any data."""

import json
from pathlib import Path

import pytest

from ctcycle.config.loading import load_config
from ctcycle.errors import BundleError, ConfigError
from ctcycle.evaluation.physics.bench import MEASURES
from ctcycle.tasks import running

SMALL = (
    "physics={size: 160, pixel_mm: 1.4, diameter_mm: 200.0, views: 60, kernel: soft, realisations: 10}",
    "workers=1",
)


def bench(out: Path, *overrides: str) -> None:
    config = Path(__file__).parents[2] / "configs" / "bench.yaml"
    running.run(load_config(config, [f"out={out.as_posix()}", *SMALL, *overrides]))


def test_every_method_gets_every_measure(tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bench(tmp_path / "bench", f"methods={{mine: '{tiny_run.as_posix()}'}}", "filters=[input]")
    results = json.loads((tmp_path / "bench" / "results.json").read_text(encoding="utf-8"))
    keys = [measure.key for measure in MEASURES]
    assert [measure["key"] for measure in results["measures"]] == keys
    assert [(method["name"], method["kind"]) for method in results["methods"]] == [("input", "input"), ("mine", "run")]
    for name in ("input", "mine"):
        assert sorted(found["measure"] for found in results["findings"] if found["method"] == name) == sorted(keys)
    assert {curve["method"] for curve in results["curves"]} >= {"input", "full dose"}
    assert results["provenance"]["physics"]["diameter_mm"] == 200
    shown = capsys.readouterr().out
    assert "Texture distance to full dose" in shown
    assert "water disc of 200 mm" in shown


def test_what_cannot_be_measured(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'nlm' is the name of a classical filter"):
        bench(tmp_path / "a", "methods={nlm: runs/mine}")
    with pytest.raises(BundleError, match="nowhere"):
        bench(tmp_path / "b", "methods={mine: nowhere}")
    with pytest.raises(ConfigError, match="a field of 224 mm for a disc of 260 mm"):
        bench(tmp_path / "c", "physics.diameter_mm=260.0")
