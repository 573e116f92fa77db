"""Run folders: begun, gone on with, finished, overwritten, left alone."""

import copy
from pathlib import Path
from typing import Any

import pytest

from ctcycle.atomic import write_text
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, OutputError
from ctcycle.runs.folder import RunFolder, flat

SCAN = "task: scan\nout: {out}\nsources: [{{path: somewhere}}]\nsplit: {{seed: {seed}}}\n"


def resolved(folder: Path, seed: int = 0, *overrides: str) -> dict[str, Any]:
    """A config of ``folder``, as plain data."""
    file = folder.with_suffix(".yaml")
    file.write_text(SCAN.format(out=folder, seed=seed))
    return load_config(file, overrides).resolved


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def test_a_run_is_new_then_begun_then_finished(run: RunFolder) -> None:
    config = resolved(run.path)
    assert run.open(config, overwrite=False) == "new"
    assert load_config(run.config).resolved == config
    assert run.open(config, overwrite=False) == "begun"
    run.finish("all done\nin two lines")
    assert RunFolder(run.path).open(config, overwrite=False) == "finished"
    assert run.summary() == "all done\nin two lines"


def test_another_config_is_refused_by_the_key_that_differs(run: RunFolder) -> None:
    run.open(resolved(run.path), overwrite=False)
    with pytest.raises(
        ConfigError, match=r"run: contains a run with another config \(split\.seed=5 instead of 0\); choose"
    ):
        run.open(resolved(run.path, 5), overwrite=False)
    with pytest.raises(ConfigError, match=r"\(split\.seed=5 instead of 0, and 1 more\)"):
        run.open(resolved(run.path, 5, "split.test=[a]"), overwrite=False)


@pytest.mark.parametrize(
    ("key", "free"),
    [
        ("training.stop_after_epoch=1", True),
        ("data.workers=2", True),
        ("data.store=cache", True),
        ("device=cpu", True),
        ("threads=3", True),
        ("tracking.enabled=false", True),
        ("tracking.every=7", False),
        ("training.epochs=7", False),
        ("data.skip_air=0.1", False),
        ("seed=1", False),
    ],
)
def test_what_does_not_change_the_result_may_differ(run: RunFolder, key: str, free: bool) -> None:
    file = run.path.with_name("supervised.yaml")
    file.write_text(f"task: train\nmethod: supervised\nout: {run.path}\ndata: {{manifest: m.csv}}\n")
    run.open(load_config(file).resolved, overwrite=False)
    changed = load_config(file, [key]).resolved
    if not free:
        assert run.open(changed, overwrite=False) == "new"  # there is nothing yet that could go on
        run.open(load_config(file).resolved, overwrite=False)
    write_text(run.path / "checkpoints" / "last.pt", "")
    if free:
        assert run.open(changed, overwrite=False) == "begun"
    else:
        with pytest.raises(ConfigError, match=key.partition("=")[0]):
            run.open(changed, overwrite=False)


def test_a_config_with_old_keys_is_resumed_if_it_means_the_same(run: RunFolder) -> None:
    file = run.path.with_name("supervised.yaml")
    file.write_text(f"task: train\nmethod: supervised\nout: {run.path}\ndata: {{manifest: m.csv, patch_size: 96}}\n")
    config = load_config(file).resolved
    old = copy.deepcopy(config)
    crop = {"_target_": "RandSpatialCrop", "roi_size": [old["data"].pop("patch_size")] * 2, "random_size": False}
    old["data"]["transforms"] = [crop, *old["data"].pop("augmentations")]
    write_text(run.config, dump_yaml(old))
    write_text(run.path / "checkpoints" / "last.pt", "")
    assert run.open(config, overwrite=False) == "begun"
    with pytest.raises(ConfigError, match=r"\(data\.patch_size=64 instead of 96\)"):
        run.open(load_config(file, ["data.patch_size=64"]).resolved, overwrite=False)


def test_a_folder_that_was_moved_goes_on(run: RunFolder) -> None:
    run.open(resolved(run.path), overwrite=False)
    moved = run.path.rename(run.path.with_name("moved"))
    assert RunFolder(moved).open(resolved(moved), overwrite=False) == "begun"


def test_overwriting_removes_what_a_run_wrote_and_nothing_else(run: RunFolder) -> None:
    config = resolved(run.path)
    foreign = ["notes.md", "series/sim000/0001.dcm", "report/config.yaml", "figures/mine.png", "results.json"]
    with run.opened(config, overwrite=False):
        for name in ["figures/a.png", "manifest.csv", "results.md"]:
            write_text(run.path / name, name)
        run.log.write_text("a line")
        run.finish("done")
    for name in foreign:
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(name)
    assert run.open(config, overwrite=True) == "new"
    left = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    assert left == {"config.yaml", ".ctcycle/written.json", *foreign}


def test_overwriting_a_folder_that_no_run_wrote_touches_nothing(run: RunFolder) -> None:
    run.path.mkdir()
    (run.path / "manifest.csv").write_text("edited by hand")
    assert run.open(resolved(run.path), overwrite=True) == "new"
    assert (run.path / "manifest.csv").read_text() == "edited by hand"


def test_nothing_is_removed_through_a_link(run: RunFolder, tmp_path: Path) -> None:
    config = resolved(run.path)
    with run.opened(config, overwrite=False):
        write_text(run.figures / "file", "")
    run.figures.rename(tmp_path / "precious")
    run.figures.symlink_to(tmp_path / "precious")
    run.open(config, overwrite=True)
    assert run.figures.is_symlink()
    assert (tmp_path / "precious" / "file").exists()


def test_twins_are_never_written_into_their_scans(tmp_path: Path) -> None:
    config = {"low_dose": {"sources": [{"path": str(tmp_path / "other")}, {"path": str(tmp_path / "in")}]}}
    for out in ("in", "in/deep/er"):
        with pytest.raises(OutputError, match=r"is the input .*in or inside it; choose another `out`"):
            RunFolder(tmp_path / out).open(config, overwrite=False)
    assert not (tmp_path / "in").exists()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_without_a_record_can_go_on_but_is_never_replaced(run: RunFolder, overwrite: bool) -> None:
    config = resolved(run.path)
    with run.opened(config, overwrite=False):
        write_text(run.path / "results.md", "old")
    run.written.path.unlink()
    if overwrite:
        with (
            pytest.raises(
                OutputError, match=r"config\.yaml: exists, .* \(runs of early versions have none: delete their"
            ),
            run.opened(config, overwrite=True),
        ):
            pytest.fail("was opened")
    else:
        with run.opened(config, overwrite=False) as state:
            write_text(run.path / "results.md", "new")
        assert state == "begun"
    assert (run.path / "results.md").read_text() == ("old" if overwrite else "new")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_file_is_no_run_folder(run: RunFolder, overwrite: bool) -> None:
    run.path.write_text("a file")
    with pytest.raises(OutputError, match="run: is a file; choose another `out`"):
        run.open({}, overwrite=overwrite)


def test_a_foreign_config_is_left_alone(run: RunFolder) -> None:
    run.path.mkdir()
    run.config.write_text("network: resnet\n")
    with pytest.raises(OutputError, match=r"config\.yaml: not valid for this version of ctcycle"):
        run.open(resolved(run.path), overwrite=False)
    assert run.config.read_text() == "network: resnet\n"


@pytest.mark.parametrize("out", ["in", "in/deep/er"])
def test_output_inside_the_input_is_refused_before_anything_is_written(tmp_path: Path, out: str) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(OutputError, match=r"is the input .*in or inside it; choose another `out`"):
        RunFolder(tmp_path / out).open({"input": str(tmp_path / "in")}, overwrite=False)
    assert list((tmp_path / "in").iterdir()) == []


def test_a_run_of_which_nothing_came_leaves_its_folder_free(run: RunFolder) -> None:
    run.path.mkdir()
    (run.path / "there before").touch()
    run.open(resolved(run.path), overwrite=False)
    run.log.write_text("an error")
    run.release()
    assert run.open(resolved(run.path, 5), overwrite=False) == "new"
    run.metrics.write_text("something")
    run.release()
    assert run.open(resolved(run.path, 5), overwrite=False) == "begun"


def test_metrics_are_kept_line_by_line(run: RunFolder) -> None:
    run.open(resolved(run.path), overwrite=False)
    records = [{"iteration": 1, "train/loss": 0.1}, {"iteration": 3, "train/loss": 1 / 3, "train/loss_hu": 333.3}]
    for record in records:
        run.append_metrics(record)
    assert run.read_metrics() == records
    assert run.losses() == {"train/loss": [(1, 0.1), (3, 1 / 3)]}


def test_a_torn_last_line_is_left_out_and_forgotten(run: RunFolder) -> None:
    run.open(resolved(run.path), overwrite=False)
    for iteration in (1, 2, 3):
        run.append_metrics({"iteration": iteration})
    run.metrics.write_text(run.metrics.read_text() + '{"iteration": 4, "tra')
    assert [record["iteration"] for record in run.read_metrics()] == [1, 2, 3]
    run.forget_metrics_after(2)
    run.append_metrics({"iteration": 3})
    assert run.metrics.read_text() == '{"iteration": 1}\n{"iteration": 2}\n{"iteration": 3}\n'


def test_no_metrics_are_no_error(run: RunFolder) -> None:
    assert run.read_metrics() == []
    assert run.losses() == {}


def test_a_disk_that_takes_no_metrics(run: RunFolder) -> None:
    run.open(resolved(run.path), overwrite=False)
    run.metrics.mkdir()
    with pytest.raises(OutputError, match=r"metrics\.jsonl: cannot write \(Is a directory\)"):
        run.append_metrics({"iteration": 1})


def test_flat_keys() -> None:
    assert flat({"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}, "f": None}) == {"a.b": 1, "a.c.d": [1, {"e": 2}], "f": None}
