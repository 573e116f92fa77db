"""The strength of a filter is chosen on other patients than those under test."""

from dataclasses import dataclass

import numpy as np
import pytest

from ctcycle.evaluation.methods.filters import CLASSICAL, SETTINGS
from ctcycle.evaluation.methods.tuning import MAX_SLICES, measure_settings, spread, tuned
from ctcycle.evaluation.pairs import HUPair, LowDoseSlice


def pair(patient="P", number=0, std=40.0):
    rng = np.random.default_rng(number)
    full = np.full((48, 48), 40.0)
    low = full + rng.normal(0, std, full.shape)
    return HUPair(patient, "s", number, low.astype(np.float32), full.astype(np.float32))


@pytest.mark.parametrize("name", SETTINGS)
def test_errors_of_all_settings_by_patient(name):
    pairs = [pair("A", 0), pair("A", 1), pair("B", 2)]
    found = measure_settings(pairs, SETTINGS[name], workers=2)
    outputs = [SETTINGS[name][1].denoise(item.low_hu) for item in pairs[:2]]
    expected = np.mean([np.mean((out - item.full_hu) ** 2) for out, item in zip(outputs, pairs, strict=False)])
    assert found.keys() == {"A", "B"}
    assert found["A"][1] == pytest.approx(expected, rel=1e-4)


def errors(best):
    """One low error at the given setting of each patient."""
    count = len(SETTINGS["gaussian_tuned"])
    return {patient: [1.0 + (n != place) for n in range(count)] for patient, place in best.items()}


def test_validation_patients_choose_for_all():
    method = tuned("gaussian_tuned", errors({"V": 4}), "d", leave_one_out=False)
    low = pair().low_hu
    assert method.for_slice is None
    assert np.array_equal(method.denoise(low), CLASSICAL["gaussian"](low, 1.6))
    assert "sigma = 1.6 times the rule's, chosen on 1 validation patient" in method.notes[0]


def test_each_patient_is_left_out_of_its_own_choice():
    method = tuned("gaussian_tuned", errors({"A": 0, "B": 5, "C": 5}), "d", leave_one_out=True)
    low = pair().low_hu
    output = {p: method.output(LowDoseSlice(p, "s", 0, low)) for p in "ABCX"}
    assert np.array_equal(output["A"], CLASSICAL["gaussian"](low, 2.0))  # the others prefer 2.0
    assert np.array_equal(output["B"], CLASSICAL["gaussian"](low, 0.6))  # a tie of A and C: the first
    assert np.array_equal(output["X"], method.denoise(low))
    assert np.array_equal(output["X"], CLASSICAL["gaussian"](low, 2.0))
    assert "chosen for each patient on the other 2" in method.notes[0]


def test_a_single_patient_leaves_the_rule():
    method = tuned("nlm_tuned", {"A": [1.0] * 10}, "d", leave_one_out=True)
    low = pair().low_hu
    assert np.array_equal(method.denoise(low), CLASSICAL["nlm"](low))
    assert "no other patient to tune on" in method.notes[0]


@dataclass
class Listed:
    items: list

    def __iter__(self):
        return iter(self.items)


def test_some_slices_of_every_patient():
    items = [pair("A" if n < 60 else f"B{n}", n) for n in range(64)]
    chosen = list(spread(Listed(items)))
    assert {item.patient for item in chosen} == {"A", "B60", "B61", "B62", "B63"}
    assert len(chosen) <= MAX_SLICES + 5
