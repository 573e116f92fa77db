"""Somebody else's outputs, matched to the slices they were made of, or refused by name."""

import shutil

import numpy as np
import pytest
from tiny_data import TEST, TinyData

from ctcycle.ct import series_io
from ctcycle.ct.series_io import Derivation
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import SeriesError
from ctcycle.evaluation.methods.outputs import outputs_method
from ctcycle.evaluation.pairs import EvaluationPairs

WITH = Derivation("1", "theirs", "0")


@pytest.fixture
def data(tiny: TinyData, tmp_path):
    store = open_store(tiny.manifest, tmp_path / "store", 0.0192)
    return load_slices(tiny.manifest, store, kernel=None, splits=("test", "val")), store


def low_info(tiny, patient=TEST):
    (info,), _ = series_io.find_series(tiny.series / patient / "low_dose")
    return info


def outputs(data, folder):
    slices, store = data
    return outputs_method("theirs", "Theirs", folder, slices, store)


def brighter(info, by):
    return (np.full(info.shape[1:], by, np.float32) for _ in range(info.shape[0]))


def check(method, data, by, split="test"):
    for pair in EvaluationPairs(data[0], split):
        assert np.array_equal(method.output(pair), pair.low_hu + by)


def test_dicom_is_matched_by_the_series_it_refers_to(tiny, data, tmp_path):
    for number, patient in enumerate((TEST, "sim006")):
        info = low_info(tiny, patient)
        series_io.write_corrected(info, brighter(info, 5 + number), tmp_path / "out" / f"x{number}", WITH)
    method = outputs(data, tmp_path / "out")
    assert (method.kind, method.denoise) == ("outputs", None)
    check(method, data, 5)
    check(method, data, 6, "val")
    again = outputs(data, tmp_path / "out")
    assert again.digest == method.digest
    shutil.rmtree(tmp_path / "out" / "x1")
    series_io.write_corrected(info, brighter(info, 9), tmp_path / "out" / "x1", WITH)
    assert outputs(data, tmp_path / "out").digest != method.digest


def test_npy_is_matched_by_the_patients_folder_and_order(tiny, data, tmp_path):
    for number, patient in enumerate((TEST, "sim006")):
        (tmp_path / "out" / patient).mkdir(parents=True)
        hu = series_io.read_series(low_info(tiny, patient)).hu
        for index, image in enumerate(hu):
            np.save(tmp_path / "out" / patient / f"{index:03}.npy", image + np.float32(number + 1))
    method = outputs(data, tmp_path / "out")
    for split, by in (("test", 1), ("val", 2)):
        for pair in EvaluationPairs(data[0], split):
            assert np.abs(method.output(pair) - pair.low_hu - by).max() <= 0.5


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        ("nobody", "no output matches low-dose series"),
        ("twice", "2 outputs match low-dose series"),
        ("fewer", "has 1 slices, the low dose 2"),
        ("smaller", r"has slices of \(32, 32\) px"),
    ],
)
def test_what_is_ambiguous_or_does_not_fit_is_refused_by_name(tiny, data, tmp_path, spoil, message):
    for patient in (TEST, "sim006"):
        folder = tmp_path / "out" / patient
        folder.mkdir(parents=True)
        hu = series_io.read_series(low_info(tiny, patient)).hu
        np.save(folder / "a.npy", {"fewer": hu[:1], "smaller": hu[:, :32, :32]}.get(spoil, hu))
        if spoil == "twice":
            np.save(folder / "b.npy", hu)
    if spoil == "nobody":
        (tmp_path / "out" / TEST).rename(tmp_path / "out" / "somebody")
    with pytest.raises(SeriesError, match=message):
        outputs(data, tmp_path / "out")


def test_outputs_cover_only_their_slices(tiny, data, tmp_path):
    for patient in (TEST, "sim006"):
        info = low_info(tiny, patient)
        series_io.write_corrected(info, brighter(info, 0), tmp_path / "out" / patient, WITH)
    min((tmp_path / "out" / TEST).glob("*.dcm")).unlink()
    method = outputs(data, tmp_path / "out")
    refused = []
    for pair in EvaluationPairs(data[0], "test"):
        try:
            assert np.array_equal(method.output(pair), pair.low_hu)
        except SeriesError as error:
            refused.append(str(error))
    assert len(refused) == 1
    assert "method theirs: no output at its position" in refused[0]
