"""From a manifest to slices: which series are decoded, how they are paired, what is refused."""

import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from tiny_data import TEST, VAL, TinyData

from ctcycle.data import store as store_module
from ctcycle.data.manifest import Manifest, read_manifest, write_manifest
from ctcycle.data.pairs import SliceRef
from ctcycle.data.scan import find_rows
from ctcycle.data.settings import Source
from ctcycle.data.slices import SliceData, load_slices, open_store
from ctcycle.data.store import SliceStore
from ctcycle.errors import ManifestError
from ctcycle.training.patches.loading import check_patch_size

TRAINED = {f"sim{number:03d}" for number in range(6)}


@pytest.fixture
def data(tiny: TinyData) -> SliceData:
    return load(tiny, "train", "val")


def load(tiny: TinyData, *splits: str, kernel: str | None = None) -> SliceData:
    return load_slices(tiny.manifest, open_store(tiny.manifest, None, 0.0192), kernel=kernel, splits=splits)


def patients(data: SliceData, places: list[SliceRef]) -> set[str]:
    return {data.row(place.series).patient for place in places}


def test_only_the_splits_that_are_asked_for_are_decoded(data: SliceData, tiny: TinyData) -> None:
    assert set(data.manifest.patients) == TRAINED | {VAL}
    assert len(data.series) == 14
    assert load(tiny, "test").manifest.patients == (TEST,)


def test_every_row_is_seen_once(tiny: TinyData) -> None:
    seen = []

    def watch(rows):  # type: ignore[no-untyped-def]
        for row in rows:
            seen.append(row.series)
            yield row

    store = open_store(tiny.manifest, None, 0.0192)
    loaded = load_slices(tiny.manifest, store, kernel="soft", splits=("val",), seen=watch)
    assert seen == [row.series for row in loaded.manifest]
    assert len(seen) == 2


def test_unpaired_domains_share_no_patient(data: SliceData) -> None:
    low, full = data.unpaired("disjoint_patients", seed=0)
    in_low, in_full = patients(data, low.refs), patients(data, full.refs)
    assert in_low | in_full == TRAINED
    assert not in_low & in_full
    assert {data.row(ref.series).dose for ref in low.refs} == {"low_dose"}
    assert {data.row(ref.series).dose for ref in full.refs} == {"full_dose"}
    low, full = data.unpaired("shuffled", seed=0)
    assert patients(data, low.refs) == patients(data, full.refs) == TRAINED


def test_pairs_show_the_same_place(data: SliceData) -> None:
    low, full = data.paired("train")
    assert len(low) == len(full) == 12
    for number, (one, other) in enumerate(zip(low.refs, full.refs, strict=True)):
        assert data.row(one.series).patient == data.row(other.series).patient
        assert low.series[one.series].positions_mm[one.slice_index] == pytest.approx(
            full.series[other.series].positions_mm[other.slice_index], abs=0.01
        )
        difference = low[number].astype(float) - full[number]
        assert 0 < difference.std() < 80
    assert patients(data, data.paired("val")[0].refs) == {VAL}


def test_slices_are_mapped_and_cheap_to_hand_over(data: SliceData) -> None:
    low, _ = data.paired("val")
    assert (low[0].dtype, low[0].shape) == (np.int16, (64, 64))
    sent = pickle.dumps(low)
    assert len(sent) < 2000
    np.testing.assert_array_equal(pickle.loads(sent)[1], low[1])  # noqa: S301 (our own bytes)


def test_neighbours_are_those_of_the_series(data: SliceData) -> None:
    low, _ = data.paired("val")
    assert [ref.slice_index for ref in low.refs] == [0, 1]
    np.testing.assert_array_equal(low.neighbour(0, 1), low[1])
    np.testing.assert_array_equal(low.neighbour(1, -1), low[0])
    assert low.neighbour(0, -1) is low.neighbour(1, 1) is low.neighbour(0, 2) is None


def test_whether_there_are_pairs(data: SliceData) -> None:
    assert data.has_pairs("train")
    assert not data.has_pairs("test")
    rows = tuple(row for row in data.manifest if row.split != "val" or row.dose == "low_dose")
    half = SliceData(Manifest(data.manifest.path, rows), data.series)
    assert not half.has_pairs("val")
    with pytest.raises(ManifestError, match=r"manifest\.csv, split 'val': no patient has both doses"):
        half.pairs("val")


def test_nothing_that_fits(tiny: TinyData) -> None:
    with pytest.raises(
        ManifestError,
        match=r"manifest\.csv: no series of kernel 'B30f' with a known dose in split train or val; "
        r"available kernels: soft$",
    ):
        load(tiny, "train", "val", kernel="B30f")


def test_the_store_lies_beside_the_manifest_or_where_it_is_wanted(tiny: TinyData, tmp_path: Path) -> None:
    row = read_manifest(tiny.manifest).rows[0]
    first = open_store(tiny.manifest, tmp_path / "store", 0.0192).open_row(row, tiny.manifest.parent)
    assert first.path.is_relative_to(tmp_path / "store")
    second = open_store(tiny.manifest, None, 0.0192).open_row(row, tiny.manifest.parent)
    assert second.path.is_relative_to(tiny.manifest.parent)


@pytest.mark.parametrize(
    ("size", "fits"), [((64, 64), True), ((65, 64), False), ((32, 65), False), (65, False), (64, True)]
)
def test_patches_larger_than_the_slices(data: SliceData, size: tuple[int, int] | int, fits: bool) -> None:
    low, _ = data.paired("val")
    if fits:
        check_patch_size(low, size)
        return
    rows, columns = (65, 65) if size == 65 else size
    sentence = rf"series \w+: slices are 64x64 px, smaller than the {rows}x{columns} px of data.patch_size; set"
    with pytest.raises(ManifestError, match=sentence):
        check_patch_size(low, size)


def moved(data: SliceData, right_px: float) -> SliceData:
    """The data with low dose moved to the right, in the headers only."""
    found = {}
    for row in data.manifest:
        stored = data.series[row.series]
        shift = right_px * stored.spacing_mm[2] if row.dose == "low_dose" else 0
        corners = tuple((x + shift, y, z) for x, y, z in stored.plane.corners_mm)
        found[row.series] = replace(stored, plane=replace(stored.plane, corners_mm=corners))
    return SliceData(data.manifest, found)


def test_slices_are_cut_to_the_common_part(data: SliceData) -> None:
    whole_low, whole_full = data.paired("val")
    low, full = moved(data, 3).paired("val")
    for number in (0, 1):
        np.testing.assert_array_equal(low[number], whole_low[number][:, :-3])
        np.testing.assert_array_equal(full[number], whole_full[number][:, 3:])
    np.testing.assert_array_equal(full.neighbour(0, 1), full[1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(low))[1], low[1])  # noqa: S301 (our own bytes)
    check_patch_size(low, (64, 61))
    with pytest.raises(ManifestError, match=r"slices are 64x61 px, smaller than the 62x62 px"):
        check_patch_size(low, 62)


def test_other_grids_are_refused_with_the_manifest_and_not_taken_for_unpaired(data: SliceData) -> None:
    other = moved(data, 0.5)
    assert other.has_pairs("val")
    with pytest.raises(
        ManifestError, match=r"manifest\.csv, split 'val': series \w+ \(low dose\) and \w+ \(full dose\)"
    ):
        other.paired("val")


def test_rows_without_dose_are_left_out(data: SliceData, tiny: TinyData, tmp_path: Path) -> None:
    text = tiny.manifest.read_text().replace(",series/", f",{tiny.series}/").replace(f"{VAL},low_dose", f"{VAL},")
    (tmp_path / "manifest.csv").write_text(text)
    found = load(replace(tiny, manifest=tmp_path / "manifest.csv"), "val")
    assert [row.dose for row in found.manifest] == ["full_dose"]


@pytest.fixture
def leaking(tiny: TinyData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, SliceStore, set[str]]:
    """A manifest that has a test patient a second time, for training, under another name; an empty store; the names."""
    monkeypatch.setattr(store_module, "SETTLED_NS", -1)  # what was just made counts as old, so that the index is used
    manifest, copy = read_manifest(tiny.manifest), tmp_path / "copy"
    held_out = next(row for row in manifest if row.patient == TEST and row.dose == "low_dose")
    copy.mkdir()
    for file in sorted((manifest.root / held_out.path).iterdir()):
        dataset = pydicom.dcmread(file)
        dataset.PatientID, dataset.SeriesInstanceUID = "Somebody^Else", "1.2.3"
        dataset.save_as(copy / file.name)
    (found,) = find_rows([Source(copy)], manifest.root).rows
    copied = replace(found, split="train", dose="low_dose")
    assert copied.patient != TEST
    write_manifest(tmp_path / "manifest.csv", replace(manifest, rows=(*manifest.rows, copied)))
    rows = read_manifest(tmp_path / "manifest.csv").rows
    names = {row.series for row in rows if row.patient == copied.patient or row.path.endswith(held_out.path)}
    return tmp_path / "manifest.csv", SliceStore(tmp_path / "store"), names


def test_one_patient_under_two_names_in_two_splits_is_found(leaking: tuple[Path, SliceStore, set[str]]) -> None:
    manifest, store, names = leaking
    with pytest.raises(
        ManifestError, match=r"contain the same slices, so they belong to one patient; give both"
    ) as error:
        load_slices(manifest, store, kernel=None, splits=("train", "test"))
    named = re.findall(r"[0-9a-f]{12}", str(error.value))
    assert set(named) <= {row.series for row in read_manifest(manifest)}
    assert names & set(named)
    assert "split train" in str(error.value)
    assert "split test" in str(error.value)


def test_splits_that_were_decoded_before_are_compared_too(leaking: tuple[Path, SliceStore, set[str]]) -> None:
    manifest, store, _names = leaking
    assert load_slices(manifest, store, kernel=None, splits=("train",)).series
    with pytest.raises(ManifestError, match="contain the same slices"):
        load_slices(manifest, store, kernel=None, splits=("test",))
