"""Pair bench: a method's output against full dose, slice by slice."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from ctcycle.errors import SeriesError
from ctcycle.evaluation.findings import Finding, Measure, StudyResult
from ctcycle.evaluation.methods.method import HUFilter
from ctcycle.evaluation.paired.figures import limits_of_agreement, nps_curves, pair_figures
from ctcycle.evaluation.paired.noise_measures import NOISE_OVER_FULL, NOISE_REMOVED, TEXTURE_DISTANCE
from ctcycle.evaluation.paired.reference import PairReference, PairReferences
from ctcycle.evaluation.paired.sums import PairSums, changes_since, slice_sums, total
from ctcycle.evaluation.paired.worst import PATCHES, SLICES, Worst, add_worst_patch, add_worst_slice
from ctcycle.evaluation.pairs import HUImage, HUPair
from ctcycle.metrics.bootstrap import too_few_patients
from ctcycle.metrics.features import FEATURES
from ctcycle.metrics.jackknife import jackknife_intervals
from ctcycle.metrics.tissue_bias import TISSUES_HU

FEW_WINDOWS = 100
NO_WINDOW = "no flat window of soft tissue"
NO_NULL = (
    "not measured: its null is the agreement of two independent realisations of full dose, and a pair has one; "
    "the worst patches are shown instead"
)

_PLACES: dict[str, str] = {
    **{str(name): f"in {name}" for name in TISSUES_HU},
    "soft": "in soft tissue",
    "edges": "at edges",
    "outside_air": "outside air",
}


def _bias_measures() -> list[Measure]:
    pairs = []
    for name, place in _PLACES.items():
        how = f"Mean of output minus full dose {place} (full dose smoothed by 2 px), mean over patients"
        title = f"HU bias {place}"
        pairs.append(Measure(f"bias_{name}_hu", title, "HU", "zero", f"{how}."))
        beyond = f"{how}, minus the same of the input: what the method adds to the bias of low dose."
        pairs.append(Measure(f"bias_{name}_beyond_input_hu", f"{title}, beyond the input's", "HU", "zero", beyond))
    return pairs


def _feature_measures() -> list[Measure]:
    how = "Lin's concordance (1989) with full dose over flat windows of 32 px, bins of 25 HU"
    names = [(name, name.replace("_", " ").replace("glcm", "co-occurrence").replace("sd", "SD")) for name in FEATURES]
    return [
        Measure(
            "feature_agreement", "Agreement of features, lowest", "", "one", f"The smallest over 8 features: {how}."
        ),
        *(Measure(f"feature_ccc_{key}", f"Agreement of feature: {name}", "", "one", f"{how}.") for key, name in names),
    ]


MEASURES: tuple[Measure, ...] = (
    Measure(
        "error_over_floor",
        "Error over its floor",
        "",
        "one",
        "Root mean square error to full dose over the least that a linear filter of the input can reach, in flat "
        "windows (Wiener 1949); 1 is the best that a linear filter does.",
    ),
    Measure(
        "error_over_floor_fine",
        "Error over its floor, above 0.4 cycles/px",
        "",
        "one",
        "The same for the frequencies above 0.4 cycles per pixel.",
    ),
    Measure(
        "floor_hu",
        "Floor of the error",
        "HU",
        "lower",
        "Least root mean square error to full dose of a linear filter, in flat windows; it depends on the pairs alone.",
    ),
    TEXTURE_DISTANCE,
    Measure(
        "fine_power_ratio",
        "Fine noise over full dose",
        "",
        "one",
        "Noise power above 0.4 cycles per pixel over that of full dose, in flat windows.",
    ),
    Measure(
        "mean_frequency",
        "Mean frequency of the noise",
        "cycles/px",
        "higher",
        "Mean of f weighted by f NPS(f) (AAPM TG-233); to be compared with full dose, see the texture distance.",
    ),
    NOISE_REMOVED,
    NOISE_OVER_FULL,
    *_bias_measures(),
    Measure("slope", "Slope on full dose", "", "one", "Of output on full dose, both smoothed by 2 px, without air."),
    Measure(
        "slope_beyond_input",
        "Slope on full dose, beyond the input's",
        "",
        "zero",
        "Slope of the output minus that of the input: what the method changes of the gain.",
    ),
    Measure(
        "outside_window",
        "Pixels outside the window",
        "",
        "lower",
        "Share of the output's pixels outside [-1000, 1000] HU.",
    ),
    Measure(
        "between_slices",
        "Change between slices",
        "",
        "one",
        "Variance of the difference of neighbouring residuals over the sum of their variances, in flat tissue; 1 for "
        "independent noise, 0 where slices repeat.",
    ),
    Measure("between_slices_full", "Change between slices of full dose", "", "one", "The same of full dose."),
    Measure(
        "between_slices_ratio",
        "Change between slices over full dose's",
        "",
        "one",
        "Above 1 for flicker or slices in a wrong order, below 1 for smoothing along z.",
    ),
    *_feature_measures(),
    Measure(
        "disagreeing_patches",
        "Patches that disagree with full dose",
        "",
        "lower",
        "Share of patches whose Fourier ring correlation with full dose (sFRC, arXiv 2603.04673) falls below that of "
        "99 % of patches of two realisations of full dose.",
    ),
)
"""What the pair bench measures, in the order of its findings."""

_OF_WINDOWS = {
    *("error_over_floor", "error_over_floor_fine", "floor_hu", "texture_distance", "fine_power_ratio"),
    *("mean_frequency", "noise_removed", "noise_over_full", "feature_agreement"),
    *(f"feature_ccc_{name}" for name in FEATURES),
}


class PairStudy:
    """Compares one method with full dose; keeps sums by patient and a few pictures, so memory stays bounded."""

    def __init__(self, method: str, denoise: HUFilter | None = None, references: PairReferences | None = None) -> None:
        """Start a study.

        Args:
            method: its name in the findings.
            denoise: not needed, since outputs are given; for the form that all slice studies share.
            references: pass the same to the studies of all methods, so that what depends on a pair alone is computed
                once; feed all of them with one pair before the next.
        """
        del denoise
        self.method = method
        self._references = references or PairReferences()
        self._patients: dict[str, PairSums] = {}
        self._before: tuple[PairReference, HUImage] | None = None
        self._patches, self._slices = Worst(PATCHES), Worst(SLICES)

    def add(self, pair: HUPair, output_hu: HUImage) -> None:
        """Add one slice, in order of series and slices.

        Args:
            pair: the slice at both doses.
            output_hu: (H, W), what the method made of low dose, HU.

        Raises:
            SeriesError: the shapes differ, or an output value is not finite.
        """
        self._check(pair, output_hu)
        reference = self._references.of(pair)
        changes = changes_since(*self._before, reference, output_hu) if self._before else None
        sums = slice_sums(reference, output_hu, changes)
        known = self._patients.get(pair.patient)
        self._patients[pair.patient] = sums if known is None else known + sums
        add_worst_patch(self._patches, self.method, reference, output_hu)
        add_worst_slice(self._slices, self.method, reference, output_hu)
        self._before = reference, output_hu.copy()

    def by_patient(self) -> dict[str, dict[str, float]]:
        """Return all figures of each patient alone, by patient and key; NaN where one cannot be measured."""
        return {patient: _complete(pair_figures([sums])) for patient, sums in self._patients.items()}

    def result(self) -> StudyResult:
        """Return what was found; without slices, a note."""
        if not self._patients:
            return StudyResult(notes=(f"{self.method}: no pair was given to the pair bench",))
        patients = list(self._patients.values())
        findings = tuple(_findings(self.method, patients))
        few = too_few_patients(len(patients))
        pictures = self._patches.pictures + self._slices.pictures
        return StudyResult(findings, nps_curves(self.method, total(patients)), pictures, (few,) if few else ())

    def _check(self, pair: HUPair, output_hu: HUImage) -> None:
        where = f"series {pair.series}, slice {pair.slice_index}, method {self.method}"
        shapes = {image.shape for image in (pair.low_hu, pair.full_hu, output_hu)}
        if len(shapes) > 1:
            raise SeriesError(
                f"{where}: low dose is {pair.low_hu.shape}, full dose {pair.full_hu.shape} and the output "
                f"{output_hu.shape} px; shapes must be equal"
            )
        if not np.isfinite(output_hu).all():
            raise SeriesError(f"{where}: some output values are not finite; check the slice and the method")


def _findings(method: str, patients: Sequence[PairSums]) -> list[Finding]:
    values = _complete(pair_figures(patients))
    intervals = jackknife_intervals(patients, pair_figures)
    notes = _notes(values, patients)
    sums = total(patients)
    found = []
    for measure in MEASURES:
        key = measure.key
        value = values[key]
        low, high = intervals.get(key) or (None, None)
        count, unit = (sums.windows, "windows") if key in _OF_WINDOWS else (len(patients), "patients")
        known = value if math.isfinite(value) else None
        found.append(Finding(method, "pairs", key, known, low, high, count, unit, notes.get(key, "")))
    return found


def _complete(figures: Mapping[str, float]) -> dict[str, float]:
    return {measure.key: figures.get(measure.key, math.nan) for measure in MEASURES}


def _notes(values: Mapping[str, float], patients: Sequence[PairSums]) -> dict[str, str]:
    """Return why a value is missing, or what a reader must know of it."""
    windows = sum(sums.windows for sums in patients)
    notes = {key: _missing(key) for key, value in values.items() if not math.isfinite(value)}
    limits = limits_of_agreement(patients)
    agreement = {
        key: f"limits of agreement over patients {low:+.1f} to {high:+.1f} HU" for key, (low, high) in limits.items()
    }
    if 0 < windows < FEW_WINDOWS:
        notes.setdefault("texture_distance", f"only {windows} windows, which raise it by chance")
    return agreement | notes | {"disagreeing_patches": NO_NULL}


def _missing(key: str) -> str:
    if key.startswith("between_slices"):
        return "no two neighbouring slices with a flat window in common"
    if key.startswith("bias"):
        return "no such tissue in these slices"
    return NO_WINDOW
