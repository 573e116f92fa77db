"""Slices to show: evenly spaced, and denoised once."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from ctcycle.evaluation.cache import ResultCache
from ctcycle.evaluation.methods.method import Method
from ctcycle.evaluation.page.panels import panel_slices
from ctcycle.evaluation.pairs import HUImage, LowDoseSlice


class Some:
    """Seven slices, each of its own value."""

    def __len__(self) -> int:
        return 7

    def __iter__(self) -> Iterator[LowDoseSlice]:
        for number in range(7):
            yield LowDoseSlice("P", "s", number, np.full((4, 5), number, np.float32))


class Counted:
    """A filter that counts its calls."""

    def __init__(self, offset: float) -> None:
        self.offset, self.calls = np.float32(offset), 0

    def __call__(self, low: HUImage) -> HUImage:
        self.calls += 1
        return low + self.offset


def shown(cache: ResultCache, filters: dict[str, Counted], digest: str = "d", most: int = 3) -> list[tuple]:
    methods = [Method(name, name, "run", name, denoise) for name, denoise in filters.items()]
    found = panel_slices(Some(), methods, most, digest, cache)  # type: ignore[arg-type]
    return [(panel.item.slice_index, {name: float(hu.mean()) for name, hu in panel.outputs.items()}) for panel in found]


def test_each_is_denoised_once_however_often_it_is_shown(tmp_path: Path) -> None:
    filters, cache = {"a": Counted(1), "b": Counted(2)}, ResultCache(tmp_path)
    expected = [(n, {"a": n + 1.0, "b": n + 2.0}) for n in (0, 3, 6)]
    assert shown(cache, filters) == expected
    assert shown(cache, filters) == expected
    assert [denoise.calls for denoise in filters.values()] == [3, 3]
    assert shown(cache, {**filters, "c": Counted(3)})[0] == (0, {"a": 1.0, "b": 2.0, "c": 3.0})
    assert [denoise.calls for denoise in filters.values()] == [3, 3]


def test_other_slices_and_damaged_files_are_denoised_again(tmp_path: Path) -> None:
    filters, cache = {"a": Counted(1)}, ResultCache(tmp_path)
    shown(cache, filters)
    shown(cache, filters, digest="other")
    assert filters["a"].calls == 6
    for file in tmp_path.glob("*.npz"):
        file.write_bytes(file.read_bytes()[:-5] + b"wrong")
    assert shown(cache, filters)[0] == (0, {"a": 1.0})
    assert filters["a"].calls == 9


@pytest.mark.parametrize(("most", "places"), [(0, []), (1, [0]), (2, [0, 6]), (12, list(range(7)))])
def test_how_many(most: int, places: list[int], tmp_path: Path) -> None:
    assert [place for place, _ in shown(ResultCache(tmp_path), {}, most=most)] == places
