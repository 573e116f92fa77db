import itertools
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ctcycle.ct.grids import Window
from ctcycle.ct.series import SeriesInfo, SlicePlane
from ctcycle.data.domains import domains
from ctcycle.data.manifest import ManifestRow
from ctcycle.data.pairs import SlicePair, SliceRef, match_pairs, pair_slices, paired_patients
from ctcycle.data.settings import SplitSettings
from ctcycle.data.splits import assign_splits
from ctcycle.errors import ManifestError


def row(patient, dose, slices=20, **changes):
    series = changes.pop("series", f"{patient}-{dose}")
    plain = ManifestRow(series, patient, dose, None, "B30f", 3.0, 0.7, 512, 512, slices, "", "dicom", series, "")
    return replace(plain, **changes)


def both(patient, slices=20, **changes):
    return [row(patient, "low_dose", slices, **changes), row(patient, "full_dose", slices, **changes)]


def of(dose, rows):
    return [one for one in rows if one.dose == dose]


def split(rows, protocol, seed=0, positions=lambda one: [3.0 * index for index in range(one.slices)]):
    return domains(of("low_dose", rows), of("full_dose", rows), protocol, seed, positions)


def splits_of(rows, **settings):
    return {one.patient: one.split for one in assign_splits(rows, SplitSettings(**settings))}


# --- splits


def test_named_patients_go_where_they_are_named_and_the_others_train():
    rows = both("A") + both("B") + both("C")
    assert splits_of(rows, test=("B",), val=("C",)) == {"A": "train", "B": "test", "C": "val"}
    assert splits_of(rows) == dict.fromkeys("ABC", "train")


def test_named_training_patients_are_all_that_train():
    assert splits_of(both("A") + both("B") + both("C"), train=("A",), test=("B",)) == {
        "A": "train",
        "B": "test",
        "C": "",
    }


def test_rows_keep_their_order_and_all_else():
    rows = both("B") + both("A")
    assigned = assign_splits(rows, SplitSettings(test=("A",)))
    assert [replace(one, split="") for one in assigned] == rows


def test_a_split_that_rows_have_holds_for_their_whole_patient_unless_named():
    rows = [row("A", "low_dose", split="test"), row("A", "full_dose"), *both("B")]
    assert splits_of(rows) == {"A": "test", "B": "train"}
    assert splits_of(rows, val=("A",)) == {"A": "val", "B": "train"}


def test_rows_of_one_patient_that_disagree_are_refused_unless_the_settings_decide():
    rows = [row("A", "low_dose", split="test"), row("A", "full_dose", split="train")]
    with pytest.raises(
        ManifestError, match=r"series A-full_dose is in split 'train', but A-low_dose of the same patient"
    ):
        splits_of(rows)


def test_a_name_that_is_no_patient_is_refused():
    with pytest.raises(ManifestError, match=r"split: no patient 'L5O6'; did you mean 'L506'\?"):
        splits_of(both("L506"), test=("L5O6",))
    with pytest.raises(ManifestError, match=r"split: no patient 'X'; found: L506"):
        splits_of(both("L506"), test=("X",))


names = st.lists(st.text("ABCDEFG", min_size=3, max_size=5), min_size=5, max_size=30, unique=True)


@given(names=names, seed=st.integers(0, 1000), order=st.randoms(use_true_random=False))
def test_fractions_give_their_share_and_do_not_depend_on_the_order(names, seed, order):
    rows = [one for name in names for one in both(name)]
    shuffled = order.sample(rows, len(rows))
    settings = {"val_fraction": 0.2, "test_fraction": 0.3, "seed": seed}
    found = splits_of(rows, **settings)
    assert found == splits_of(shuffled, **settings)
    shares = Counter(found.values())
    assert shares["val"] == max(1, round(0.2 * len(names)))
    assert shares["test"] == max(1, round(0.3 * len(names)))
    assert all(
        len({one.split for one in assign_splits(rows, SplitSettings(**settings)) if one.patient == n}) == 1
        for n in names
    )


def test_the_seed_chooses_and_every_patient_can_be_chosen():
    rows = [one for name in "ABCDE" for one in both(name)]
    tests = Counter(
        next(name for name, split in splits_of(rows, test_fraction=0.2, seed=seed).items() if split == "test")
        for seed in range(500)
    )
    assert set(tests) == set("ABCDE")
    assert min(tests.values()) > 60  # 100 expected; 4.5 standard deviations


def test_fractions_take_only_patients_with_matching_series_of_both_doses():
    rows = [row(name, "full_dose") for name in "ABCDEFGH"] + both("P") + both("Q") + [row("L", "low_dose")]
    for seed in range(20):
        found = splits_of(rows, val_fraction=0.1, test_fraction=0.1, seed=seed)
        assert {name for name, split in found.items() if split != "train"} == {"P", "Q"}
    alone = [row(name, dose) for name, dose in zip("ABCDEF", ["low_dose", "full_dose"] * 3, strict=True)]
    alone += [row("G", "low_dose", kernel="B30f"), row("G", "full_dose", kernel="D45f")]
    assert splits_of(alone, val_fraction=0.3, test_fraction=0.3) == dict.fromkeys("ABCDEFG", "train")


def test_fractions_leave_out_the_decided():
    rows = both("A") + both("B") + both("C") + both("D", split="train")
    assert splits_of(rows, test=("A",), val_fraction=0.5)["A"] == "test"
    assert Counter(splits_of(rows, test=("A",), val_fraction=0.5).values()) == {"test": 1, "val": 1, "train": 2}


def test_of_too_few_patients_training_gets_one_first_then_testing():
    fractions = {"val_fraction": 0.1, "test_fraction": 0.1}
    for names, expected in (("A", ["train"]), ("AB", ["test", "train"]), ("ABC", ["test", "train", "val"])):
        assert sorted(splits_of([one for name in names for one in both(name)], **fractions).values()) == expected


def test_training_never_loses_a_dose_to_the_fractions():
    rows = [row(name, "full_dose") for name in "ABCD"] + both("P") + both("Q")
    found = splits_of(rows, val_fraction=0.1, test_fraction=0.1)
    assert Counter(found[name] for name in "PQ") == {"test": 1, "train": 1}
    found = splits_of([*both("P"), row("L", "low_dose", split="train"), row("F", "full_dose")], test_fraction=0.1)
    assert found == {"P": "test", "L": "train", "F": "train"}
    found = splits_of([*both("P"), row("L", "low_dose", split="val"), row("F", "full_dose")], test_fraction=0.1)
    assert found == {"P": "train", "L": "val", "F": "train"}


# --- pairs


def test_pairs_are_found_by_position_in_any_order():
    assert match_pairs([9.0, 3.0, 6.0], [0.0, 3.04, 6.04, 9.04]) == [(1, 1), (2, 2), (0, 3)]


def test_slices_further_apart_than_half_a_millimetre_are_no_pair():
    assert match_pairs([0.0, 3.0], [0.49, 3.51]) == [(0, 0)]
    assert match_pairs([0.0], [0.5]) == []


def test_thin_slices_match_within_half_their_distance():
    assert match_pairs([0.0, 0.4, 0.8], [0.19, 0.61, 1.1]) == [(0, 0), (2, 1)]


def test_slice_numbers_match_where_they_are_equal():
    assert match_pairs([1, 25, 49], [49, 26, 1]) == [(0, 2), (2, 0)]


@given(
    st.lists(st.integers(-400, 400), unique=True),
    st.lists(st.integers(-400, 400), unique=True),
    st.floats(-0.45, 0.45),
)
def test_matching_equals_the_search_through_all_combinations(low, full, offset):
    full_mm = [value + offset for value in full]
    expected = sorted((low.index(z), full.index(z)) for z in set(low) & set(full))
    assert sorted(match_pairs(low, full_mm)) == expected


def test_series_pair_by_patient_kernel_thickness_and_size():
    low = row("A", "low_dose")
    for change in ({"patient": "B"}, {"kernel": "D45f"}, {"thickness_mm": 1.0}, {"rows": 256}, {"format": "npy"}):
        with pytest.raises(ManifestError, match=r"no patient has both doses with the same kernel"):
            pair_slices([low, replace(row("A", "full_dose"), **change)], lambda _: [0.0])
        assert paired_patients([low, replace(row("A", "full_dose"), **change)]) == set()
    assert paired_patients([*both("A"), row("B", "low_dose")]) == {"A"}


def test_each_low_dose_slice_gets_one_partner_from_any_full_dose_series():
    rows = [
        row("A", "low_dose", series="q"),
        row("A", "full_dose", series="f1"),
        row("A", "full_dose", series="f2"),
        row("B", "full_dose", series="g"),
    ]
    positions = {"q": [0.0, 3.0, 6.0, 9.0], "f1": [3.0, 0.0], "f2": [3.0, 6.0], "g": [9.0]}
    expected = [
        SlicePair(SliceRef("q", 0), SliceRef("f1", 1)),
        SlicePair(SliceRef("q", 1), SliceRef("f1", 0)),
        SlicePair(SliceRef("q", 2), SliceRef("f2", 1)),
    ]
    for order in itertools.permutations(rows):
        assert pair_slices(order, lambda one: positions[one.series]) == expected


def test_a_series_without_any_common_position_is_refused_by_its_name():
    positions = {"A-low_dose": [0.0, 3.0], "A-full_dose": [1.5, 4.5]}
    with pytest.raises(ManifestError, match=r"^series A-low_dose: no slice is at the position of a full-dose slice"):
        pair_slices(both("A"), lambda one: positions[one.series])


def test_series_with_other_grids_are_refused_by_name_unless_another_fits():
    rows = [row("A", "low_dose", series="q"), row("A", "full_dose", series="f1"), row("A", "full_dose", series="f2")]
    grid = SeriesInfo("dicom", Path(), (), "", (2, 9, 9), (3.0, 0.8, 0.8), (0.0, 3.0), "", 0, "")
    other = replace(grid, spacing_mm=(3.0, 0.7, 0.7))
    positions = lambda _: [0.0, 3.0]  # noqa: E731
    pairs = pair_slices(rows, positions, lambda one: other if one.series == "f1" else grid)
    assert pairs == [SlicePair(SliceRef("q", index), SliceRef("f2", index)) for index in (0, 1)]
    message = (
        r"^series q \(low dose\) and f1 \(full dose\): pixel sizes differ \(0\.8 x 0\.8 and 0\.7 x 0\.7 mm\); "
        "reconstruct or resample one series on the pixel grid of the other, or remove one$"
    )
    with pytest.raises(ManifestError, match=message):
        pair_slices(rows, positions, lambda one: grid if one.series == "q" else other)


def test_series_that_are_shifted_by_whole_pixels_pair_in_their_common_part():
    def grid(one):
        left = -2.0 if one.dose == "low_dose" else 0.0
        plane = SlicePlane((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), ((left, 0.0, 0.0), (left, 0.0, 3.0)))
        return SeriesInfo("dicom", Path(), (), "", (2, 9, 9), (3.0, 1.0, 1.0), (0.0, 3.0), "", 0, "", plane=plane)

    first, second = pair_slices(both("A"), lambda _: [0.0, 3.0], grid)
    assert first.low_dose == SliceRef("A-low_dose", 0, Window(0, 2, 9, 7))
    assert second.full_dose == SliceRef("A-full_dose", 1, Window(0, 0, 9, 7))


# --- domains


def test_shuffled_takes_all_slices():
    found = split([*both("A", 2), row("B", "full_dose", 1)], "shuffled")
    assert found.low_dose == [SliceRef("A-low_dose", 0), SliceRef("A-low_dose", 1)]
    assert found.full_dose == [SliceRef("A-full_dose", 0), SliceRef("A-full_dose", 1), SliceRef("B-full_dose", 0)]


def patients_in(refs):
    return {ref.series.partition("-")[0] for ref in refs}


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=8),
    alone=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    seed=st.integers(0, 99),
)
def test_patients_apart_share_nobody_lose_nobody_and_balance(sizes, alone, seed):
    rows = [one for number, size in enumerate(sizes) for one in both(f"P{number}", size)]
    rows += [row("L", "low_dose", alone[0])] * (alone[0] > 0) + [row("F", "full_dose", alone[1])] * (alone[1] > 0)
    found = split(rows, "disjoint_patients", seed)
    low, full = patients_in(found.low_dose), patients_in(found.full_dose)
    assert low.isdisjoint(full)
    assert low | full == {one.patient for one in rows}
    start = abs(alone[0] - alone[1])
    assert abs(len(found.low_dose) - len(found.full_dose)) <= max(*sizes, start)
    assert split(rows[::-1], "disjoint_patients", seed) == found


def test_patients_of_very_different_size_are_balanced():
    rows = [one for name, size in {"A": 10, "B": 10, "C": 10, "D": 30}.items() for one in both(name, size)]
    for seed in range(10):
        found = split(rows, "disjoint_patients", seed)
        assert len(found.low_dose) == len(found.full_dose) == 30


def test_the_seed_chooses_who_is_low():
    rows = both("A") + both("B")
    low = {frozenset(patients_in(split(rows, "disjoint_patients", seed).low_dose)) for seed in range(30)}
    assert low == {frozenset("A"), frozenset("B")}


def test_one_patient_cannot_stand_on_both_sides():
    with pytest.raises(
        ManifestError,
        match=r"^data\.protocol=disjoint_patients leaves no .*, since 1 patient has both doses; set data\.protocol to",
    ):
        split(both("A"), "disjoint_patients")


def test_a_domain_without_series_is_refused():
    with pytest.raises(ManifestError, match=r"no low_dose series is selected; set the columns dose and split of"):
        split([row("A", "full_dose")], "shuffled")


@given(
    count=st.integers(2, 120),
    extra=st.integers(0, 30),
    spacing=st.sampled_from([0.8, 1.0, 3.0, 5.0]),
    jitter=st.floats(-0.4, 0.4),
    seed=st.integers(0, 9),
)
def test_slices_apart_never_show_one_position_in_both_domains(count, extra, spacing, jitter, seed):
    rows = [row("A", "low_dose", count), row("A", "full_dose", count + extra)]
    low_z = spacing * np.arange(count) - 200
    full_z = (spacing * (np.arange(count + extra) + jitter) - 200)[::-1]
    found = split(rows, "disjoint_slices", seed, lambda one: low_z if one.dose == "low_dose" else full_z)
    low = low_z[[ref.slice_index for ref in found.low_dose]]
    full = full_z[[ref.slice_index for ref in found.full_dose]]
    assert np.abs(low[:, None] - full[None, :]).min() > 0.5 * spacing
    assert len(low) + np.sum(full < low_z[-1] + spacing / 2) == count
    assert min(len(low), len(full)) >= 0.3 * count


def test_slices_apart_stand_in_blocks():
    found = split(both("A", 100), "disjoint_slices")
    low = [ref.slice_index for ref in found.low_dose]
    full = [ref.slice_index for ref in found.full_dose]
    assert sorted(low + full) == list(range(100))
    changes = np.count_nonzero(np.diff(np.isin(np.arange(100), low)))
    assert changes == 9
    assert 40 <= len(low) <= 60


def test_slices_apart_hold_across_thicknesses_and_leave_single_doses_alone():
    rows = [*both("A", 30), row("A", "low_dose", 90, series="thin", thickness_mm=1.0), row("B", "low_dose", 4)]
    positions = {"A-low_dose": 3, "A-full_dose": 3, "thin": 1}
    found = split(rows, "disjoint_slices", 1, lambda one: [positions[one.series] * i for i in range(one.slices)])
    low = {positions.get(ref.series, 1000) * ref.slice_index for ref in found.low_dose if ref.series != "B-low_dose"}
    assert low.isdisjoint(3 * ref.slice_index for ref in found.full_dose)
    assert sum(ref.series == "B-low_dose" for ref in found.low_dose) == 4


def test_one_position_cannot_stand_in_both_domains():
    with pytest.raises(ManifestError, match=r"protocol=disjoint_slices leaves no (low|full)_dose slices, since"):
        split(both("A", 1), "disjoint_slices")


def test_numbers_and_positions_of_one_patient_cannot_be_told_apart():
    rows = [row("A", "low_dose", format="npy"), row("A", "full_dose")]
    with pytest.raises(ManifestError, match=r"slice numbers \(npy\) and positions in mm cannot be compared"):
        split(rows, "disjoint_slices")
