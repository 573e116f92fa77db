from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import apply_rescale

from ctcycle.config.components import Component
from ctcycle.config.training import PairedData
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.data.pair_check import anatomy_correlation
from ctcycle.data.pairs import SlicePair, SliceRef
from ctcycle.errors import ManifestError
from ctcycle.simulation.phantom import draw_slice, make_patient
from ctcycle.training.methods.supervised import check_pairs
from ctcycle.training.sampling import PairedPatches
from ctcycle.training.transforms import PatchTransform

HUSlice = NDArray[np.int16]
SIZE, PIXEL_MM = 256, 1.6
THRESHOLD = PairedData.model_fields["guard_threshold"].default
FLIP = Component.model_validate({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 0})
TRANSFORM = PatchTransform(128, (FLIP,), HUWindow(), 0.9)
PAIRS = [SlicePair(SliceRef("1.2.low", number), SliceRef("1.2.full", 7 + number)) for number in range(3)]


def anatomy(patient: int, slices: int = 3) -> list[NDArray[np.float32]]:
    drawn = make_patient(np.random.default_rng(patient))
    return [draw_slice(drawn, drawn.level_mm + 20 * number, SIZE, PIXEL_MM) for number in range(slices)]


def noisy(images: Sequence[NDArray[np.float32]], std_hu: float, seed: int) -> list[HUSlice]:
    rng = np.random.default_rng(seed)
    return [np.rint(image + rng.normal(0, std_hu, image.shape)).astype(np.int16) for image in images]


BODY, OTHER = anatomy(0), anatomy(1)
LOW, FULL = noisy(BODY, 60, seed=0), noisy(BODY, 20, seed=1)


def check(low: Sequence[HUSlice], full: Sequence[HUSlice], *, same_crop: bool = True) -> None:
    data = PairedPatches(low, full, TRANSFORM, 0, same_crop)
    check_pairs(data, PAIRS[: len(low)], THRESHOLD)


def test_true_pairs_pass_with_room_to_spare() -> None:
    check(LOW, FULL)
    assert min(anatomy_correlation(low, full) for low, full in zip(LOW, FULL, strict=True)) > 0.95


@pytest.mark.parametrize(
    "spoil",
    [
        lambda image: np.roll(image, 16, axis=1),
        lambda image: np.roll(image, -16, axis=0),
        lambda image: image[:, ::-1],
        lambda image: image[::-1],
        np.rot90,
    ],
    ids=["shifted right", "shifted up", "mirrored", "upside down", "turned"],
)
def test_slices_that_lie_otherwise_are_refused(spoil: Callable[[HUSlice], HUSlice]) -> None:
    with pytest.raises(ManifestError, match="anatomy does not match"):
        check(LOW, [np.ascontiguousarray(spoil(image)) for image in FULL])


def test_other_patients_are_refused() -> None:
    with pytest.raises(ManifestError, match="anatomy does not match"):
        check(LOW, noisy(OTHER, 20, seed=2))


def test_the_one_pair_that_does_not_match_is_named_with_what_was_found() -> None:
    full = [FULL[0], noisy(OTHER, 20, seed=3)[1], FULL[2]]
    message = (
        r"^low dose \(series 1\.2\.low slice 1\) and full dose \(series 1\.2\.full slice 8\): anatomy does not match "
        rf"\(correlation -?0\.\d\d, minimum {THRESHOLD}\); .*data\.guard=false"
    )
    with pytest.raises(ManifestError, match=message):
        check(LOW, full)


def test_every_pair_is_looked_at_and_counted() -> None:
    seen = []
    data = PairedPatches(LOW, FULL, TRANSFORM, 0)
    check_pairs(data, PAIRS, THRESHOLD, lambda numbers: (seen.append(number) or number for number in numbers))
    assert seen == [0, 1, 2]


def test_crops_at_different_places_are_refused() -> None:
    with pytest.raises(ManifestError, match=r"slice 0\).*cropped or flipped differently; set data.same_crop=true"):
        check(LOW, FULL, same_crop=False)


def test_the_guard_compares_anatomy_not_values() -> None:
    low, full = LOW[0].astype(np.float32), FULL[0].astype(np.float32)
    assert anatomy_correlation(low, full) == pytest.approx(anatomy_correlation(LOW[0], FULL[0]), abs=1e-6)
    metal = low.copy()
    metal[100:110, 100:110] = 20_000
    assert anatomy_correlation(metal, full) > 0.9


def test_noise_alone_is_no_anatomy() -> None:
    flat = [np.zeros((SIZE, SIZE), np.float32) for _ in range(2)]
    assert abs(anatomy_correlation(*noisy(flat, 40, seed=4))) < 0.2


@pytest.mark.parametrize(
    ("low", "full", "expected"),
    [(-1000, -1000, 1.0), (40, 40, 1.0), (40, 41, 0.0), (40, -1000, 0.0)],
    ids=["air", "the same constant", "another constant", "body and air"],
)
def test_slices_without_structure(low: int, full: int, expected: float) -> None:
    images = (np.full((64, 64), value, np.int16) for value in (low, full))
    assert anatomy_correlation(*images) == expected


def test_true_pairs_stand_apart_from_slices_20_mm_away_at_half_the_resolution_too() -> None:
    low, full = ([image[::2, ::2] for image in images] for images in (LOW, FULL))
    true = [anatomy_correlation(*pair) for pair in zip(low, full, strict=True)]
    other = [anatomy_correlation(low[i], full[j]) for i in range(3) for j in range(3) if i != j]
    assert min(true) > 0.9 > max(other)


@pytest.mark.real_data
def test_real_pairs_are_told_from_their_mirror_images_and_from_other_patients(real_data: Path) -> None:
    def slices(folder: str) -> list[HUSlice]:
        files = sorted((real_data / "mayo2016_pairs" / folder).glob("*.IMA"))
        return [np.asarray(apply_rescale(image.pixel_array, image)) for image in map(dcmread, files)]

    low, full = slices("L143/3mm_D45f/quarter_dose"), slices("L143/3mm_D45f/full_dose")
    assert len(low) == len(full) > 3
    pairs = list(zip(low, full, strict=True))
    assert min(anatomy_correlation(*pair) for pair in pairs) > 0.9
    assert max(anatomy_correlation(a, b[:, ::-1]) for a, b in pairs) < THRESHOLD
    assert max(anatomy_correlation(a, b) for a, (_, b) in zip(low, pairs[1:], strict=False)) < THRESHOLD
