"""Trials: which score counts, which is best, and the file that keeps them."""

import json
from pathlib import Path

import pytest

from ctcycle.errors import OutputError
from ctcycle.tasks.experiments.trials import Trial, TrialFile, best_trial, read_curve


def trial(number: int, *scores: float, key: str = "val/psnr", state: str = "finished", kept: str = "best") -> Trial:
    curve = {2 * epoch: score for epoch, score in enumerate(scores, 1)}
    return Trial(number, {"optimizer.lr": number / 10}, state, key, curve, kept)  # type: ignore[arg-type]


def test_the_score_is_that_of_the_checkpoint_that_is_kept() -> None:
    assert (trial(1, 30.0, 32.0, 31.0).epoch, trial(1, 30.0, 32.0, 31.0).score) == (4, 32.0)
    assert trial(1, 30.0, 32.0, 31.0, kept="last").score == 31.0
    penalties = trial(1, 3.0, 1.0, 2.0, key="watch/penalty")
    assert (penalties.epoch, penalties.score, penalties.merit) == (4, 1.0, -1.0)
    assert trial(1).score is None


def test_only_finished_trials_can_be_best() -> None:
    trials = [trial(1, 30.0), trial(2, 40.0, state="failed"), trial(3, 31.0), trial(4, 39.0, state="pruned"), trial(5)]
    best = best_trial(trials)
    assert best is not None
    assert best.number == 3
    assert best_trial(trials[1:2]) is None
    lower = best_trial([trial(1, 2.0, key="watch/penalty"), trial(2, 1.0, key="watch/penalty")])
    assert lower is not None
    assert lower.number == 2


def test_the_file_keeps_everything(tmp_path: Path) -> None:
    file = TrialFile(tmp_path / "trials.json")
    known = [trial(2, 30.0, 31.0), trial(1, state="failed")]
    for one in known:
        file.save(one)
    again = TrialFile(tmp_path / "trials.json")
    assert again.trials == [known[1], known[0]]
    assert again.get(2) == known[0]
    assert again.get(3) is None


@pytest.mark.parametrize("text", ["{", "[{}]", "[1]", '{"a": 1}'])
def test_a_damaged_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "trials.json").write_text(text)
    with pytest.raises(OutputError, match=r"trials\.json: damaged"):
        TrialFile(tmp_path / "trials.json")


@pytest.mark.parametrize(
    ("wanted", "records", "expected"),
    [
        ("auto", [{"val/psnr": 30.0}, {"watch/penalty": 2.0}], ("val/psnr", {1: 30.0})),
        ("auto", [{"watch/penalty": 2.0}], ("watch/penalty", {1: 2.0})),
        ("watch/penalty", [{"val/psnr": 30.0}, {"watch/penalty": 2.0}], ("watch/penalty", {2: 2.0})),
        ("val/psnr", [{"watch/penalty": 2.0}], ("", {})),
        ("auto", [{"train/gen": 2.0}], ("", {})),
    ],
)
def test_scores_of_a_run(
    wanted: str, records: list[dict[str, float]], expected: tuple[str, dict[int, float]], tmp_path: Path
) -> None:
    lines = [json.dumps({"iteration": epoch, "epoch": epoch, **record}) for epoch, record in enumerate(records, 1)]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines))
    assert read_curve(tmp_path, wanted) == expected
