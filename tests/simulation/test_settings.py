import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ctcycle.data.settings import Source
from ctcycle.simulation.settings import _LOW_DOSE_RANGES, _RANGES, LowDoseSettings, SimulationSettings


def test_importing_costs_nothing_heavy() -> None:
    heavy = {"numpy", "scipy", "torch", "pydicom", "pydantic"}
    code = f"import sys, ctcycle.simulation.settings; print(sorted({heavy} & {{*sys.modules}}))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_every_number_has_a_range_that_holds_its_default() -> None:
    assert {name for name, _, _ in _RANGES} == {field.name for field in fields(SimulationSettings)} - {"kernel"}
    SimulationSettings()


@pytest.mark.parametrize(("name", "low", "high"), _RANGES)
def test_values_out_of_range_are_refused_by_name(name: str, low: float, high: float) -> None:
    for value in (low, high):
        assert getattr(SimulationSettings(**{name: value}), name) == value
    for value in (low * 0.99 - 1e-6, high * 1.01, float("nan")):
        with pytest.raises(ValueError, match=f"simulation: {name}=.*; it must be from"):
            SimulationSettings(**{name: value})


def test_unknown_kernels_are_refused() -> None:
    kernel: Any = "B30f"
    with pytest.raises(
        ValueError, match=r"kernel='B30f' is unknown; choose one of soft, medium, b30, sharp, ramp, d45"
    ):
        SimulationSettings(kernel=kernel)


def test_limits_of_the_pixel_size_are_in_order_and_in_range() -> None:
    assert SimulationSettings(pixel_mm=(1.2, 1.5)).pixel_mm == (1.2, 1.5)
    for limits in ((1.5, 1.2), (0.01, 1.0), (1.0, 30.0)):
        with pytest.raises(ValueError, match=r"simulation: pixel_mm=\(.*\); it must be from 0\.1 to 20"):
            SimulationSettings(pixel_mm=limits)


def test_there_may_be_several_kernels_but_not_none() -> None:
    assert SimulationSettings().kernels == ("soft",)
    assert SimulationSettings(kernel=("soft", "d45")).kernels == ("soft", "d45")
    unknown: Any = ("soft", "B30f")
    for kernels in ((), unknown):
        with pytest.raises(ValueError, match=r"kernel=\(.*\) is unknown; choose one of"):
            SimulationSettings(kernel=kernels)


@pytest.mark.parametrize(("name", "low", "high"), _LOW_DOSE_RANGES)
def test_values_of_low_dose_out_of_range_are_refused_by_name(name: str, low: float, high: float) -> None:
    sources = (Source(Path("scans")),)
    for value in (low, high):
        assert getattr(LowDoseSettings(sources, **{name: value}), name) == value  # type: ignore[arg-type]
    for value in (low * 0.99 - 1e-6, high * 1.01):
        with pytest.raises(ValueError, match=f"low dose: {name}=.*; it must be from"):
            LowDoseSettings(sources, **{name: value})  # type: ignore[arg-type]


def test_low_dose_needs_a_source() -> None:
    with pytest.raises(ValueError, match=r"low dose: sources is empty; add a folder"):
        LowDoseSettings(())


def test_pydantic_reads_it_and_forbids_unknown_keys() -> None:
    adapter = TypeAdapter(SimulationSettings)
    assert adapter.validate_python({"patients": 3, "kernel": "sharp"}) == SimulationSettings(patients=3, kernel="sharp")
    with pytest.raises(ValidationError, match="photon\n"):
        adapter.validate_python({"photon": 3})
    several = adapter.validate_python({"kernel": ["soft", "b30"], "pixel_mm": [1.2, 1.5]})
    assert several == SimulationSettings(kernel=("soft", "b30"), pixel_mm=(1.2, 1.5))
