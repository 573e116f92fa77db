"""The function that MLflow calls: HU in, HU out, the same as the denoiser's."""

from pathlib import Path

import numpy as np
import pytest
from tiny_bundle import write_bundle

from ctcycle.bundle.runtime.served import _load_pyfunc, checked_slices
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.errors import ConfigError, SeriesError
from ctcycle.runs.models import load_model

HU = phantom(2, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("served") / "tiny"
    write_bundle(made)
    return made


def test_it_denoises_as_the_bundle_does(folder: Path) -> None:
    found = _load_pyfunc(str(folder)).predict(HU.tolist())
    expected = load_model(folder, device="cpu").denoiser()(HU)
    assert found.dtype == np.float32
    assert np.abs(expected - HU).max() > 0.02  # fifty times the tolerance below
    np.testing.assert_allclose(found, expected, rtol=0, atol=4e-4)


def test_parameters_are_respected(folder: Path) -> None:
    model = _load_pyfunc(str(folder))
    denoiser = load_model(folder, device="cpu").denoiser(strength=0.5, average_flips=True)
    found = model.predict(HU[0], {"strength": 0.5, "average_flips": True})
    np.testing.assert_allclose(found, denoiser(HU[0]), rtol=0, atol=4e-4)
    np.testing.assert_array_equal(model.predict(HU, {"strength": 0.0}), HU)
    with pytest.raises(ConfigError, match="strength=3"):
        model.predict(HU, {"strength": 3.0})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros(4), r"has shape \(4,\)"),
        (np.zeros((1, 1, 4, 4)), "has shape"),
        (np.zeros((0, 4, 4)), "has shape"),
        ([[1.0, np.nan]], "not finite"),
        ([[1.0], [1.0, 2.0]], "not an array of numbers"),
        ([["a"]], "not an array of numbers"),
    ],
)
def test_what_is_no_stack_of_slices_is_refused(values: object, reason: str) -> None:
    with pytest.raises(SeriesError, match=reason):
        checked_slices(values)  # type: ignore[arg-type]
