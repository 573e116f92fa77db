"""Slices that a bundle is fine-tuned on."""

from pathlib import Path

import numpy as np
import pytest
import torch
from phantom_series import body_hu, stored_body, write_series

from ctcycle.bundle.runtime.finetuning import PairDataset
from ctcycle.bundle.runtime.pairs import PairFolder
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.errors import ConfigError, SeriesError

WINDOW = HUWindow(-1000, 1000)


def folders(root: Path, names: list[str]) -> PairFolder:
    """Low and full dose alike, the body brighter by 10 HU from one folder to the next."""
    for dose in ("low", "full"):
        for number, name in enumerate(names):
            stored = stored_body() + np.uint16(10 * number)
            write_series(root / dose / name, stored, f"1.2.826.0.1.1{number}{dose == 'full':d}")
    return PairFolder(root / "low", root / "full")


def middles(slices: PairDataset) -> list[int]:
    """The middle pixel of each slice, in HU above that of the first body."""
    start = body_hu()[:, 16, 18]
    return sorted(
        {round(float(WINDOW.denormalise(item["image"])[0, 16, 18] - start[n % 3])) for n, item in enumerate(slices)}
    )


def test_slices_come_in_the_range_of_the_network(tmp_path: Path) -> None:
    slices = PairDataset(folders(tmp_path, ["a", "b"]), "train", WINDOW)
    assert len(slices) == 3
    item = slices[2]
    assert item["image"].shape == item["label"].shape == (1, 32, 36)
    assert item["image"].dtype == torch.float32
    expected = WINDOW.normalise(torch.from_numpy(body_hu()[2] + 10))
    torch.testing.assert_close(item["label"][0], expected)


def test_whole_folders_are_held_out(tmp_path: Path) -> None:
    pairs = folders(tmp_path, ["a/1", "a/2", "b", "c", "d"])
    assert middles(PairDataset(pairs, "val", WINDOW)) == [0, 10]  # both series of patient a
    assert middles(PairDataset(pairs, "train", WINDOW)) == [20, 30, 40]
    assert middles(PairDataset(pairs, "val", WINDOW, 0.5)) == [0, 10, 20]
    assert middles(PairDataset(pairs, "train", WINDOW, 0.99)) == [40]  # something is left to train on


def test_of_one_folder_its_first_slices_are_held_out(tmp_path: Path) -> None:
    pairs = folders(tmp_path, ["a"])
    held_out, kept = (PairDataset(pairs, part, WINDOW, 0.3) for part in ("val", "train"))  # type: ignore[arg-type]
    assert (len(held_out), len(kept)) == (1, 2)
    first = WINDOW.normalise(torch.from_numpy(body_hu()[0]))
    torch.testing.assert_close(held_out[0]["label"][0], first)
    assert not any(torch.equal(item["label"][0], held_out[0]["label"][0]) for item in kept)


def test_a_single_slice_cannot_be_divided(tmp_path: Path) -> None:
    for dose in ("low", "full"):
        write_series(tmp_path / dose, stored_body(1))
    with pytest.raises(SeriesError, match="contains only one slice; fine-tuning needs slices for both training"):
        len(PairDataset(PairFolder(tmp_path / "low", tmp_path / "full"), "train", WINDOW))


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_all_or_nothing_is_no_division(tmp_path: Path, fraction: float) -> None:
    with pytest.raises(ConfigError, match=r"val_fraction=.*: must be between 0 and 1"):
        PairDataset(PairFolder(tmp_path, tmp_path), "train", WINDOW, fraction)
