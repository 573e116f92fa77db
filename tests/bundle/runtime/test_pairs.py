"""Pairs of a bundle's user, and their scores."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_measures as by_scikit_image
import torch
from phantom_series import body_hu, change, save, slice_dataset, stored_body, write_series
from pydicom import dcmread
from torch import nn

from ctcycle.bundle.runtime.app import BundledModel
from ctcycle.bundle.runtime.pairs import PROTOCOL, PairEvaluation, PairFolder, find_pairs
from ctcycle.ct.hounsfield import HUWindow, hu_to_mu
from ctcycle.errors import SeriesError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two patients, noisy and less so, in two folders laid out alike."""
    low, full = tmp_path / "low", tmp_path / "full"
    for number in range(2):
        clean = body_hu(seed=number)
        noisy = clean + np.random.default_rng(number).normal(0, 40, clean.shape)
        for folder, hu in ((low, noisy), (full, clean)):
            stored = np.rint(hu.clip(-1024, 3000) + 1024).astype("uint16")
            write_series(folder / f"p{number}" / "ct", stored, f"1.2.826.0.1.1{number}{folder.name == 'full':d}")
    return low, full


def test_series_at_the_same_place_are_pairs(folders: tuple[Path, Path]) -> None:
    write_series(folders[0] / "p9" / "ct", series="1.2.826.0.1.9")  # its full dose is absent
    pairs = find_pairs(*folders)
    assert [pair.name for pair in pairs] == ["p0/ct", "p1/ct"]
    low, full = next(pairs[1].slices())
    assert low.shape == full.shape == (32, 36)
    np.testing.assert_array_equal(full, body_hu(seed=1)[0])
    assert 30 < np.std((low - full)[full > 0]) < 50


def test_two_single_series_are_a_pair_wherever_they_lie(tmp_path: Path) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b" / "c", series="1.2.826.0.1.78")
    assert [pair.name for pair in find_pairs(tmp_path / "a", tmp_path / "b")] == ["."]


def test_nothing_in_common_is_told(tmp_path: Path) -> None:
    for name in ("low/a", "low/b", "full/c", "full/d"):
        write_series(tmp_path / name, series=f"1.2.826.0.1.{ord(name[-1])}")
    with pytest.raises(SeriesError, match="no series has the same path in both"):
        find_pairs(tmp_path / "low", tmp_path / "full")


def test_two_series_in_a_folder_are_told(tmp_path: Path) -> None:
    for folder in ("low", "full"):
        for series in "12":
            names = [f"{series}-{number}.dcm" for number in range(3)]
            write_series(tmp_path / folder, series=f"1.2.826.0.1.{series}", names=names)
    with pytest.raises(SeriesError, match="low: contains 2 series; move each into its own folder"):
        find_pairs(tmp_path / "low", tmp_path / "full")


def test_other_slices_are_no_pair(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_series(tmp_path / "short", stored_body(2), "1.2.826.0.1.80")
    with pytest.raises(SeriesError, match=r"low dose is \(3, 32, 36\), full dose is \(2, 32, 36\)"):
        find_pairs(folders[0] / "p0", tmp_path / "short")
    for number, stored in enumerate(stored_body(), start=1):
        dataset = slice_dataset(stored, "1.2.826.0.1.81", number)
        change(dataset, {"ImagePositionPatient": [-10.0, -20.0, 2.0 * number + 5]})
        save(dataset, tmp_path / "moved" / f"{number}.dcm")
    with pytest.raises(SeriesError, match=r"slices are up to 5\.0 mm from those of the full dose"):
        find_pairs(folders[0] / "p0", tmp_path / "moved")


def test_several_images_at_one_position_are_no_pair(folders: tuple[Path, Path]) -> None:
    for number, folder in enumerate(folders):
        again = slice_dataset(stored_body(4)[3], f"1.2.826.0.1.10{number}", 2)
        save(again, folder / "p0" / "ct" / "again.dcm")
    with pytest.raises(SeriesError, match=r"p0.ct: has several images at one position; separate them to form pairs"):
        find_pairs(*folders)


def test_the_common_part_of_shifted_series_is_used(folders: tuple[Path, Path]) -> None:
    whole_low, whole_full = next(find_pairs(*folders)[0].slices())
    for file in sorted((folders[0] / "p0" / "ct").iterdir()):
        dataset = dcmread(file)
        dataset.ImagePositionPatient[1] += 3 * 0.75
        dataset.save_as(file)
    low, full = next(find_pairs(*folders)[0].slices())
    np.testing.assert_array_equal(low, whole_low[:-3])
    np.testing.assert_array_equal(full, whole_full[3:])
    assert PairFolder(*folders)[0]["label"].shape == (3, 29, 36)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"PixelSpacing": [0.75, 0.51]}, r"pixel sizes differ \(0\.75 x 0\.5 and 0\.75 x 0\.51 mm\)"),
        ({"ImageOrientationPatient": [0.0, 1.0, 0.0, -1.0, 0.0, 0.0]}, r"orientations differ"),
    ],
    ids=["pixel size", "orientation"],
)
def test_other_grids_are_no_pair(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", series="1.2.826.0.1.78", changes=changes)
    with pytest.raises(SeriesError, match=rf"a \(low dose\) and .*b \(full dose\): {says}.*; reconstruct or resample"):
        find_pairs(tmp_path / "a", tmp_path / "b")


class Halved(nn.Module):
    """A network that takes half of every value."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.zeros(()))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image * self.factor


@pytest.fixture
def model(tmp_path: Path) -> BundledModel:
    (tmp_path / "bundle" / "models").mkdir(parents=True)
    torch.save({"factor": torch.tensor(0.5)}, tmp_path / "bundle" / "models" / "model.pt")
    return BundledModel(tmp_path / "bundle", Halved(), HUWindow(), device="cpu")


def test_an_evaluation_scores_input_and_output_slice_by_slice(
    folders: tuple[Path, Path], model: BundledModel, tmp_path: Path
) -> None:
    text = PairEvaluation(PairFolder(*folders), tmp_path / "out", model).run()
    found: dict[str, Any] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["protocol"] == PROTOCOL
    assert [(record["series"], record["slice"]) for record in found["slices"]] == [
        (f"p{patient}/ct", number) for patient in range(2) for number in range(3)
    ]
    low, full = list(find_pairs(*folders)[1].slices())[2]
    inside = (low >= -1000) & (low <= 1000)
    reference = full.clip(-1000, 1000).astype(np.float64)
    for method, output in (("input", low), ("denoised", np.where(inside, low / 2, low))):
        clipped = output.clip(-1000, 1000).astype(np.float64)
        rmse = np.sqrt(np.mean((clipped - reference) ** 2))
        ssim = by_scikit_image.ssim(clipped, reference, 2000)
        expected = {"rmse_hu": rmse, "psnr_db": 20 * np.log10(2000 / rmse), "ssim": ssim}
        assert found["slices"][-1][method] == pytest.approx(expected, rel=1e-4)
    mean = np.mean([record["input"]["psnr_db"] for record in found["slices"]])
    assert found["means"]["input"]["psnr_db"] == pytest.approx(mean)
    assert f"{mean:.2f}" in text
    assert "6 slices of 2 series" in text


def test_equal_slices_have_no_psnr(folders: tuple[Path, Path], model: BundledModel, tmp_path: Path) -> None:
    text = PairEvaluation(PairFolder(folders[1], folders[1]), tmp_path / "out", model).run()
    found: dict[str, Any] = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert found["slices"][0]["input"] == {"rmse_hu": 0.0, "psnr_db": None, "ssim": 1.0}
    assert found["means"]["input"] == {"rmse_hu": 0.0, "psnr_db": None, "ssim": 1.0}
    assert re.search(r"^input +0\.0 +- +1\.0000$", text, re.MULTILINE)


def test_items_are_volumes_in_hu(folders: tuple[Path, Path]) -> None:
    dataset = PairFolder(*folders)
    item = dataset[1]
    assert len(dataset) == 2
    assert item["image"].shape == item["label"].shape == (3, 32, 36)
    np.testing.assert_array_equal(item["label"].numpy(), body_hu(seed=1))
    assert item["path"] == "p1/ct"


def test_attenuation_is_read_with_the_water_that_the_config_gives(tmp_path: Path) -> None:
    hu = body_hu().clip(-1000, None)
    for folder in ("low", "full"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "mu.npy", hu_to_mu(hu, 0.025))
    item = PairFolder(tmp_path / "low", tmp_path / "full", 0.025)[0]
    for name in ("image", "label"):
        np.testing.assert_allclose(item[name].numpy(), hu, atol=0.01)
