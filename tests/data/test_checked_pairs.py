"""Pairs that have passed are not compared again until their pixels, the pairs or the threshold change."""

from dataclasses import replace
from pathlib import Path

import pytest
from tiny_data import TinyData

from ctcycle.data.checked_pairs import check_once
from ctcycle.data.pair_check import PairGuard
from ctcycle.data.slices import SliceData, StoredSlices, load_slices, open_store

GUARD = PairGuard(0.65, "stop")


@pytest.fixture
def slices(tiny: TinyData, tmp_path: Path) -> SliceData:
    return load_slices(
        tiny.manifest, open_store(tiny.manifest, tmp_path / "store", 0.02), kernel=None, splits=["train"]
    )


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of pairs of every check that was made; none warns."""
    made: list[int] = []
    monkeypatch.setattr(PairGuard, "check", lambda _self, low, *_others: made.append(len(low)) or True)
    return made


def check(slices: SliceData, folder: Path, guard: PairGuard = GUARD, first: int = 0) -> None:
    low, full = slices.paired("train")
    pairs = slices.pairs("train")[first:]
    check_once(guard, *(StoredSlices(one.series, one.refs[first:]) for one in (low, full)), pairs, folder)


def test_pairs_are_compared_once(slices: SliceData, compared: list[int], tmp_path: Path) -> None:
    for _ in range(2):
        check(slices, tmp_path / "cache")
    assert compared == [12]


def test_other_pixels_pairs_or_thresholds_are_compared(slices: SliceData, compared: list[int], tmp_path: Path) -> None:
    check(slices, tmp_path)
    check(slices, tmp_path, first=1)
    check(slices, tmp_path, PairGuard(0.7, "stop"))
    key = next(iter(slices.series))
    changed = replace(slices.series[key], digests=("0" * 16,) * 2)
    check(replace(slices, series={**slices.series, key: changed}), tmp_path)
    assert compared == [12, 11, 12, 12]


def test_without_digests_pairs_are_compared_every_time(slices: SliceData, compared: list[int], tmp_path: Path) -> None:
    unknown = {key: replace(one, digests=()) for key, one in slices.series.items()}
    for _ in range(2):
        check(replace(slices, series=unknown), tmp_path / "cache")
    assert compared == [12, 12]
    assert not (tmp_path / "cache").exists()


def test_what_was_warned_of_is_compared_and_warned_of_again(
    slices: SliceData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(PairGuard, "check", lambda _self, low, *_others: bool(made.append(len(low))))
    for _ in range(2):
        check(slices, tmp_path)
    assert made == [12, 12]


def test_true_pairs_pass(slices: SliceData, tmp_path: Path) -> None:
    check(slices, tmp_path / "cache")
    assert len(list((tmp_path / "cache" / "pairs").iterdir())) == 1
