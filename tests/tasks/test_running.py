"""The tasks through the command line: exit codes, sentences, what is left behind."""

import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from held_lock import holder
from phantom_series import write_series
from tiny_data import TinyData, write_train_config

from ctcycle.config.loading import load_config
from ctcycle.errors import OutputError, SeriesError
from ctcycle.run import main
from ctcycle.tasks import running

pytestmark = pytest.mark.usefixtures("no_figures")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """The exit code and the last line on stderr; everything but progress bars and log must be that line."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    errors = capsys.readouterr().err
    assert "Traceback" not in errors
    lines = [line for line in errors.replace("\r", "\n").splitlines() if line.strip()]
    return code, lines[-1] if lines else ""


@pytest.fixture
def config(tiny: TinyData, tmp_path: Path) -> Path:
    return write_train_config(tiny, tmp_path / "run", "supervised")


@pytest.mark.parametrize(
    ("overrides", "code", "sentence"),
    [
        (["optimizer.learning=1"], 2, "command line: unknown key 'optimizer.learning'"),
        (["training.epochs=many"], 2, "command line: training.epochs: 'many' is not a whole number"),
        (["device=cuda:93"], 2, "device=cuda:93: not available on this machine; use auto or cpu"),
        (
            ["generator={_target_: UNot}"],
            2,
            "_target_ 'UNot': not found; give a name from monai.networks.nets or a full dotted path",
        ),
        (["data.manifest=nowhere.csv"], 3, "nowhere.csv: "),
        (["data.kernel=B30f"], 3, "no series of kernel 'B30f'"),
        (
            ["data.patch_size=[64, 80]"],
            3,
            "slices are 64x64 px, smaller than the 64x80 px of data.patch_size; set a smaller patch size",
        ),
        (["data.same_crop=false"], 3, "are cropped or flipped differently; set data.same_crop=true"),
        (["optimizer.lr=1e38"], 5, "is not finite; lower"),
    ],
)
def test_training_that_cannot_be(
    overrides: list[str], code: int, sentence: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found, said = run(capsys, "--config", config, *overrides)
    assert found == code
    assert sentence in said
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))


def test_a_config_that_could_not_be_run_does_not_occupy_the_folder(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "--config", config, "data.kernel=B30f")[0] == 3
    assert "ERROR" in (tmp_path / "run" / "log.txt").read_text()
    assert run(capsys, "--config", config, "training.epochs=1")[0] == 0
    code, said = run(capsys, "--config", config)
    assert (code, "was started with training.epochs=1, on which schedule.decay_start=0.5 depends" in said) == (2, True)


def scan_config(tmp_path: Path, source: Path) -> Path:
    path = tmp_path / "scan.yaml"
    path.write_text(f"task: scan\nout: {tmp_path / 'scan'}\nsources: [{{path: {source}}}]\n")
    return path


def test_scanning_what_is_no_ct(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "in"
    assert run(capsys, "--config", scan_config(tmp_path, source))[0] == 3
    source.mkdir()
    code, said = run(capsys, "--config", scan_config(tmp_path, source))
    assert (code, said) == (3, f"no CT found in {source} (0 files checked); supported formats are DICOM, NIfTI and npy")
    write_series(source, changes={"Modality": "MR", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"})
    code, said = run(capsys, "--config", scan_config(tmp_path, source))
    assert (code, "MR" in said) == (3, True)


def test_a_manifest_that_may_have_been_edited_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_series(tmp_path / "in")
    manifest = tmp_path / "mine.csv"
    manifest.write_text("edited")
    config = scan_config(tmp_path, tmp_path / "in")
    code, said = run(capsys, "--config", config, f"manifest={manifest}")
    assert (code, said.startswith(f"{manifest}: already exists and may have been edited")) == (4, True)
    assert manifest.read_text() == "edited"
    code, said = run(capsys, "--config", config, f"manifest={manifest}", "overwrite=true")
    assert (code, said.startswith(f"{manifest}: exists, and ctcycle has no record of writing it")) == (4, True)
    assert manifest.read_text() == "edited"
    manifest.unlink()
    for overrides in ((), ("overwrite=true",)):
        assert run(capsys, "--config", config, f"manifest={manifest}", *overrides)[0] == 0
    written = manifest.read_text()
    manifest.write_text(f"{written}\n")
    code, said = run(capsys, "--config", config, f"manifest={manifest}", "overwrite=true")
    assert (code, said.startswith(f"{manifest}: was changed after ctcycle wrote it")) == (4, True)
    manifest.write_text(written)
    assert run(capsys, "--config", config, f"manifest={manifest}", "overwrite=true")[0] == 0
    assert manifest.read_text().startswith("series,patient,")
    assert manifest.read_text().count("\n") == 2


SIMULATE = "task: simulate, workers: 1, simulation: {patients: 1, slices: 1, size: 32, views: 16, pixel_mm: 11}"


def test_simulation_can_be_done_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, image = tmp_path / "c.yaml", tmp_path / "out" / "series" / "sim000" / "low_dose" / "0001.dcm"
    config.write_text(f"{{{SIMULATE}, out: {tmp_path / 'out'}}}")
    assert main(["--config", str(config)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"1 simulated patients, each at full and at low dose; -> {tmp_path / 'out' / 'series'}",
        f"next: ctcycle inspect {tmp_path / 'out'} --out {tmp_path / 'out_inspect'}",
    ]
    first = image.read_bytes()
    assert run(capsys, "--config", config, "seed=1")[0] == 2
    assert image.read_bytes() == first
    assert run(capsys, "--config", config, "seed=1", "overwrite=true")[0] == 0
    assert image.read_bytes() != first


def test_a_pipeline_tells_its_steps_and_stops_at_the_first_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    pipeline = tmp_path / "pipe.yaml"
    pipeline.write_text(
        f"task: pipeline\nout: {tmp_path / 'pipe'}\nsteps:\n"
        f"  data: {{{SIMULATE}}}\n"
        f"  list: {{task: scan, sources: [{{path: {tmp_path / 'empty'}}}]}}\n"
        f"  again: {{task: scan, sources: [{{path: {tmp_path / 'empty'}}}]}}\n"
    )
    assert main(["--config", str(pipeline)]) == 3
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if line.startswith("[")] == [
        f"[1/3] data: simulate -> {tmp_path / 'pipe' / 'data'}",
        f"[2/3] list: scan -> {tmp_path / 'pipe' / 'list'}",
    ]
    assert main(["--config", str(pipeline)]) == 3
    assert f"{tmp_path / 'pipe' / 'data'}: already finished; set overwrite=true to rerun" in capsys.readouterr().out
    assert load_config(tmp_path / "pipe" / "pipeline.yaml").resolved == load_config(pipeline).resolved


def test_output_that_cannot_be(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("a file")
    assert run(capsys, "--config", config, f"out={tmp_path / 'file'}") == (
        4,
        f"{tmp_path / 'file'}: is a file; choose another `out`",
    )
    assert run(capsys, "--config", config, f"out={tmp_path / 'file' / 'below'}")[0] == 4


def test_two_runs_in_one_folder(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holder(tmp_path / "run") as process:
        code, said = run(capsys, "--config", config, "overwrite=true")
        assert (code, f"run: locked by another run (process {process.pid} on " in said) == (4, True)
        assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
        process.kill()
    assert run(capsys, "--config", config, "training.epochs=1")[0] == 0
    assert not (tmp_path / "run" / "lock").exists()


def test_what_a_killed_run_had_begun_to_write_is_removed(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    halves = [f"{name}.partial-abcd_123" for name in (".metrics.jsonl", "checkpoints/.new.pt", "figures/.losses.png")]
    others = [".notes.md.abcd_123", "checkpoints/kept.pt"]
    for name in [*halves, *others]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    assert run(capsys, "--config", config, "training.epochs=1")[0] == 0
    assert [(folder / name).exists() for name in [*halves, *others]] == [False] * 3 + [True] * 2


def test_a_crash_is_in_the_log_file_too(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctcycle.training.building.resolve_device", lambda _: 1 / 0)
    assert main(["--config", str(config)]) == 1
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "ERROR Traceback (most recent call last):" in log
    assert "ZeroDivisionError: division by zero" in log
    assert "division by zero" in capsys.readouterr().err


def test_a_log_file_on_a_full_disk_hides_nothing(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "log.txt").symlink_to("/dev/full")
    code, said = run(capsys, "--config", config, "data.kernel=B30f")
    assert (code, "no series of kernel 'B30f'" in said) == (3, True)


def test_log_and_terminal(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config", str(config), "training.epochs=2", "training.stop_after_epoch=1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("after iteration 3; run it again to resume")
    assert main(["--config", str(config), "training.epochs=2"]) == 0
    said = capsys.readouterr()
    assert f"{tmp_path / 'run'}: resuming from iteration 3" in said.err
    assert "reading slices" not in said.err  # a bar that erases itself cannot do so in a log file
    assert said.out.startswith("supervised trained; best epoch 2: ")
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "INFO" in log
    assert "resuming from iteration 3" in log
    assert logging.getLogger("ctcycle").handlers == []


@pytest.mark.slow
def test_as_a_program(tmp_path: Path) -> None:
    write_series(tmp_path / "in", np.full((2, 16, 16), 24, np.uint16))
    config = tmp_path / "denoise.yaml"
    config.write_text(f"task: denoise\nmodel: {tmp_path / 'none'}\ninput: {tmp_path / 'in'}\nout: {tmp_path / 'out'}\n")
    line = [sys.executable, "-m", "ctcycle.run", "--config", str(config)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        f"{tmp_path / 'none'}: not a run folder (no config.yaml); "
        "train first, or choose another run folder or a bundle folder\n"
    )


def test_errors_reach_the_caller_unchanged(tmp_path: Path) -> None:
    with pytest.raises(SeriesError):
        running.run(load_config(scan_config(tmp_path, tmp_path / "nowhere")))
    (tmp_path / "blocked").write_text("")
    pipeline = tmp_path / "p.yaml"
    pipeline.write_text(f"task: pipeline\nout: {tmp_path / 'blocked'}\nsteps: {{a: {{task: simulate}}}}\n")
    with pytest.raises(OutputError):
        running.run(load_config(pipeline))
