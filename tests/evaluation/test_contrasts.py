"""Methods minus the best classical filter, against plain differences of patient means."""

import numpy as np
import pytest

from ctcycle.evaluation.contrasts import COVERAGE_NOTE, contrast_lines, contrasts
from ctcycle.evaluation.results import SliceRecord
from ctcycle.metrics.significance import holm, sign_flip_p


def records(patients, **psnr):
    """Two slices a patient; ``psnr`` gives one figure per patient and method."""
    return [
        SliceRecord(method, "hu2000", f"P{p}", "s", n, values[p] + n, values[p] / 50, 1, 1, 0, 1, 1)
        for method, values in psnr.items()
        for p in range(patients)
        for n in range(2)
    ]


def test_the_best_filter_on_the_same_patients():
    rng = np.random.default_rng(0)
    good, bad, net = 30 + rng.normal(0, 1, 7), 20 + rng.normal(0, 1, 7), 31 + rng.normal(0, 1, 7)
    found = contrasts(records(7, good=good, bad=bad, net=net), "hu2000", ["net"], ["bad", "good"])
    psnr, ssim = found
    assert (psnr.filter, psnr.measure, ssim.measure, psnr.patients) == ("good", "psnr", "ssim", 7)
    assert psnr.difference == pytest.approx(np.mean(net - good))
    assert psnr.ci95[0] < psnr.difference < psnr.ci95[1]
    assert psnr.p_value == pytest.approx(sign_flip_p(net - good))
    adjusted = holm({"psnr": psnr.p_value, "ssim": ssim.p_value})
    assert (psnr.p_holm, ssim.p_holm) == (adjusted["psnr"], adjusted["ssim"])
    lines = contrast_lines(found, {"good": "Good filter"})
    assert lines[0].startswith(f"net minus Good filter (the best classical filter), PSNR: {psnr.difference:+.2f} dB")
    assert lines[-1] == COVERAGE_NOTE


@pytest.mark.parametrize(("patients", "interval"), [(2, False), (5, True)])
def test_few_patients_get_a_sentence_and_no_test(patients, interval):
    found = contrasts(records(patients, f=[30.0, 31, 32, 33, 34], m=[31.0, 31, 33, 33, 36]), "hu2000", ["m"], ["f"])
    assert found[0].p_value is found[0].p_holm is None
    assert (found[0].ci95 is not None) == interval
    assert f"only {patients} patients" in found[0].note
    assert found[0].note in contrast_lines(found, {})


def test_without_filters_or_methods_there_is_nothing_to_compare():
    table = records(5, f=[1.0] * 5, m=[2.0] * 5)
    assert contrasts(table, "hu2000", ["m"], []) == ()
    assert contrasts(table, "hu2000", [], ["f"]) == ()
    assert contrasts(table, "kwon", ["m"], ["f"]) == ()


def test_an_infinite_figure_is_no_difference():
    found = contrasts(records(5, f=[30.0] * 5, m=[np.inf] * 5), "hu2000", ["m"], ["f"])
    assert found[0].difference is None
    assert "infinite" in found[0].note
