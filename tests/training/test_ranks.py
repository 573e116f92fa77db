"""Training on several ranks: the result of one process, stops, kills, and who writes."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from held_lock import holder
from interrupted import at_iteration
from rank_processes import CRASHED, Ended, on_ranks
from tiny_data import METHODS, TinyData, assert_same, assert_same_run, train, write_train_config

from ctcycle.run import main
from ctcycle.runs import ranks
from ctcycle.runs.checkpoints import read_checkpoint
from ctcycle.runs.folder import RunFolder
from ctcycle.training import trainer
from ctcycle.training.building import Parts

Act = Callable[[dict[str, torch.Tensor]], object]
COMPARABLE = (
    *("generator.dropout=0", "training.batch_size=4", "tracking.every=1"),
    # at the identity, where training usually starts, gradients are so small that Adam amplifies rounding
    *("generator.zero_last=false", "generator.init=kaiming"),
)
VARIANTS = [
    *((method, ()) for method in METHODS),
    ("cyclegan", ("loss.form=wgan_gp", "discriminator.spectral_norm=false", "image_pool=6")),
    ("supervised", ("data.lesions={radius_mm: [1, 2]}", "loss.contrast=0.5", "loss.contrast_batches=2")),
    ("supervised", ("data.growing_patches=[{until: 0.5, side: 16, batch_size: 6}]", "data.workers=1")),
]
REST = "connection to another rank is lost"

pytestmark = pytest.mark.usefixtures("no_figures")


def nothing(_batch: object) -> None:
    pass


def train_on_ranks(
    data: TinyData,
    out: Path,
    method: str,
    overrides: Sequence[str] = (),
    world: int = 2,
    act: tuple[int, Act] = (1, nothing),
) -> list[Ended]:
    """Train as the command line does; each rank leaves its networks in ``rankN.pt`` beside its output."""
    config, logs = write_train_config(data, out, method), out.with_name(f"{out.name}_ranks")
    loop = trainer._train

    def work(rank: int) -> int:
        def kept(parts: Parts, handlers: Any) -> None:
            loop(parts, handlers)
            state = {"method": parts.method.state_dict(), "average": parts.average.state_dict()}
            torch.save(state, logs / f"rank{rank}.pt")

        with pytest.MonkeyPatch.context() as patch, at_iteration(*act):
            patch.setattr(trainer, "_train", kept)
            return main(["--config", str(config), *overrides])

    ended = on_ranks(logs, work, world)
    assert CRASHED not in {one.code for one in ended}, ended
    return ended


def assert_trained(ended: Sequence[Ended], out: Path) -> None:
    """All ranks have ended well, with the same networks to the last bit, and only the first has said so."""
    assert [one.code for one in ended] == [0] * len(ended), ended
    assert [f"-> {out}" in one.printed for one in ended] == [True, *[False] * (len(ended) - 1)]
    assert not any(one.printed for one in ended[1:])
    logs = out.with_name(f"{out.name}_ranks")
    states = [torch.load(logs / f"rank{rank}.pt", weights_only=True) for rank in range(len(ended))]
    for state in states[1:]:
        assert_same(state, states[0])


def assert_close_runs(run: Path, other: Path) -> None:
    """Losses, scores, weights, averages and pools agree to rounding."""
    records = [RunFolder(path).read_metrics() for path in (run, other)]
    assert [record.keys() for record in records[0]] == [record.keys() for record in records[1]]
    for one, two in zip(*records, strict=True):
        assert one == pytest.approx(two, rel=1e-4, abs=1e-6)
    states = [read_checkpoint(path / "checkpoints" / "last.pt") for path in (run, other)]
    for name in ("networks", "ema", "pools"):
        one, two = (_numbers(state[name]) for state in states)
        np.testing.assert_allclose(one, two, rtol=1e-3, atol=2e-5)


def _numbers(state: Any) -> Any:
    if isinstance(state, torch.Tensor):
        return state.double().reshape(-1).numpy()
    parts = [_numbers(part) for part in (state.values() if isinstance(state, dict) else state)]
    return np.concatenate(parts) if parts else np.zeros(0)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "variant"), VARIANTS, ids=str)
def test_two_ranks_train_as_one_process_with_the_same_batches(
    method: str, variant: tuple[str, ...], tiny: TinyData, tmp_path: Path
) -> None:
    overrides = (*COMPARABLE, *variant)
    one, two = tmp_path / "one", tmp_path / "two"
    assert_trained(train_on_ranks(tiny, two, method, overrides), two)
    assert_close_runs(two, train(tiny, one, method, *overrides))
    assert "training on 2 ranks, 2 of 4 images each" in (two / "log.txt").read_text()


@pytest.mark.slow
def test_four_ranks_train_as_one_process(tiny: TinyData, tmp_path: Path) -> None:
    """There are fewer validation slices than ranks, and one image for each."""
    one, four = tmp_path / "one", tmp_path / "four"
    assert_trained(train_on_ranks(tiny, four, "cyclegan", COMPARABLE, world=4), four)
    assert_close_runs(four, train(tiny, one, "cyclegan", *COMPARABLE))


def terminate_last(_batch: object) -> None:
    if ranks.rank() == 1:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # launchers repeat it


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_all_after_the_same_iteration(tiny: TinyData, tmp_path: Path) -> None:
    """Resumed by as many ranks to the last bit, by one process to rounding."""
    whole, run, alone = (tmp_path / name for name in ("whole", "run", "alone"))
    assert_trained(train_on_ranks(tiny, whole, "cyclegan", COMPARABLE), whole)
    ended = train_on_ranks(tiny, run, "cyclegan", COMPARABLE, act=(7, terminate_last))
    assert [one.code for one in ended] == [143, 143]
    assert f"{run}: stopped by a signal after iteration 7; run it again to resume" in ended[0].printed
    assert not ended[1].printed
    assert read_checkpoint(run / "checkpoints" / "last.pt")["iteration"] == 7
    assert not (run / "lock").exists()
    shutil.copytree(run, alone)
    assert_trained(train_on_ranks(tiny, run, "cyclegan", COMPARABLE), run)
    assert_same_run(run, whole)
    assert_close_runs(train(tiny, alone, "cyclegan", *COMPARABLE), whole)


def kill_last(_batch: object) -> None:
    if ranks.rank() == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def kill_first(_batch: object) -> None:
    if ranks.rank() == 0:
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize(("kill", "codes"), [(kill_last, [1, -9]), (kill_first, [-9, 1])])
def test_a_killed_rank_ends_the_others_and_the_run_can_be_resumed(
    kill: Act, codes: list[int], tiny: TinyData, tmp_path: Path
) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert_trained(train_on_ranks(tiny, whole, "supervised"), whole)
    ended = train_on_ranks(tiny, run, "supervised", act=(8, kill))
    assert [one.code for one in ended] == codes
    assert (REST in ended[0].printed) == (codes[0] == 1)
    assert "Traceback" not in ended[0].printed + ended[1].printed
    assert read_checkpoint(run / "checkpoints" / "last.pt")["iteration"] == 6
    assert_trained(train_on_ranks(tiny, run, "supervised"), run)
    assert_same_run(run, whole)


WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@pytest.mark.slow
def test_only_the_first_rank_writes(tiny: TinyData, tmp_path: Path, mlflow_store: Path) -> None:
    """Every file that the other rank opens for writing, makes, moves or removes is reported by Python itself."""
    seen = tmp_path / "seen.json"

    def work(rank: int) -> int:
        found: list[str] = []

        def note(event: str, arguments: tuple[Any, ...]) -> None:
            writes = event == "open" and isinstance(arguments[0], str | Path) and (arguments[2] or 0) & WRITING
            if writes or event in {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link"}:
                found.append(f"{event} {arguments[0]}")

        if rank == 1:
            sys.addaudithook(note)
        code = main(["--config", str(config), "tracking.enabled=true", *overrides])
        if rank == 1:
            written = list(found)
            seen.write_text(json.dumps(written))
        return code

    config, store = write_train_config(tiny, tmp_path / "run", "cyclegan"), tmp_path / "mlflow.db"
    shutil.copy(mlflow_store, store)
    overrides = ["training.watch.enabled=true", "training.watch.fail=false", f"tracking.uri=sqlite:///{store}"]
    assert [one.code for one in on_ranks(tmp_path / "logs", work)] == [0, 0]
    ours = [item for item in json.loads(seen.read_text()) if str(tmp_path) in item or str(tiny.manifest.parent) in item]
    assert ours == []
    assert {"best.pt", "last.pt", "previous.pt"} == {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()}


@pytest.mark.parametrize(
    ("overrides", "code", "sentence"),
    [
        (
            ["training.batch_size=3"],
            2,
            "training.batch_size=3: is the size over all ranks; must be a multiple of the 2",
        ),
        (["generator.norm=batch"], 2, "norm=batch: 2 ranks would each normalise with their own part of the batch"),
        (["device=cuda:1"], 2, "device=cuda:1: cannot be shared by 2 ranks; use auto, cuda or cpu"),
        (["training.epochs=x"], 2, "training.epochs"),
        (["data.kernel=none"], 3, "manifest.csv"),
    ],
)
def test_what_cannot_be_trained_is_refused_once(
    overrides: list[str], code: int, sentence: str, tiny: TinyData, tmp_path: Path
) -> None:
    ended = train_on_ranks(tiny, tmp_path / "run", "supervised", overrides)
    assert [one.code for one in ended] == [code, code]
    assert sentence in ended[0].printed.splitlines()[-1]
    assert "Traceback" not in ended[0].printed
    assert not ended[1].printed


def test_a_locked_folder_is_refused_on_all_ranks(tiny: TinyData, tmp_path: Path) -> None:
    process = holder(tmp_path / "run")
    try:
        ended = train_on_ranks(tiny, tmp_path / "run", "supervised")
    finally:
        process.communicate()
    assert [one.code for one in ended] == [4, 4]
    assert "locked by another run" in ended[0].printed
    assert not ended[1].printed


@pytest.mark.parametrize(
    ("error", "start", "end"),
    [
        (KeyError("only here"), "rank 1: Traceback", "KeyError: 'only here'"),
        (MemoryError("only here"), "rank 1: not enough memory (only here); ", "networks"),
        (OSError(errno.ENOSPC, "disk full", "there"), "rank 1: there: cannot write (disk full); ", "location"),
    ],
    ids=["crash", "memory", "disk"],
)
def test_a_crash_of_another_rank_is_shown_with_its_number(
    error: Exception, start: str, end: str, tiny: TinyData, tmp_path: Path
) -> None:
    def fail_last(_batch: object) -> None:
        if ranks.rank() == 1:
            raise error

    ended = train_on_ranks(tiny, tmp_path / "run", "supervised", act=(2, fail_last))
    assert ended[0].code == 1
    assert ended[1].code == (4 if isinstance(error, OSError) else 1)
    assert ended[1].printed.startswith(start)
    assert ended[1].printed.rstrip().endswith(end)
    assert REST in ended[0].printed


def test_a_finished_run_stays_as_it_is(tiny: TinyData, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert_trained(train_on_ranks(tiny, run, "supervised"), run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    ended = train_on_ranks(tiny, run, "supervised")
    assert [one.code for one in ended] == [0, 0]
    assert f"{run}: already finished" in ended[0].printed
    assert not ended[1].printed
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.name != "lock"} == before


DIES_ONCE = """
import os, signal, sys
sys.path.insert(0, {support!r})
from pathlib import Path
from interrupted import at_iteration
from ctcycle.run import main

def kill(_batch):
    if os.environ["RANK"] == "1" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        os.kill(os.getpid(), signal.SIGKILL)

with at_iteration(8, kill):
    sys.exit(main())
"""


@pytest.mark.slow
def test_torchrun_restarts_a_killed_rank(tiny: TinyData, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert_trained(train_on_ranks(tiny, whole, "supervised"), whole)
    script = tmp_path / "dies_once.py"
    script.write_text(DIES_ONCE.format(support=str(Path(__file__).parents[1] / "support")))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--max-restarts=1", "--standalone"]
    command = [*launcher, str(script), "--config", str(write_train_config(tiny, run, "supervised"))]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "resuming from iteration 6" in (run / "log.txt").read_text()
    assert_same_run(run, whole)
