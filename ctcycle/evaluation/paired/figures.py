"""The figures and curves of the pair bench, computed from sums over patients."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve
from ctcycle.evaluation.paired.sums import SPECTRA, PairSums, total
from ctcycle.metrics.features import FEATURES, concordance_of_sums
from ctcycle.metrics.spectral.floor import PairedPower, compare_power_with_floor, floor_of_power
from ctcycle.metrics.spectral.nps import NoisePower, noise_power_of, power_ratio_above, texture_distance
from ctcycle.metrics.tissue_bias import Bias, TissueBias, tissue_bias

FINE_PER_PX = 0.4
"""Above this frequency, in cycles per pixel, noise is called fine."""

IN_PIXELS = 1.0
"""The side of a pixel where lengths are counted in pixels."""


@dataclass(frozen=True)
class NoiseSpectra:
    """The mean spectra of all flat windows.

    Attributes:
        low: of the input.
        full: of full dose.
        output: of the method.
    """

    low: NoisePower
    full: NoisePower
    output: NoisePower


def pair_figures(patients: Sequence[PairSums]) -> dict[str, float]:
    """Return the figures of all patients together, by key; those that cannot be measured are NaN."""
    sums = total(patients)
    return {
        **bias_figures(patients),
        **change_figures(sums),
        **feature_figures(sums),
        **(noise_figures(sums) if sums.windows else {}),
    }


def noise_spectra(sums: PairSums) -> NoiseSpectra:
    """Return the mean spectra of at least one window; lengths are in pixels, whose size may differ or be unknown."""
    low, full, output = (
        noise_power_of(sums.power[SPECTRA.index(name)] / sums.windows, sums.windows, IN_PIXELS)
        for name in ("low", "full", "output")
    )
    return NoiseSpectra(low, full, output)


def noise_figures(sums: PairSums) -> dict[str, float]:
    """Return error over floor, and level and texture of the noise, from at least one window."""
    mean = dict(zip(SPECTRA, sums.power / sums.windows, strict=True))
    floor = floor_of_power(PairedPower(sums.windows, mean["low"], mean["full"], mean["shared"]))
    error = compare_power_with_floor(mean["error"], floor)
    found = noise_spectra(sums)
    return {
        "error_over_floor": error.ratio,
        "error_over_floor_fine": error.ratio_above(FINE_PER_PX, floor),
        "floor_hu": floor.floor_hu,
        "noise_removed": 1 - ratio(found.output.noise_hu, found.low.noise_hu),
        "noise_over_full": ratio(found.output.noise_hu, found.full.noise_hu),
        **texture_figures(found.output, found.full),
    }


def texture_figures(output: NoisePower, full: NoisePower) -> dict[str, float]:
    """Return the texture of an output's noise and its distance to full dose; NaN where the output has no noise."""
    if not output.radial_hu2_mm2.sum() > 0:
        return dict.fromkeys(("texture_distance", "mean_frequency"), math.nan) | {"fine_power_ratio": 0.0}
    return {
        "texture_distance": texture_distance(output, full),
        "mean_frequency": output.mean_per_px,
        "fine_power_ratio": power_ratio_above(output, full, FINE_PER_PX),
    }


def bias_figures(patients: Sequence[PairSums]) -> dict[str, float]:
    """Return mean errors by tissue, also beyond the input's, and the slope."""
    output = tissue_bias([sums.output_errors for sums in patients])
    before = tissue_bias([sums.input_errors for sums in patients])
    found = {}
    for name, bias in biases(output).items():
        found[f"bias_{name}_hu"] = bias.mean_hu
        found[f"bias_{name}_beyond_input_hu"] = bias.mean_hu - biases(before)[name].mean_hu
    return found | {
        "slope": output.slope,
        "slope_beyond_input": output.slope - before.slope,
        "outside_window": output.output_outside_window,
    }


def biases(found: TissueBias) -> dict[str, Bias]:
    """Return the mean errors of the tissues, of edges, and of all but air, by name."""
    tissues: dict[str, Bias] = {str(name): bias for name, bias in found.tissues.items()}
    return tissues | {"edges": found.edges, "outside_air": found.outside_air}


def limits_of_agreement(patients: Sequence[PairSums]) -> dict[str, tuple[float, float]]:
    """Return mean ± 1.96 SD over patients of each mean error; empty with fewer than two patients."""
    found = biases(tissue_bias([sums.output_errors for sums in patients]))
    return {f"bias_{name}_hu": (bias.low_hu, bias.high_hu) for name, bias in found.items() if bias.patients > 1}


def change_figures(sums: PairSums) -> dict[str, float]:
    """Return the change between slices of the output and of full dose, and the ratio of the two."""
    output, full = (ratio(*row) for row in sums.changes.tolist())
    return {"between_slices": output, "between_slices_full": full, "between_slices_ratio": ratio(output, full)}


def feature_figures(sums: PairSums) -> dict[str, float]:
    """Return the concordance of each feature with full dose, and the smallest."""
    agreement = {
        f"feature_ccc_{name}": concordance_of_sums(row) for name, row in zip(FEATURES, sums.feature_sums, strict=True)
    }
    return {"feature_agreement": min(agreement.values()), **agreement}


def nps_curves(method: str, sums: PairSums) -> tuple[Curve, ...]:
    """Return the spectra of the method, the input and full dose: HU² mm² over cycles per pixel."""
    if not sums.windows:
        return ()
    found = noise_spectra(sums)
    spectra = {method: found.output, "input": found.low, "full dose": found.full}
    return tuple(
        Curve(name, "pairs", "nps", "", _listed(noise.frequency_per_mm * IN_PIXELS), _listed(noise.radial_hu2_mm2))
        for name, noise in spectra.items()
    )


def ratio(first: float, second: float) -> float:
    """Return first over second; NaN where the second is not above 0."""
    return first / second if second > 0 else math.nan


def _listed(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(values.tolist())
