"""Every task replaces and removes what it wrote, and leaves the files of others as they are."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from phantom_series import stored_body, write_series
from tiny_data import TinyData, train_config

from ctcycle.atomic import file_digests, write_text
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import OutputError
from ctcycle.runs.written import WrittenFiles
from ctcycle.tasks import running

SIMULATION = {"slices": 1, "size": 32, "views": 16, "pixel_mm": 11.0}


def config_of(task: str, tiny: TinyData, run: Path) -> tuple[Mapping[str, Any], list[str], str, str]:
    """Return a config, overrides that change its output, a file that it writes before, and one that it writes after."""
    full = str(tiny.series / "sim000" / "full_dose")
    methods = {
        "manifest": str(tiny.manifest),
        "methods": {"model": str(run)},
        "filters": ["input"],
        "benches": ["pairs"],
    }
    return {
        "simulate": (
            {"workers": 1, "simulation": {"patients": 2, **SIMULATION}},
            ["simulation.patients=1"],
            "series/sim001/low_dose/0001.dcm",
            "series/sim000/low_dose/0001.dcm",
        ),
        "twins": (
            {"task": "simulate", "workers": 1, "low_dose": {"sources": [{"path": full}], "views": 16, "copies": 2}},
            ["low_dose.copies=1"],
            "series/*/low_dose_*_1/*.dcm",
            "series/*/low_dose_*_0/*.dcm",
        ),
        "scan": ({"sources": [{"path": full}]}, ["manifest=other.csv"], "manifest.csv", "skipped.csv"),
        "train": (
            train_config(tiny, run.parent / "config", "supervised").resolved,
            ["training.epochs=1", "validation.every=1"],
            "figures/validation_0002.png",
            "figures/validation_0001.png",
        ),
        "evaluate": ({**methods, "panels": 1}, ["panels=0"], "figures/panels.png", "results.json"),
        "denoise": ({"model": str(run), "input": full, "device": "cpu"}, ["seed=1"], "", "full_dose/IM00001.dcm"),
        "bundle": ({"run": str(run), "bundle": "made"}, ["version=0.2.0"], "", "finished"),
    }[task]


TASKS = ("simulate", "twins", "scan", "train", "evaluate", "denoise", "bundle")


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("task", TASKS)
def test_files_of_others_survive_an_overwrite_and_old_files_of_its_own_do_not(
    task: str, tiny: TinyData, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcycle.tasks.bundle.export_bundle", lambda _plan: "made")
    monkeypatch.chdir(tmp_path)
    out, file = tmp_path / "out", tmp_path / "c.yaml"
    config, changes, before, after = config_of(task, tiny, tiny_run)
    file.write_text(dump_yaml({"task": task, **config, "out": str(out)}))
    running.run(load_config(file))
    assert not before or list(out.glob(before))
    write_series(out / "originals", stored_body(2))
    for folder in (*(out / name for name in ("figures", "checkpoints", "series", "")), out / ".ctcycle"):
        write_series(folder / "more", stored_body(1))
        (folder / "notes.md").write_text("mine")
        (folder / "mine.png").write_bytes(b"\x89PNG")
    foreign = {name: digest for name, digest in file_digests(out).items() if "mine" in name or "notes" in name}
    foreign |= {name: digest for name, digest in file_digests(out).items() if "more/" in name or "originals/" in name}
    assert len(foreign) == 17
    running.run(load_config(file, [*changes, "overwrite=true"]))
    found = file_digests(out)
    assert {name: found.get(name) for name in foreign} == foreign
    assert not before or not list(out.glob(before))
    assert list(out.glob(after))


@pytest.mark.parametrize("task", ["simulate", "twins"])
def test_a_series_with_files_of_others_is_not_replaced(
    task: str, tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    config, changes, before, _after = config_of(task, tiny, tiny_run)
    file, out = tmp_path / "c.yaml", tmp_path / "out"
    file.write_text(dump_yaml({"task": task, **config, "out": str(out)}))
    running.run(load_config(file))
    (next(out.glob(before)).parent / "notes.md").write_text("mine")
    series = file_digests(out / "series")
    with pytest.raises(OutputError, match="was changed after ctcycle wrote it, so it is never replaced; move it"):
        running.run(load_config(file, [*changes, "overwrite=true"]))
    assert file_digests(out / "series") == series


@pytest.fixture
def written(tmp_path: Path) -> WrittenFiles:
    """A folder with two recorded files."""
    found = WrittenFiles(tmp_path / "run")
    with found.recording():
        write_text(found.out / "config.yaml", "a")
        write_text(found.out / "figures" / "a.png", "b")
    return found


def test_nothing_but_what_was_recorded_is_written_over(written: WrittenFiles) -> None:
    (written.out / "report.html").write_text("mine")
    with written.recording():
        write_text(written.out / "config.yaml", "new")
        with pytest.raises(
            OutputError, match=r"report\.html: exists, and ctcycle has no record of writing it, so it is"
        ):
            write_text(written.out / "report.html", "")
        write_text(written.out / "series" / "deeper.txt", "")
        write_text(written.out.parent / "beside.txt", "")
    assert (written.out / "report.html").read_text() == "mine"
    assert set(json.loads(written.path.read_text())) == {"config.yaml", "figures/a.png"}


@pytest.mark.parametrize("name", ["config.yaml", "figures/a.png"])
def test_a_file_that_was_changed_is_neither_written_over_nor_removed(name: str, written: WrittenFiles) -> None:
    (written.out / name).write_text("mine")
    before = file_digests(written.out)
    for _ in range(2):  # the record of a changed file outlasts a run
        with written.recording(), pytest.raises(OutputError, match="was changed after ctcycle wrote it"):
            write_text(written.out / name, "new")
    with pytest.raises(OutputError, match=f"{name}: was changed after ctcycle wrote it, so it is never replaced"):
        written.remove(written.out / "config.yaml")
    assert file_digests(written.out) == before


def test_what_a_killed_run_wrote_is_removed(written: WrittenFiles) -> None:
    child = os.fork()
    if child == 0:
        with written.recording():
            written.begin()
            write_text(written.out / "config.yaml", "new")
            write_text(written.out / "figures" / "b.png", "new")
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    written.remove(written.out / "config.yaml")
    assert set(file_digests(written.out)) == {".ctcycle/written.json"}


@pytest.mark.parametrize(
    "name", ["../mine.txt", "/etc/hostname", "series/../../mine.txt", "figures/../..", "a/b.txt", ""]
)
def test_a_forged_record_removes_nothing_elsewhere(name: str, written: WrittenFiles, tmp_path: Path) -> None:
    for path in (tmp_path / "mine.txt", written.out / "a" / "b.txt"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    written.path.write_text(json.dumps({name: None}))
    written.remove(written.out / "config.yaml")
    assert (tmp_path / "mine.txt").read_text() == (written.out / "a" / "b.txt").read_text() == "mine"
    assert (written.out / "figures" / "a.png").exists()


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000])
def test_a_damaged_record_is_none(content: str, written: WrittenFiles) -> None:
    written.path.write_text(content)
    written.remove(written.out / "config.yaml")
    assert (written.out / "config.yaml").read_text() == "a"


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    hidden = [tmp_path / folder / ".written.json.partial-dd_pveb5" for folder in ("", ".ctcycle", "figures")]
    for file in hidden:
        file.parent.mkdir(exist_ok=True)
        file.touch()
    with WrittenFiles(tmp_path).recording():
        assert not [file for file in hidden if file.exists()]
