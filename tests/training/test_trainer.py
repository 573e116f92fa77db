"""Training runs: exact resume, stops, divergence, what is written, and the mispaired experiment."""

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from interrupted import at_iteration
from tiny_data import METHODS, TinyData, assert_same, assert_same_run, train, train_config, write_train_config

from ctcycle.ct.hounsfield import MU_WATER, HUWindow
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import (
    BundleError,
    ConfigError,
    DivergedError,
    ManifestError,
    OutputError,
    SeriesError,
    StoppedError,
)
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.fingerprint import measure_fingerprint
from ctcycle.runs.checkpoints import read_checkpoint
from ctcycle.runs.fingerprints import read_run_fingerprint
from ctcycle.runs.folder import RunFolder
from ctcycle.signals import SIGNALS
from ctcycle.simulation.processes import available_cores
from ctcycle.tasks import running
from ctcycle.training.monitor.validation import HUScores, make_evaluator
from ctcycle.training.patches.loading import load_training_data
from ctcycle.training.trainer import TrainingRun

Saved = dict[str, Any]

pytestmark = pytest.mark.usefixtures("no_figures")


def crash(_: object) -> None:
    raise MemoryError


def last(run: Path) -> Saved:
    return read_checkpoint(run / "checkpoints" / "last.pt")


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_stopped_run_goes_on_to_the_last_bit(method: str, tiny: TinyData, tmp_path: Path) -> None:
    """Stopped where an epoch with a validation ends, gone on with by loader workers, stopped within an epoch."""
    whole, run = train(tiny, tmp_path / "whole", method), tmp_path / "parts"
    with pytest.raises(StoppedError, match=r"stopped by training\.stop_after_epoch after iteration 6") as stop:
        train(tiny, run, method, "training.stop_after_epoch=2")
    assert stop.value.exit_code == 0
    assert last(run)["best"]["epoch"] == 2
    with (
        at_iteration(7, lambda _: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(StoppedError, match="stopped by a signal after iteration 7; run it again to resume") as stop,
    ):
        train(tiny, run, method, "data.workers=2")
    assert stop.value.exit_code == 143
    train(tiny, run, method)
    assert_same_run(run, whole)
    assert last(run)["iteration"] == 12


CONSTANT = ("schedule.decay_start=1", "schedule.finish_start=1")


@pytest.mark.slow
def test_a_finished_run_goes_on_to_more_epochs_as_if_they_had_been_planned(tiny: TinyData, tmp_path: Path) -> None:
    whole = train(tiny, tmp_path / "whole", "cyclegan", *CONSTANT)
    run = train(tiny, tmp_path / "run", "cyclegan", *CONSTANT, "training.epochs=2")
    assert (run / "finished").exists()
    train(tiny, run, "cyclegan", *CONSTANT)
    assert_same_run(run, whole)
    with pytest.raises(ConfigError, match=r"training\.epochs=2 instead of 4"):
        train(tiny, run, "cyclegan", *CONSTANT, "training.epochs=2")


def test_a_finished_run_whose_rates_have_decayed_says_how_to_go_on(tiny: TinyData, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", "supervised", "training.epochs=1")
    before = last(run)
    with pytest.raises(ConfigError, match=rf"decay_start=0\.5 depends; .*initial={run}, .* training\.epochs=3"):
        train(tiny, run, "supervised")
    assert_same(last(run), before)
    other = train(tiny, tmp_path / "other", "supervised", f"initial={run}", "training.epochs=3")
    assert last(other)["iteration"] == 9


@pytest.mark.slow
def test_a_stopped_run_resumes_with_the_same_fixed_partners(tiny: TinyData, tmp_path: Path) -> None:
    fixed, run = ("data.protocol=shuffled", "data.partners=fixed"), tmp_path / "parts"
    whole = train(tiny, tmp_path / "whole", "cyclegan", *fixed)
    with (
        at_iteration(7, lambda _: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(StoppedError, match="stopped by a signal after iteration 7"),
    ):
        train(tiny, run, "cyclegan", *fixed)
    train(tiny, run, "cyclegan", *fixed)
    assert_same_run(run, whole)


def test_a_stopped_run_resumes_with_the_same_lesions_and_contrast_lost(tiny: TinyData, tmp_path: Path) -> None:
    options, run = ("data.lesions={radius_mm: [1, 2]}", "loss.contrast=0.5"), tmp_path / "parts"
    whole = train(tiny, tmp_path / "whole", "supervised", *options)
    with (
        at_iteration(7, lambda _: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(StoppedError, match="stopped by a signal after iteration 7"),
    ):
        train(tiny, run, "supervised", *options)
    assert int(last(run)["networks"]["contrast.updates"]) == 7
    train(tiny, run, "supervised", *options)
    assert_same_run(run, whole)


GROWING = "data.growing_patches=[{until: 0.5, side: 16, batch_size: 3}]"
VARIANTS = [
    ("cyclegan", ("loss.form=bce", "loss.gradient_penalty=r1", "discriminator.spectral_norm=false")),
    ("cyclegan", ("loss.form=hinge", "loss.identity_domain=source")),
    ("cyclegan", ("loss.form=wgan_gp", "discriminator.spectral_norm=false", GROWING)),
    ("noise_swap", ("loss.form=wgan_gp", "loss.identity=0")),
    ("physics_cyclegan", ("loss.form=wgan_gp", "image_pool=3", GROWING)),
    ("supervised", (GROWING,)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("method", "variant"), VARIANTS, ids=str)
def test_variants_resume_to_the_last_bit(method: str, variant: tuple[str, ...], tiny: TinyData, tmp_path: Path) -> None:
    """Stopped within the first epoch with large patches, where patches grow."""
    whole, run = train(tiny, tmp_path / "whole", method, *variant), tmp_path / "parts"
    with (
        at_iteration(8, lambda _: signal.raise_signal(signal.SIGTERM)),
        pytest.raises(StoppedError, match="stopped by a signal after iteration 8"),
    ):
        train(tiny, run, method, *variant)
    train(tiny, run, method, *variant)
    assert_same_run(run, whole)
    names = {name for record in RunFolder(run).read_metrics() for name in record}
    penalised = "loss.form=wgan_gp" in variant or "loss.gradient_penalty=r1" in variant
    assert ("train/penalty_full" in names) == penalised


def test_patches_and_batches_grow_during_training(tiny: TinyData, tmp_path: Path) -> None:
    shapes = []
    with at_iteration(6, lambda batch: shapes.append(tuple(batch["low_dose"].shape))):
        train(tiny, tmp_path / "six", "supervised", GROWING)
    with at_iteration(7, lambda batch: shapes.append(tuple(batch["low_dose"].shape))):
        train(tiny, tmp_path / "seven", "supervised", GROWING)
    assert shapes == [(3, 1, 16, 16), (2, 1, 32, 32)]


def test_checkpoints_by_the_clock_cost_a_crash_one_iteration(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    run, often = tmp_path / "run", "training.checkpoint_minutes=1e-9"
    with at_iteration(9, crash), pytest.raises(MemoryError):
        train(tiny, run, "supervised", often)
    saved = [read_checkpoint(run / "checkpoints" / f"{name}.pt")["iteration"] for name in ("previous", "last")]
    assert saved == [7, 8]
    assert "MemoryError" in (run / "log.txt").read_text()
    assert_same_run(train(tiny, run, "supervised"), tiny_run)


@pytest.mark.parametrize("epoch", [2, 4])
def test_a_signal_in_a_validation_gives_it_up_and_it_is_done_when_the_run_goes_on(
    epoch: int, tiny: TinyData, tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, score, calls = tmp_path / "run", HUScores.update, []

    def interrupted(*arguments: Any) -> object:
        calls.append(arguments)
        if len(calls) == epoch:  # two slices every two epochs: the second slice of this epoch's
            signal.raise_signal(signal.SIGTERM)
        return score(*arguments)

    monkeypatch.setattr(HUScores, "update", interrupted)
    with pytest.raises(StoppedError, match=f"after iteration {3 * epoch}; ") as stop:
        train(tiny, run, "supervised")
    monkeypatch.setattr(HUScores, "update", score)
    assert stop.value.exit_code == 143
    assert last(run)["validation_due"]
    validated = [record["epoch"] for record in RunFolder(run).read_metrics() if "val/psnr" in record]
    assert validated == [2][: epoch // 2 - 1]
    assert_same_run(train(tiny, run, "supervised"), tiny_run)


def test_a_folder_that_is_taken_away_is_not_made_again(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    run, moved = tmp_path / "run", tmp_path / "moved"
    with (
        at_iteration(5, lambda _: run.rename(moved)),
        pytest.raises(OutputError, match="run: was removed or moved during the run; to resume, set `out`"),
    ):
        train(tiny, run, "supervised")
    assert not run.exists()
    assert last(moved)["iteration"] == 3
    moved.rename(run)
    assert_same_run(train(tiny, run, "supervised"), tiny_run)


@contextmanager
def full_disk_at(iteration: int) -> Iterator[None]:
    """Lets files grow to a few bytes only, from an iteration on; pytest itself may write to a file after it."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        with at_iteration(iteration, lambda _: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))):
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_that_fills_up_costs_no_checkpoint(tiny: TinyData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with (
        pytest.raises(OutputError, match=r"new\.pt: cannot write \(File too large\)") as error,
        full_disk_at(5),
    ):
        train(tiny, run, "supervised", "validation.every=4")
    assert error.value.exit_code == 4
    assert last(run)["iteration"] == 3
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"last.pt"}


def test_workers_outlive_a_signal_to_the_whole_job_and_end_with_the_run(tiny: TinyData, tmp_path: Path) -> None:
    """Schedulers signal every process of a job: a worker that died of it would take the checkpoint along."""
    workers = []

    def signal_all(_: object) -> None:
        workers.extend(multiprocessing.active_children())
        for number in SIGNALS:
            for worker in workers:
                os.kill(worker.pid or 0, number)

    with at_iteration(3, signal_all):
        run = train(tiny, tmp_path / "run", "supervised", "data.workers=2", "training.epochs=2")
    assert len(workers) == min(2, available_cores())
    assert last(run)["iteration"] == 6
    assert multiprocessing.active_children() == []


@pytest.mark.slow
def test_a_killed_worker_is_told_in_a_sentence_and_the_run_can_be_resumed(tiny: TinyData, tmp_path: Path) -> None:
    """As the kernel kills a process when memory runs out."""

    def kill(_: object) -> None:
        worker = multiprocessing.active_children()[0]
        os.kill(worker.pid or 0, signal.SIGKILL)
        worker.join(10)

    settings = ("data.workers=2", "training.epochs=2")
    with at_iteration(3, kill), pytest.raises(SeriesError, match=r"was killed, probably for lack of memory") as error:
        train(tiny, tmp_path / "run", "supervised", *settings)
    assert error.value.exit_code == 3
    assert "set data.workers to a smaller number" in str(error.value)
    assert multiprocessing.active_children() == []
    assert last(train(tiny, tmp_path / "run", "supervised", *settings))["iteration"] == 6


def test_everything_that_training_changes_is_in_the_checkpoint(tiny: TinyData, tmp_path: Path) -> None:
    state = last(train(tiny, tmp_path / "run", "cyclegan"))
    assert {name.partition(".")[0] for name in state["networks"]} == {
        *("low2full", "full2low", "disc_full", "disc_low", "swap")
    }
    assert state["optimisers"].keys() == {"gen", "disc"}
    assert [len(pool["images"]) for pool in state["pools"].values()] == [3, 3]
    assert state["ema"]
    assert state["losses"] == {"sums": {}, "counts": {}, "count": 0}


def test_a_finished_run_keeps_the_fingerprint_of_its_low_dose_slices(tiny: TinyData, tiny_run: Path) -> None:
    store = open_store(tiny.manifest, None, MU_WATER)
    low, _ = load_slices(tiny.manifest, store, kernel=None, splits=("train",)).paired("train")
    expected = measure_fingerprint(np.asarray(image, np.float32) for image in low)
    assert read_run_fingerprint(tiny_run) == expected


def test_what_is_drawn_leaves_the_global_generators_alone_at_the_start(tiny: TinyData, tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = train(tiny, tmp_path / "first", "supervised")
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002 (the global generator is what is meant)
    assert_same_run(first, train(tiny, tmp_path / "second", "supervised"))


def test_another_seed_is_another_run(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    other = train(tiny, tmp_path / "run", "supervised", "seed=1")
    with pytest.raises(AssertionError, match="networks"):
        assert_same(last(other), last(tiny_run))


def test_a_run_killed_before_its_first_checkpoint_leaves_no_trace(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    with at_iteration(3, crash), pytest.raises(MemoryError):
        train(tiny, tmp_path / "run", "supervised")
    assert RunFolder(tmp_path / "run").read_metrics() != []
    assert_same_run(train(tiny, tmp_path / "run", "supervised"), tiny_run)


def test_a_damaged_checkpoint_costs_an_epoch_and_nothing_else(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(tiny, run, "supervised", "training.stop_after_epoch=3")
    assert read_checkpoint(run / "checkpoints" / "previous.pt")["iteration"] == 6
    (run / "checkpoints" / "last.pt").write_bytes(b"cut off")
    assert_same_run(train(tiny, run, "supervised"), tiny_run)
    assert (run / "checkpoints" / "last.pt.corrupt").exists()


def test_a_stop_by_signal_keeps_an_earlier_state_too(tiny: TinyData, tmp_path: Path) -> None:
    interrupt = at_iteration(6, lambda _: signal.raise_signal(signal.SIGINT))
    with interrupt, pytest.raises(StoppedError, match="after iteration 6") as stop:
        train(tiny, tmp_path / "run", "supervised")
    assert stop.value.exit_code == 130
    checkpoints = tmp_path / "run" / "checkpoints"
    assert [read_checkpoint(checkpoints / f"{name}.pt")["iteration"] for name in ("previous", "last")] == [3, 6]


def test_a_finished_run_is_not_touched(
    tiny: TinyData, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(tiny, tmp_path / "run", "supervised")
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()}
    said = capsys.readouterr().out.splitlines()[-2:]
    monkeypatch.setattr(TrainingRun, "run", None)
    train(tiny, run, "supervised")
    assert capsys.readouterr().out.splitlines() == [f"{run}: already finished; set overwrite=true to rerun", *said]
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in run.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("again", ["overwrite=true", "resume=never"])
def test_overwriting_starts_anew(tiny: TinyData, tiny_run: Path, tmp_path: Path, again: str) -> None:
    run = train(tiny, tmp_path / "run", "supervised", "seed=1")
    (run / "notes.md").write_text("mine")
    assert_same_run(train(tiny, run, "supervised", again), tiny_run)
    assert (run / "notes.md").read_text() == "mine"


def test_a_changed_config_is_refused(tiny: TinyData, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", "training.stop_after_epoch=1")
    with pytest.raises(ConfigError, match=r"\(optimizer\.lr=0\.01 instead of 0\.001\)"):
        train(tiny, tmp_path / "run", "supervised", "optimizer.lr=0.01")


def test_a_changed_manifest_is_refused(tiny: TinyData, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    text = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/")
    manifest.write_text(text)
    data = TinyData(tiny.series, manifest)
    with pytest.raises(StoppedError):
        train(data, tmp_path / "run", "supervised", "training.stop_after_epoch=1")
    manifest.write_text(text.replace(",val,", ",train,"))
    with pytest.raises(
        ConfigError, match=r"manifest\.csv: has changed since the run in .*run started; set a different"
    ):
        train(data, tmp_path / "run", "supervised")


def test_a_checkpoint_of_other_networks_is_refused(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with pytest.raises(StoppedError):
        train(tiny, run, "supervised", "training.stop_after_epoch=1", "generator.filters=5")
    (run / "checkpoints" / "last.pt").write_bytes((tiny_run / "checkpoints" / "last.pt").read_bytes())
    with pytest.raises(BundleError, match=r"last\.pt: checkpoint is incompatible with this version of ctcycle"):
        train(tiny, run, "supervised", "generator.filters=5")


def test_diverged_losses_stop_the_run_and_the_last_good_checkpoint_stays(
    tiny: TinyData, tiny_run: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    sentence = "^iteration 5: gen_supervised is not finite; lower optimizer.lr .*the last checkpoint is kept until then"
    broken = at_iteration(5, lambda batch: batch["low_dose"][0].fill_(np.inf))
    with broken, pytest.raises(DivergedError, match=sentence):
        train(tiny, run, "supervised")
    assert last(run)["iteration"] == 3
    assert_same_run(train(tiny, run, "supervised"), tiny_run)


def test_every_term_is_watched(tiny: TinyData, tmp_path: Path) -> None:
    broken = at_iteration(1, lambda batch: batch["full_dose"].fill_(np.nan))
    with broken, pytest.raises(DivergedError, match=r"^iteration 1: .*disc_full is not finite"):
        train(tiny, tmp_path / "run", "noise_swap")


@pytest.mark.parametrize("per_epoch", [1, 2])
def test_an_absurd_learning_rate_is_told_as_divergence(per_epoch: int, tiny: TinyData, tmp_path: Path) -> None:
    """Also where it shows in the weights only, at the end of an epoch, just before they are validated and saved."""
    absurd = ["optimizer.lr=1e38", f"training.iterations_per_epoch={per_epoch}", "validation.every=1"]
    with pytest.raises(DivergedError) as error:
        train(tiny, tmp_path / "run", "supervised", *absurd)
    assert error.value.exit_code == 5
    assert not list((tmp_path / "run").glob("checkpoints/*.pt"))


def test_losses_in_hu_and_validation_at_the_last_epoch_too(tiny: TinyData, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", "supervised", "training.epochs=3", "validation.every=2", "tracking.every=3")
    records = RunFolder(run).read_metrics()
    assert [record["epoch"] for record in records if "val/psnr" in record] == [2, 3]
    losses = [record for record in records if "train/gen_supervised" in record]
    assert [record["iteration"] for record in losses] == [3, 6, 9]
    for record in losses:
        assert record["train/gen_supervised_hu"] == pytest.approx(1000 * record["train/gen_supervised"])
    best = read_checkpoint(run / "checkpoints" / "best.pt")
    assert best["val/psnr"] == max(record["val/psnr"] for record in records if "val/psnr" in record)


def test_a_run_shorter_than_the_interval_of_its_losses_ends_well(tiny: TinyData, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", "supervised", "training.epochs=1", "tracking.every=50", "validation.every=9")
    assert read_checkpoint(run / "checkpoints" / "best.pt")["epoch"] == 1


def test_without_validation_pairs_the_last_weights_are_the_best(tiny: TinyData, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.csv"
    lines = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/").splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if ",val," not in line))
    run = train(TinyData(tiny.series, manifest), tmp_path / "run", "supervised", "training.epochs=1")
    best, ema = read_checkpoint(run / "checkpoints" / "best.pt")["denoiser"], last(run)["ema"]
    assert_same(best, {name.removeprefix("module."): value for name, value in ema.items() if name != "n_averaged"})
    assert (
        "no paired validation data: best.pt is chosen by training.watch, or is the last checkpoint if that is off"
        in (run / "log.txt").read_text()
    )


def test_the_manifest_in_the_run_folder_can_be_used(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    copy = TinyData(tiny.series, tiny_run / "manifest.csv")
    run = train(copy, tmp_path / "run", "supervised", f"data.store={tmp_path / 'store'}")
    assert_same(last(run), last(tiny_run))


def test_the_schedule_and_the_running_mean_do_what_the_config_says(tiny: TinyData, tmp_path: Path) -> None:
    run = train(tiny, tmp_path / "run", "supervised", "training.ema_decay=0", "schedule.decay_final=0.5")
    state = last(run)
    assert state["ema"] == {}
    rate = state["optimisers"]["gen"]["param_groups"][0]["lr"]
    assert rate == pytest.approx(1e-3 * (1 - 0.5 * (11 / 12 - 0.5) / 0.5))


@pytest.mark.slow
def test_the_mispaired_experiment(tiny: TinyData, tmp_path: Path) -> None:
    """The guard names a pair; without it, L1 on pairs that do not match collapses towards a constant image."""
    shape = ["generator.residual=none", "generator.zero_last=false", "generator.norm=batch", "generator.dropout=0"]
    effort = ["training.epochs=1", "training.iterations_per_epoch=150", "training.batch_size=4", "optimizer.lr=0.01"]
    faults = ["data.pairing=shuffled", "data.same_crop=false"]
    with pytest.raises(
        ManifestError,
        match=r"low dose \(series \w+ slice \d\) and full dose \(series \w+ slice \d\): anatomy does not match",
    ):
        train(tiny, tmp_path / "guarded", "supervised", *faults)
    with pytest.raises(ManifestError, match=r"are cropped or flipped differently; set data\.same_crop=true"):
        train(tiny, tmp_path / "crops", "supervised", "data.same_crop=false")
    fault = train(tiny, tmp_path / "fault", "supervised", *shape, *effort, *faults, "data.guard=false")
    pairs = train(tiny, tmp_path / "pairs", "supervised", *shape, *effort)
    honest = train(tiny, tmp_path / "honest", "supervised", "generator.dropout=0", *effort)
    found = {run.name: read_checkpoint(run / "checkpoints" / "best.pt")["val/psnr"] for run in (fault, pairs, honest)}
    _, given = load_training_data(train_config(tiny, tmp_path / "any", "supervised").config)  # type: ignore[arg-type]
    evaluator = make_evaluator(lambda: Denoiser(torch.nn.Identity(), HUWindow(), torch.device("cpu")), "hu2000")
    unchanged = evaluator.run(given).metrics["psnr"]
    assert found["fault"] < 20 < unchanged
    assert found["fault"] + 5 < found["pairs"]
    assert found["honest"] > unchanged + 0.5


def program(config: Path, *overrides: str) -> subprocess.Popen[str]:
    """The command line in a process group of its own."""
    line = [sys.executable, "-m", "ctcycle.run", "--config", str(config), *overrides]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, start_new_session=True
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    for _ in range(6000):
        if process.poll() is not None or (path.exists() and path.stat().st_size):
            return
        time.sleep(0.01)
    raise TimeoutError(path)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGUSR1, 138)])
def test_a_signal_to_the_whole_group_stops_with_a_checkpoint(
    number: signal.Signals, code: int, tiny: TinyData, tmp_path: Path
) -> None:
    long = ["training.epochs=1", "training.iterations_per_epoch=300", "tracking.every=5"]
    run = tmp_path / "run"
    process = program(write_train_config(tiny, run, "supervised"), *long, "data.workers=1")
    wait_for(run / "metrics.jsonl", process)
    os.killpg(process.pid, number)
    _, errors = process.communicate(timeout=10)  # which also waits for workers: they hold the pipes
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    done = last(run)["iteration"]
    assert 5 <= done < 300
    assert errors.splitlines()[-1] == f"{run}: stopped by a signal after iteration {done}; run it again to resume"
    if number == signal.SIGTERM:
        train(tiny, run, "supervised", *long)
        assert_same_run(run, train(tiny, tmp_path / "whole", "supervised", *long))


def test_a_moved_run_goes_on(tiny: TinyData, tiny_run: Path, tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        train(tiny, tmp_path / "run", "supervised", "training.stop_after_epoch=2")
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    loaded = train_config(tiny, moved, "supervised")
    running.run(loaded)
    assert_same_run(moved, tiny_run)
