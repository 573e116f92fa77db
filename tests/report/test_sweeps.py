"""The plot of a sweep."""

from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from ctcycle.report import sweeps
from ctcycle.report.sweeps import Point, score_plot


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that were made."""
    made: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(sweeps, "Figure", Kept)
    return made


def points() -> list[Point]:
    return [
        Point({"lr": 1e-4, "norm": "none"}, 30.0, True, False),
        Point({"lr": 1e-2, "norm": "batch"}, 33.0, True, True),
        Point({"lr": 1e-3, "norm": "batch"}, 20.0, False, False),
    ]


def test_numbers_and_names_each_have_a_panel(drawn: list[Figure], tmp_path: Path) -> None:
    score_plot(tmp_path / "trials.png", points(), ["lr", "norm"], "val/psnr")
    with Image.open(tmp_path / "trials.png") as picture:
        assert picture.width > picture.height > 100
    rates, norms = drawn[0].axes
    assert rates.get_xscale() == "log"
    assert [line.get_xydata().tolist() for line in rates.lines] == [[[1e-4, 30.0]], [[1e-2, 33.0]], [[1e-3, 20.0]]]
    assert [line.get_xydata().tolist()[0][0] for line in norms.lines] == [1, 0, 0]
    assert [label.get_text() for label in norms.get_xticklabels()] == ["batch", "none"]
    assert [line.get_markerfacecolor() == "none" for line in rates.lines] == [False, False, True]
    assert rates.get_ylabel() == "val/psnr"


def test_penalties_of_failed_denoisers_do_not_flatten_the_others(drawn: list[Figure], tmp_path: Path) -> None:
    some = [Point({"lr": rate}, score, True, False) for rate, score in ((1.0, 2.0), (2.0, 1002.0))]
    score_plot(tmp_path / "trials.png", some, ["lr"], "watch/penalty")
    assert len(drawn[0].axes[0].lines) == 1
    assert "not shown: 1 beyond a limit of training.watch" in drawn[0].get_suptitle()
    score_plot(tmp_path / "trials.png", some[1:], ["lr"], "watch/penalty")
    assert len(drawn[1].axes[0].lines) == 1


def test_nothing_cannot_be_drawn(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no points"):
        score_plot(tmp_path / "trials.png", [], ["lr"], "val/psnr")
