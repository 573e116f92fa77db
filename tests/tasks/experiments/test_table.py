"""Tables of a sweep."""

import csv
from pathlib import Path

from ctcycle.tasks.experiments.table import format_trials, named, write_tables
from ctcycle.tasks.experiments.trials import Trial

KEYS = ["optimizer.lr", "generator.filters"]


def trials() -> list[Trial]:
    values = [dict(zip(KEYS, pair, strict=True)) for pair in ((1e-4, 16), (2e-4, 16), (1 / 3, 32), (1e-4, 32))]
    return [
        Trial(1, values[0], "finished", "val/psnr", {1: 30.0, 2: 31.25}),
        Trial(2, values[1], "finished", "val/psnr", {2: 33.5}),
        Trial(3, values[2], "failed", reason="loss is not finite, see log"),
        Trial(4, values[3], "pruned", "val/psnr", {1: 29.0}),
    ]


def test_names_are_as_short_as_they_are_clear() -> None:
    assert named({"optimizer.lr": 1e-4, "generator.filters": 16}) == "lr=0.0001, filters=16"
    both = {"generator.filters": 16, "discriminator.filters": 8}
    assert named(both) == "generator.filters=16, discriminator.filters=8"


def test_the_best_trial_is_first() -> None:
    assert format_trials(trials(), KEYS).splitlines() == [
        "trial  state     val/psnr  epoch  optimizer.lr  generator.filters",
        "2      finished  33.5      2      0.0002        16",
        "1      finished  31.25     2      0.0001        16",
        "4      pruned    29        1      0.0001        32",
        "3      failed                     0.3333        32",
    ]


def test_the_csv_holds_every_trial_in_order_and_at_full_precision(tmp_path: Path) -> None:
    paths = write_tables(tmp_path, trials(), KEYS)
    assert [path.name for path in paths] == ["trials.csv", "trials.txt", "trials.png"]
    with paths[0].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["trial"] for row in rows] == ["1", "2", "3", "4"]
    assert float(rows[2]["optimizer.lr"]) == 1 / 3
    assert rows[2]["reason"] == "loss is not finite, see log"
    assert paths[2].read_bytes().startswith(b"\x89PNG")


def test_without_a_finished_trial_there_is_no_plot(tmp_path: Path) -> None:
    assert [path.name for path in write_tables(tmp_path, trials()[2:], KEYS)] == ["trials.csv", "trials.txt"]
