"""Tasks shared by several ranks: the files of one process."""

import json
from pathlib import Path

import pytest
from rank_processes import Ended, on_ranks
from tiny_data import TinyData

from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.data.manifest import read_manifest
from ctcycle.data.scan_noise import Measured, merged
from ctcycle.run import main


def run_both(config: dict[str, object], folder: Path) -> tuple[Path, Path, list[Ended]]:
    """Run a config alone and on two ranks, and return both output folders."""
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(dump_yaml({**config, "out": str(folder / name)}))
    assert main(["--config", str(folder / "one.yaml")]) == 0
    ended = on_ranks(folder / "ranks", lambda _rank: main(["--config", str(folder / "two.yaml")]))
    assert [each.code for each in ended] == [0, 0], ended[0].printed
    assert not ended[1].printed
    return folder / "one", folder / "two", ended


def test_a_scan_on_two_ranks_lists_what_one_process_lists(tiny: TinyData, tmp_path: Path) -> None:
    one, two, ended = run_both({"task": "scan", "sources": [{"path": str(tiny.series)}]}, tmp_path)
    rows = [read_manifest(out / "manifest.csv").rows for out in (one, two)]
    assert rows[0] == rows[1]
    assert f"-> {two / 'manifest.csv'}\n" in ended[0].printed
    assert (two / "skipped.csv").read_text().replace("/two/", "/one/") == (one / "skipped.csv").read_text()


def test_measurements_of_parts_are_put_in_the_order_of_the_series(tiny: TinyData) -> None:
    first, second, third = read_manifest(tiny.manifest).rows[:3]
    parts = [Measured([first, third], {first.series: 1.0, third.series: 3.0}, []), Measured([second], {}, [])]
    found = merged(parts, [row.series for row in (first, second, third)])
    assert found.usable == [first, second, third]
    assert found.noise_hu == {first.series: 1.0, third.series: 3.0}


def test_low_dose_on_two_ranks_has_the_pixels_of_one_process(tiny: TinyData, tmp_path: Path) -> None:
    sources = [{"path": str(tiny.series / f"sim00{number}" / "full_dose"), "dose": "full_dose"} for number in range(3)]
    config = {"task": "simulate", "workers": 1, "low_dose": {"sources": sources, "views": 32}}
    one, two, ended = run_both(config, tmp_path)
    found = [
        {info.path.parent.name: read_series(info).hu for info in find_series(out / "series")[0]} for out in (one, two)
    ]
    assert len(found[0]) == 2  # the third has no soft tissue to measure the noise in
    assert (two / "skipped.csv").read_text().replace("/two/", "/one/") == (one / "skipped.csv").read_text()
    assert found[0].keys() == found[1].keys()
    assert all((found[1][name] == hu).all() for name, hu in found[0].items())
    assert "2 series of simulated low dose, 2 patients; skipped 1" in ended[0].printed


def test_an_evaluation_on_two_ranks_has_the_figures_of_one_process(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    config = {
        "task": "evaluate",
        "manifest": str(tiny.manifest),
        "device": "cpu",
        "panels": 0,
        "methods": {"supervised": str(tiny_run)},
        "filters": ["input", "gaussian", "nlm_tuned"],
        "benches": ["pairs"],
    }
    found = []
    for name in ("one", "two"):
        made = {**config, "cache": str(tmp_path / name / "cache"), "out": str(tmp_path / name / "out")}
        path = tmp_path / f"{name}.yaml"
        path.write_text(dump_yaml(made))
        if name == "one":
            assert main(["--config", str(path)]) == 0
        else:
            ended = on_ranks(tmp_path / "ranks", lambda _rank, path=path: main(["--config", str(path)]))  # type: ignore[misc]
            assert [each.code for each in ended] == [0, 0], ended[0].printed
        results = json.loads((tmp_path / name / "out" / "results.json").read_text())
        results.pop("provenance")
        found.append(results)
    assert found[0] == found[1]


def test_a_failure_on_rank_0_ends_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    path = tmp_path / "scan.yaml"
    path.write_text(
        dump_yaml({"task": "scan", "out": str(tmp_path / "out"), "sources": [{"path": str(tmp_path / "empty")}]})
    )
    ended = on_ranks(tmp_path / "ranks", lambda _rank: main(["--config", str(path)]))
    assert [each.code for each in ended] == [3, 3]
    assert main(["--config", str(path)]) == 3
    assert ended[0].printed.splitlines()[-1] == capsys.readouterr().err.splitlines()[-1]
    assert not ended[1].printed
