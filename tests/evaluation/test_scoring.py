"""Records, tables and files of an evaluation, against plain computation from the same slices."""

import csv
import itertools
import json
import math

import numpy as np
import pytest

from ctcycle.errors import SeriesError
from ctcycle.evaluation.methods.filters import CLASSICAL
from ctcycle.evaluation.pairs import HUPair
from ctcycle.evaluation.results import read_slice_records, summarise
from ctcycle.evaluation.scoring import evaluate
from ctcycle.evaluation.tables import format_table, markdown_table
from ctcycle.metrics.noise import soft_tissue_noise, tissue_windows
from ctcycle.metrics.protocols import PROTOCOLS, body_mask, score


def make_pairs(patients=6, slices=2):
    rng = np.random.default_rng(9)
    clean = np.full((64, 64), -1000.0)
    clean[8:56, 8:56] = 50.0
    for patient, number in itertools.product(range(patients), range(slices)):
        full = clean + rng.normal(0, 10 + patient, clean.shape)
        low = full + rng.normal(3, 20 + 5 * patient, clean.shape)
        yield HUPair(f"P{patient}", f"1.2.{patient}", number, low.astype(np.float32), full.astype(np.float32))


METHODS = {
    "input": CLASSICAL["input"],
    "again": lambda low: low.copy(),
    "gaussian": CLASSICAL["gaussian"],
    "shifted": lambda low: low - np.float32(3),
}


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(make_pairs(), METHODS, ("hu2000", "report2024"))


def row_of(evaluation, method, protocol="hu2000"):
    return next(row for row in evaluation.rows if (row.method, row.protocol) == (method, protocol))


def test_every_method_under_every_protocol_in_order(evaluation):
    expected = list(itertools.product(METHODS, ("hu2000", "report2024")))
    assert [(row.method, row.protocol) for row in evaluation.rows] == expected
    assert len(evaluation.records) == 12 * len(expected)


def test_a_method_that_does_nothing_has_the_row_of_the_input(evaluation):
    first, again = row_of(evaluation, "input"), row_of(evaluation, "again")
    assert again == type(first)(**{**vars(first), "method": "again"})
    assert again.psnr_gain == again.ssim_gain == 0.0
    assert again.psnr_gain_ci95 == (0.0, 0.0)


def test_figures_are_means_over_slices(evaluation):
    scores = [score(PROTOCOLS["hu2000"], pair.low_hu - np.float32(3), pair.full_hu) for pair in make_pairs()]
    inputs = [score(PROTOCOLS["hu2000"], pair.low_hu, pair.full_hu) for pair in make_pairs()]
    row = row_of(evaluation, "shifted")
    for name in ("psnr", "ssim", "rmse_hu", "mae_hu", "bias_hu"):
        assert getattr(row, name) == pytest.approx(np.mean([getattr(one, name) for one in scores]), rel=1e-12)
    gain = np.mean([one.psnr for one in scores]) - np.mean([one.psnr for one in inputs])
    assert row.psnr_gain == pytest.approx(gain, abs=1e-9)
    assert (row.slices, row.patients) == (12, 6)
    assert row.psnr_ci95[0] < row.psnr < row.psnr_ci95[1]
    assert row.rmse_hu_ci95[0] < row.rmse_hu < row.rmse_hu_ci95[1]


def test_noise_is_measured_at_the_same_places_in_every_image(evaluation):
    pairs = list(make_pairs())
    full = [soft_tissue_noise(pair.full_hu) for pair in pairs]
    low = [soft_tissue_noise(pair.low_hu, tissue_windows(pair.full_hu)) for pair in pairs]
    row = row_of(evaluation, "shifted")
    assert row.noise_full_hu == pytest.approx(np.mean(full))
    assert row.noise_hu == pytest.approx(np.mean(low), rel=1e-4)
    assert f"soft-tissue noise of full dose: {np.mean(full):.1f} HU" in evaluation.notes


def test_threads_change_nothing(evaluation):
    assert evaluate(make_pairs(), METHODS, ("hu2000", "report2024"), workers=3) == evaluation


def test_pairs_are_taken_lazily():
    seen = []

    def failing():
        for pair in make_pairs():
            seen.append(pair.slice_index)
            yield pair

    def fails(low):
        raise SeriesError("stop")

    with pytest.raises(SeriesError, match="stop"):
        evaluate(failing(), {"fails": fails}, workers=2)
    assert len(seen) <= 3


def test_the_body_alone():
    found = evaluate(make_pairs(), {"input": CLASSICAL["input"]}, body_only=True)
    expected = [score(PROTOCOLS["hu2000"], p.low_hu, p.full_hu, body_mask(p.full_hu)).ssim for p in make_pairs()]
    assert found.rows[0].ssim == pytest.approx(np.mean(expected), rel=1e-12)
    assert any("inside the body" in note for note in found.notes)


def test_a_slice_without_a_body_is_scored_whole():
    air = np.full((32, 32), -990.0, np.float32)
    found = evaluate([HUPair("P", "1.2", 0, air + 10, air)], {"input": CLASSICAL["input"]}, body_only=True)
    assert found.rows[0].rmse_hu == pytest.approx(10)
    assert found.rows[0].noise_hu is None


def test_files_are_read_back_as_they_were(evaluation, tmp_path):
    evaluation.write(tmp_path / "run", {"seed": 0, "weights": "sha256:12"})
    records = read_slice_records(tmp_path / "run" / "slices.csv")
    assert tuple(records) == evaluation.records
    assert summarise(records).rows == evaluation.rows
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert results["provenance"] == {"seed": 0, "weights": "sha256:12"}
    assert results["notes"] == list(evaluation.notes)
    assert [row["psnr"] for row in results["rows"]] == [row.psnr for row in evaluation.rows]
    assert results["rows"][0]["psnr_ci95"] == list(evaluation.rows[0].psnr_ci95)


def test_patients_csv_holds_the_means_of_each_patient(evaluation, tmp_path):
    evaluation.write(tmp_path, {})
    lines = list(csv.DictReader((tmp_path / "patients.csv").read_text().splitlines()))
    assert len(lines) == 6 * len(evaluation.rows)
    line = next(
        line for line in lines if (line["method"], line["protocol"], line["patient"]) == ("gaussian", "hu2000", "P3")
    )
    own = [r for r in evaluation.records if (r.method, r.protocol, r.patient) == ("gaussian", "hu2000", "P3")]
    assert line["slices"] == "2"
    for name in ("psnr", "ssim", "rmse_hu", "noise_hu"):
        assert float(line[name]) == pytest.approx(np.mean([getattr(record, name) for record in own]), rel=1e-12)


def test_equal_slices_leave_no_infinity_in_the_json(tmp_path):
    pairs = [HUPair("P", "1.2", 0, pair.full_hu, pair.full_hu) for pair in make_pairs(1, 1)]
    found = evaluate(pairs, {"input": CLASSICAL["input"], "shifted": METHODS["shifted"]})
    found.write(tmp_path, {})
    row = json.loads((tmp_path / "results.json").read_text())["rows"][0]
    assert row["psnr"] is None
    assert row["psnr_gain"] is None
    assert row["ssim_gain"] == 0
    assert any("input, hu2000: slices equal to full dose: 1" in note for note in found.notes)
    assert math.isinf(read_slice_records(tmp_path / "slices.csv")[0].psnr)
    assert "-" in format_table(found.rows, "hu2000")


def test_few_patients_are_said_to_be_few():
    found = evaluate(make_pairs(2), {"input": CLASSICAL["input"]})
    assert found.notes[0].startswith("only 2 patients")
    assert found.rows[0].psnr_ci95 is None


def test_without_the_input_there_are_no_gains():
    row = evaluate(make_pairs(), {"gaussian": CLASSICAL["gaussian"]}).rows[0]
    assert row.psnr_gain is row.ssim_gain is row.psnr_gain_ci95 is None


def test_the_table_is_aligned_and_fits(evaluation):
    lines = format_table(evaluation.rows, "report2024").splitlines()
    assert len(lines) == 2 + len(METHODS)
    assert len({len(line) for line in lines}) == 1
    assert len(lines[0]) <= 100
    assert lines[0].split()[:3] == ["method", "PSNR", "dB"]
    row = row_of(evaluation, "gaussian", "report2024")
    assert lines[4].split()[:2] == ["gaussian", f"{row.psnr:.2f}"]
    assert lines[4].split()[-1] == f"{row.psnr_gain:+.2f}"


def test_the_markdown_table_has_a_cell_for_every_column(evaluation):
    lines = markdown_table(evaluation.rows, "hu2000").splitlines()
    assert len(lines) == 2 + len(METHODS)
    assert {line.count("|") for line in lines} == {11}
    assert f" {row_of(evaluation, 'shifted').ssim:.4f} " in lines[5]


@pytest.mark.parametrize(
    ("denoise", "message"),
    [
        (lambda low: low[:-1], r"series 1\.2\.0, slice 0, method m: output of shape \(63, 64\)"),
        (lambda low: np.full_like(low, np.nan), "method m: 4096 output values are not finite"),
    ],
)
def test_broken_outputs_are_refused(denoise, message):
    with pytest.raises(SeriesError, match=message):
        evaluate(make_pairs(), {"m": denoise})


def test_a_pair_has_one_shape():
    with pytest.raises(SeriesError, match=r"series 1\.2, slice 4: low dose"):
        evaluate([HUPair("P", "1.2", 4, np.zeros((16, 16), np.float32), np.zeros((16, 17), np.float32))], METHODS)


def test_a_slice_that_cannot_be_scored_is_named():
    tiny = np.zeros((9, 9), np.float32)
    with pytest.raises(SeriesError, match=r"series 1\.2, slice 4: protocol hu2000: .*at least 11 px"):
        evaluate([HUPair("P", "1.2", 4, tiny, tiny)], METHODS)


def test_nothing_to_evaluate_is_an_error():
    with pytest.raises(SeriesError, match="no slice pairs"):
        evaluate([], METHODS)


def test_methods_compare_only_on_the_same_slices(evaluation):
    with pytest.raises(SeriesError, match="was not evaluated on the same slices as method input"):
        summarise([*evaluation.records[:-1]])


def test_a_broken_table_is_refused(tmp_path):
    (tmp_path / "slices.csv").write_text("method,protocol\ninput,hu2000\n")
    with pytest.raises(SeriesError, match=r"slices\.csv: cannot read it as a table"):
        read_slice_records(tmp_path / "slices.csv")
