import re
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.pixels import apply_rescale

from ctcycle.config.components import Component
from ctcycle.config.training import PairedData
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.data import pair_check
from ctcycle.data.pair_check import PairGuard, anatomy_correlation
from ctcycle.data.pairs import SlicePair, SliceRef
from ctcycle.data.store import to_int16
from ctcycle.errors import ManifestError
from ctcycle.simulation.phantom import draw_slice, make_patient
from ctcycle.training.methods.supervised import check_same_crop
from ctcycle.training.patches.sampling import PairedPatches
from ctcycle.training.patches.transforms import PatchTransform

HUSlice = NDArray[np.int16]
SIZE, PIXEL_MM = 256, 1.6
THRESHOLD = PairedData.model_fields["guard_threshold"].default
FLIP = Component.model_validate({"_target_": "RandFlip", "prob": 0.5, "spatial_axis": 0})
TRANSFORM = PatchTransform(128, (FLIP,), HUWindow(), 0.9)
DOSE_FOLDERS = ("quarter_dose", "full_dose")
REMEDY = "set data.guard=false to train anyway"
PAIRS = [SlicePair(SliceRef("1.2.low", number), SliceRef("1.2.full", 7 + number)) for number in range(3)]


class Stack(list[HUSlice]):
    """Full-dose slices of one series, all of which have a partner."""

    def neighbour(self, number: int, step: int) -> HUSlice | None:
        return self[number + step] if 0 <= number + step < len(self) else None


@cache
def anatomy(patient: int, slices: int = 3, apart_mm: float = 20) -> list[NDArray[np.float32]]:
    drawn = make_patient(np.random.default_rng(patient))
    return [draw_slice(drawn, drawn.level_mm + apart_mm * number, SIZE, PIXEL_MM) for number in range(slices)]


def noisy(images: Sequence[NDArray[np.float32]], std_hu: float, seed: int) -> list[HUSlice]:
    rng = np.random.default_rng(seed)
    return [np.rint(image + rng.normal(0, std_hu, image.shape)).astype(np.int16) for image in images]


BODY, OTHER = anatomy(0), anatomy(1)
LOW, FULL = noisy(BODY, 60, seed=0), noisy(BODY, 20, seed=1)


def check(low: Sequence[HUSlice], full: Sequence[HUSlice]) -> None:
    pairs = [SlicePair(SliceRef("1.2.low", number), SliceRef("1.2.full", 7 + number)) for number in range(len(low))]
    PairGuard(THRESHOLD, REMEDY).check(low, Stack(full), pairs)


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
    guard = PairGuard(THRESHOLD, REMEDY)
    guard.check(LOW, Stack(FULL), PAIRS, lambda numbers: (seen.append(number) or number for number in numbers))
    assert seen == [0, 1, 2]


def series(slices: int, apart_mm: float, noise_hu: float = 60, patient: int = 0) -> tuple[list[HUSlice], list[HUSlice]]:
    """Both doses of adjacent slices."""
    body = anatomy(patient, slices, apart_mm)
    return noisy(body, noise_hu, seed=10), noisy(body, 20, seed=11)


@pytest.mark.parametrize(
    ("apart_mm", "off", "says"),
    [
        (2, 1, "the next"),
        (2, -1, "the previous"),
        (2, 2, "a later"),
        (2, -3, "an earlier"),
        (5, 1, "the next"),
        (5, -1, "the previous"),
    ],
)
def test_series_that_are_off_by_whole_slices_are_refused(apart_mm: float, off: int, says: str) -> None:
    low, full = series(9, apart_mm)
    shifted = (low[off:], full[:-off]) if off > 0 else (low[:off], full[-off:])
    known = 9 - abs(off) - 1
    distance = "one slice" if abs(off) == 1 else f"{abs(off)} slices"
    message = (
        rf"^low dose \(series 1\.2\.low\) and full dose \(series 1\.2\.full\) seem to be off by {distance}: "
        rf"\d of {known} low-dose slices match {says} full-dose slice better; .*data\.guard=false"
    )
    with pytest.raises(ManifestError, match=message):
        check(*shifted)


def test_series_that_are_far_off_are_refused_even_if_no_neighbour_matches() -> None:
    low, full = series(9, 5)
    with pytest.raises(ManifestError, match=r"seem to be off by|anatomy does not match"):
        check(low[:-3], full[3:])


@pytest.mark.parametrize("apart_mm", [0.5, 2, 5])
@pytest.mark.parametrize("noise_hu", [20, 90])
def test_true_pairs_of_adjacent_slices_pass(apart_mm: float, noise_hu: float) -> None:
    low, full = series(9, apart_mm, noise_hu)
    for slices in (1, 2, 3, 9):
        check(low[:slices], full[:slices])


def test_a_body_that_is_the_same_in_all_slices_passes() -> None:
    check(noisy([BODY[0]] * 8, 60, seed=12), noisy([BODY[0]] * 8, 20, seed=13))


def test_few_slices_in_the_wrong_place_are_not_taken_for_an_offset() -> None:
    low, full = series(9, 2)
    check([low[0], low[2], *low[2:]], full)


def test_one_low_dose_slice_is_compared_with_the_whole_full_dose_series() -> None:
    low, full = series(9, 2)
    stack, pair = Stack(full), [SlicePair(SliceRef("1.2.low", 0), SliceRef("1.2.full", 0))]
    PairGuard(THRESHOLD, REMEDY).check(low[:1], stack, pair)
    with pytest.raises(ManifestError, match=r"off by one slice: 1 of 1 low-dose slices match the next"):
        PairGuard(THRESHOLD, REMEDY).check(low[1:2], stack, pair)


def test_each_series_is_judged_by_itself_and_named() -> None:
    (low, full), (other_low, other_full) = series(6, 2), series(6, 2, patient=1)
    pairs = [SlicePair(SliceRef(f"{name}.low", i), SliceRef(f"{name}.full", i)) for name in "ab" for i in range(5)]
    with pytest.raises(ManifestError, match=r"series b\.low\) and full dose \(series b\.full\) seem to be off"):
        PairGuard(THRESHOLD, REMEDY).check([*low[:5], *other_low[1:]], Stack([*full[:5], *other_full[:5]]), pairs)


def test_other_anatomy_is_reported_before_an_offset() -> None:
    (low, full), (other, _) = series(6, 2), series(6, 2, patient=1)
    pairs = [SlicePair(SliceRef(f"{name}.low", i), SliceRef(f"{name}.full", i)) for name in "ab" for i in range(5)]
    with pytest.raises(ManifestError, match=r"^low dose \(series b\.low slice 0\) .*anatomy does not match"):
        PairGuard(THRESHOLD, REMEDY).check([*low[1:], *other[:5]], Stack([*full[:5], *full[:5]]), pairs)


def test_the_cost_of_a_long_series_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = []
    original = pair_check._anatomy
    monkeypatch.setattr(pair_check, "_anatomy", lambda image: prepared.append(1) or original(image))
    low, full = ([image[::8, ::8] for image in images] for images in series(3, 2))
    check([low[1]] * 60, [full[1]] * 60)
    assert len(prepared) <= 2 * 60 + 2 * 24


def test_crops_at_different_places_are_refused() -> None:
    check_same_crop(PairedPatches(LOW, FULL, TRANSFORM, 0), PAIRS)
    with pytest.raises(ManifestError, match=r"slice 0\).*cropped or flipped differently; set data.same_crop=true"):
        check_same_crop(PairedPatches(LOW, FULL, TRANSFORM, 0, same_crop=False), PAIRS)


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
@pytest.mark.parametrize("series", ["L143/3mm_B30f", "L143/3mm_D45f", "L096/3mm_D45f", "L067/3mm_B30f"])
def test_real_pairs_pass(real_data: Path, series: str) -> None:
    folder = real_data / "mayo2016_pairs" / series
    low, full = ([*map(to_int16, map(read_series, find_series(folder / dose)[0]))] for dose in DOSE_FOLDERS)
    check([*low[0]], [*full[0]])


@pytest.mark.slow
@pytest.mark.real_data
def test_a_real_series_of_adjacent_slices_that_is_off_by_one_is_refused(real_data: Path) -> None:
    (info,), _ = find_series(real_data / "mayo2016_unpaired" / "L109_quarter_3mm_B30f")
    full = [*to_int16(read_series(info))]
    low = noisy(full, 60, seed=14)
    check(low, full)
    with pytest.raises(ManifestError, match=r"off by one slice: 14 of 14 low-dose slices match the next"):
        check(low[1:], full[:-1])


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


def test_pairs_with_the_same_pixels_are_refused() -> None:
    message = (
        r"^low dose \(series 1\.2\.low slice 1\) and full dose \(series 1\.2\.full slice 8\): both have the same "
        r"pixels, so there is no noise to remove; .*data\.guard=false"
    )
    with pytest.raises(ManifestError, match=message):
        check(LOW, [FULL[0], LOW[1], FULL[2]])


@pytest.mark.parametrize(("low_hu", "full_hu", "warned"), [(60, 20, False), (20, 60, True), (30, 30, False)])
def test_a_low_dose_with_less_noise_is_warned_of(
    low_hu: float, full_hu: float, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    flat = [image + np.where(image > -500, 50 - image, 0) * 0.9 for image in BODY]
    check(noisy(flat, low_hu, seed=20), noisy(flat, full_hu, seed=21))
    assert ("the doses may be swapped" in caplog.text) == warned
    if warned:
        found = re.search(
            r"series 1\.2\.low\) has (\d+) HU of fine noise, full dose \(series 1\.2\.full\) (\d+) HU", caplog.text
        )
        assert found is not None
        assert [int(value) for value in found.groups()] == [pytest.approx(20, rel=0.3), pytest.approx(60, rel=0.15)]
