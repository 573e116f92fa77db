"""The watch of a training: when it speaks, what it keeps, and what happens at the end of a run that failed."""

import json
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine
from interrupted import at_iteration
from tiny_data import TinyData, assert_same, assert_same_run, train, train_config
from watched_slices import DOMAINS, PLANTED, SLICES, Image, good, scaled

from ctcycle.config.training import Watch
from ctcycle.errors import DivergedError, StoppedError
from ctcycle.run import main
from ctcycle.runs.checkpoints import CheckpointFolder, read_checkpoint
from ctcycle.runs.folder import RunFolder
from ctcycle.training.handlers.checkpoints import BestWeights
from ctcycle.training.handlers.events import TrainingEvents
from ctcycle.training.monitor.watch import WatchHandler

Denoise = Callable[[Image], Image]

WATCHED = ("training.watch.enabled=true", "training.watch.slices=1")
ONLY_TOLD = (*WATCHED, "training.watch.fail=false")
IDENTITY = "close to the identity; train longer, or raise loss.adversarial and schedule.finish_adversarial"


def identity(image: Image) -> Image:
    return image


def watched(denoisers: Sequence[Denoise], limits: Watch | None = None) -> tuple[Engine, WatchHandler]:
    """An engine whose denoiser after each epoch is the next of the sequence, and its watch."""
    engine = Engine(lambda _engine, _batch: None)

    def current() -> Any:
        return denoisers[engine.state.epoch - 1]

    handler = WatchHandler(DOMAINS, SLICES[:1], limits or Watch(), current)
    handler.attach(engine)
    return engine, handler


def run(engine: Engine, epochs: int) -> None:
    engine.run([0], max_epochs=epochs, epoch_length=1)


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]


def test_training_that_starts_as_the_identity_is_told_only_if_it_stays_so(caplog: pytest.LogCaptureFixture) -> None:
    run(watched([identity] * 2 + [good] * 6, Watch(every=1))[0], 8)
    assert [text.partition(":")[0] for text in warnings(caplog)] == ["epoch 2"]
    caplog.clear()
    run(watched([identity, *[good] * 7])[0], 8)
    assert warnings(caplog) == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_denoiser_that_fails_is_told_in_the_epoch_in_which_it_fails(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine, handler = watched([good, PLANTED[kind], PLANTED[kind], *[good] * 17])
    run(engine, 3)
    assert kind in handler.faults
    assert f"epoch 2: {handler.faults[kind]}" in warnings(caplog)
    assert len(warnings(caplog)) == len(handler.faults)


def test_it_measures_every_few_epochs_and_at_the_end() -> None:
    engine, _ = watched([good] * 7, Watch(every=3))
    epochs = []
    engine.add_event_handler(TrainingEvents.MEASURED, lambda engine: epochs.append(engine.state.epoch))
    run(engine, 7)
    assert epochs == [3, 6, 7]


def test_a_fault_outweighs_any_other_measure(tmp_path: Path) -> None:
    """Of what stays within the limits the lowest penalty is the best; of what does not, the fewest faults."""
    better: Denoise = lambda image: scaled(image, 0.5) + 1e-3  # noqa: E731 (a denoiser like the others)
    order = [identity, lambda image: scaled(image, 0.8), better, PLANTED["shift"], PLANTED["blur"]]
    engine, _ = watched(order)
    best = BestWeights(CheckpointFolder(tmp_path), lambda: {"epoch": torch.tensor(engine.state.epoch)}, paired=False)
    best.attach(engine)
    run(engine, len(order))
    assert read_checkpoint(tmp_path / "best.pt")["denoiser"]["epoch"] == 3
    assert best.scores["epoch"] == 3


def test_its_state_continues_where_it_stopped(caplog: pytest.LogCaptureFixture) -> None:
    engine, first = watched([good, identity])
    run(engine, 2)
    saved = json.loads(json.dumps(first.state_dict()))
    assert len(warnings(caplog)) == 1
    engine, second = watched([PLANTED["identity"], *[good] * 30])
    second.load_state_dict(saved)
    assert (second.faults, second.found) == (first.faults, first.found)
    run(engine, 1)
    assert len(warnings(caplog)) == 1
    assert_same(second.state_dict(), saved)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[str]], None]:
    """Sets what is measured after the first epochs, each "good" or "identity"; the networks are not asked."""

    def plant(names: Sequence[str]) -> None:
        removed: Iterator[float] = iter([1.0 if name == "good" else 0.0 for name in names])
        penalties = iter(range(len(names), 0, -1))

        def measure(*_: object) -> dict[str, float]:
            return {"removed": next(removed), "noise_over_full": 1.0, "penalty": float(next(penalties))}

        monkeypatch.setattr("ctcycle.training.monitor.watch.measure", measure)

    return plant


def unpaired(tiny: TinyData, folder: Path) -> TinyData:
    """The tiny data without validation patients."""
    manifest = folder / "unpaired.csv"
    lines = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/").splitlines(keepends=True)
    manifest.write_text("".join(line for line in lines if ",val," not in line))
    return TinyData(tiny.series, manifest)


@pytest.mark.usefixtures("no_figures")
class TestRuns:
    """Whole trainings on tiny data."""

    @pytest.mark.slow
    def test_a_run_that_ends_as_the_identity_exits_5_and_keeps_the_last_good_checkpoint(
        self, tiny: TinyData, tmp_path: Path, measured: Callable[[Sequence[str]], None]
    ) -> None:
        data, out = unpaired(tiny, tmp_path), tmp_path / "run"
        measured(["identity", "good", "good", "identity"])
        with pytest.raises(DivergedError) as error:
            train(data, out, "cyclegan", *WATCHED, "training.watch.fail=true")
        assert error.value.exit_code == 5
        assert str(error.value).startswith(f"{out}: training ended in a failed state: the denoiser removes 0% of ")
        assert f"{IDENTITY} (best checkpoint: epoch 3, {out / 'checkpoints' / 'best.pt'}; " in str(error.value)
        assert (out / "log.txt").read_text().count("epoch 4: the denoiser removes 0% of the noise") == 1
        record = json.loads((out / "watch.json").read_text())
        assert (record["failed"], record["best"]["epoch"], record["last"]["removed"]) == (True, 3, 0.0)
        assert not (out / "finished").exists()
        measured(["identity", "good", "good"])
        with pytest.raises(StoppedError):
            train(data, tmp_path / "three", "cyclegan", *WATCHED, "training.stop_after_epoch=3")
        until_then = read_checkpoint(tmp_path / "three" / "checkpoints" / "last.pt")["ema"]
        kept = {name.removeprefix("module."): one for name, one in until_then.items() if name != "n_averaged"}
        assert_same(read_checkpoint(out / "checkpoints" / "best.pt")["denoiser"], kept)

    def test_a_failed_run_fails_again_and_can_be_accepted(self, tiny: TinyData, tmp_path: Path) -> None:
        """After 12 iterations a real denoiser is still the identity with which it starts."""
        out = tmp_path / "run"
        loaded = train_config(tiny, out, "cyclegan")
        assert loaded.config.task == "train"
        line = ["--config", str(out.with_suffix(".yaml")), *WATCHED]
        assert main([*line, "training.watch.fail=true"]) == 5
        before = read_checkpoint(out / "checkpoints" / "last.pt")
        assert main([*line, "training.watch.fail=true"]) == 5
        assert_same(read_checkpoint(out / "checkpoints" / "last.pt"), before)
        assert IDENTITY in (out / "log.txt").read_text()
        assert main([*line, "training.watch.fail=false"]) == 0
        assert (out / "finished").exists()
        record = json.loads((out / "watch.json").read_text())
        assert not record["failed"]
        assert IDENTITY in record["faults"][0]

    @pytest.mark.parametrize("method", ["cyclegan", "physics_cyclegan"])
    @pytest.mark.slow
    def test_a_stopped_run_is_watched_as_if_it_had_not_stopped(
        self, method: str, tiny: TinyData, tmp_path: Path
    ) -> None:
        data, out = unpaired(tiny, tmp_path), tmp_path / "parts"
        whole = train(data, tmp_path / "whole", method, *ONLY_TOLD)
        with pytest.raises(StoppedError):
            train(data, out, method, *ONLY_TOLD, "training.stop_after_epoch=2")
        with at_iteration(8, lambda _: signal.raise_signal(signal.SIGTERM)), pytest.raises(StoppedError):
            train(data, out, method, *ONLY_TOLD)
        train(data, out, method, *ONLY_TOLD)
        assert_same_run(out, whole)
        assert (out / "watch.json").read_text() == (whole / "watch.json").read_text()
        told = [(folder / "log.txt").read_text().count(IDENTITY) for folder in (out, whole)]
        assert told[0] == told[1]
        penalties = [row["watch/penalty"] for row in RunFolder(out).read_metrics() if "watch/penalty" in row]
        assert len(penalties) == 4
        assert read_checkpoint(out / "checkpoints" / "best.pt")["watch/penalty"] == min(penalties)
