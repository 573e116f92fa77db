"""Insertion bench: lesions added to real low-dose slices, and what a method leaves of them; needs no full dose."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Curve, Finding, Measure, Picture, StudyResult
from ctcycle.evaluation.inserted.noise import flat_noise, structures
from ctcycle.evaluation.inserted.passes import lesion_passes
from ctcycle.evaluation.inserted.responses import RADIUS_MM, Response, blurred, pass_responses, response_figures
from ctcycle.evaluation.inserted.sites import (
    APERTURE_SIGMA_MM,
    InsertionSettings,
    SiteChoice,
    SiteSlice,
    kernel_sigma_mm,
    scan_sigma_mm,
)
from ctcycle.evaluation.methods.method import HUFilter
from ctcycle.evaluation.paired.noise_measures import NOISE_REMOVED, TEXTURE_DISTANCE
from ctcycle.evaluation.pairs import HUImage, HUPair
from ctcycle.metrics.bootstrap import MIN_PATIENTS
from ctcycle.metrics.jackknife import jackknife_intervals
from ctcycle.metrics.lesions.insertion import LESIONS, Lesion
from ctcycle.metrics.spectral.nps import NoisePower, texture_distance
from ctcycle.metrics.truth_free import truth_free_score

DRAWS = 1000
SHOWN = (3.0, 20.0)
NO_SITE = "no flat window of soft tissue that is wide enough for a lesion"
NO_FULL = "no full-dose slices of the same kernel were given"

_KINDS = {
    "contrast_kept": ("Contrast kept", "one", "Mean response D(x + s) - D(x) over the core (r < R/2) over that of s"),
    "volume_kept": ("Volume kept", "one", "Sum of the response over that of the inserted lesion"),
    "width_ratio": ("Width over inserted", "one", "Full width at half maximum of the mean response over the lesion's"),
    "contrast_spread": ("Spread of contrast kept", "lower", "5th to 95th percentile over sites of the contrast kept"),
}
_SIZES = {(1.5, "1p5mm"), (3.0, "3mm"), (5.0, "5mm")}
_DOT = "dot"


def lesion_name(lesion: Lesion) -> str:
    """Return the name of a lesion in keys, the same for both signs: ``3mm_20hu``, or ``dot``."""
    sizes = dict(_SIZES)
    if lesion.radius_mm not in sizes:
        return _DOT
    return f"{sizes[lesion.radius_mm]}_{abs(lesion.contrast_hu):.0f}hu"


def _measures_of(name: str, shown: str) -> list[Measure]:
    source = "SPIE 12031, 2022"
    return [
        Measure(f"{kind}_{name}", f"{title}, {shown}", "", "one" if aim == "one" else "lower", f"{how} ({source}).")
        for kind, (title, aim, how) in _KINDS.items()
    ]


def _lesion_measures() -> list[Measure]:
    shown = {
        lesion_name(lesion): f"{lesion.radius_mm:g} mm, {abs(lesion.contrast_hu):.0f} HU"
        if lesion_name(lesion) != _DOT
        else "dot of 1 mm, 300 HU"
        for lesion in LESIONS
    }
    return [measure for name, text in shown.items() for measure in _measures_of(name, text)]


MEASURES: tuple[Measure, ...] = (
    *_lesion_measures(),
    Measure(
        "structure_excess",
        "Structure in what was removed",
        "",
        "zero",
        "Correlation of |input - output| with the gradient of the smoothed input, minus that after moving the residual "
        "about within tiles of 16 px; above 0 where edges were blurred.",
    ),
    NOISE_REMOVED,
    TEXTURE_DISTANCE,
    Measure(
        "truth_free_penalty",
        "Penalty without truth",
        "",
        "lower",
        "Mean of structure, texture distance, contrast lost (3 mm, 20 HU) and noise beyond full dose, each in units of "
        "its bar: 0.05, 0.1, 20 % and 10 %.",
    ),
)
"""What the insertion bench measures, in the order of its findings."""

Part = TypeVar("Part")


class InsertionStudy:
    """Inserts lesions into the slices that it is given; keeps a few slices, so memory stays bounded."""

    def __init__(
        self,
        method: str,
        denoise: HUFilter,
        settings: InsertionSettings | None = None,
        full_noise: NoisePower | None = None,
    ) -> None:
        """Start a study.

        Args:
            method: its name in the findings.
            denoise: the method; it is called a few times for each slice that is kept.
            settings: extent of the study.
            full_noise: noise of full-dose slices of the same kernel, from `full_domain_noise`; None where there are
                none.
        """
        self.method, self.denoise, self.full_noise = method, denoise, full_noise
        self.settings = settings or InsertionSettings()
        self._choice = SiteChoice(self.settings)

    def add(self, pair: HUPair, output_hu: HUImage) -> None:
        """Add one slice; full dose is not looked at.

        Args:
            pair: the slice, whose `spacing_mm` must be right.
            output_hu: (H, W), what the method made of low dose, HU.
        """
        self._choice.add(pair, output_hu)

    def result(self) -> StudyResult:
        """Insert the lesions and return what was found; without a site, figures that are None and a note."""
        kept = self._choice.kept
        noise = flat_noise((item.pair.low_hu, item.pair.low_hu, item.pair.spacing_mm[0]) for item in kept)
        if not kept or noise is None:
            empty = [Finding(self.method, "insertion", measure.key, None, note=NO_SITE) for measure in MEASURES]
            return StudyResult(tuple(empty), notes=(f"{self.method}: {NO_SITE}",))
        sigma_mm = scan_sigma_mm(noise)
        responses = _responses(self.denoise, kept, sigma_mm, self.settings.responses)
        found = _lesion_findings(self.method, responses, self.settings.seed)
        found += self._other_findings(kept, noise, responses)
        curves = insertion_curves(self.method, responses)
        return StudyResult(tuple(found), curves, self._pictures(kept, sigma_mm), (_blur_note(noise),))

    def _other_findings(
        self, kept: Sequence[SiteSlice], noise: NoisePower, responses: Mapping[str, Sequence[Response]]
    ) -> list[Finding]:
        output = flat_noise((item.pair.low_hu, item.output_hu, item.pair.spacing_mm[0]) for item in kept)
        excess = structures(kept, self.settings.seed)
        left = output.noise_hu if output else math.nan
        structure = float(np.mean([item.excess for item in excess])) if excess else math.nan
        texture = texture_distance(output, self.full_noise) if output and self.full_noise and left > 0 else math.nan
        contrast = response_figures(responses["3mm_20hu"])["contrast_kept"]
        over_full = left / self.full_noise.noise_hu if self.full_noise else math.nan
        penalty = truth_free_score(structure, texture, contrast, over_full).penalty
        missing = NO_FULL if self.full_noise is None else "the output has no noise"
        seen = (len(kept), "slices", "")
        return [
            _finding(self.method, "structure_excess", structure, (len(excess), "slices", "too little of the body")),
            _finding(self.method, "noise_removed", 1 - left / noise.noise_hu, seen),
            _finding(self.method, "texture_distance", texture, (len(kept), "slices", missing)),
            _finding(self.method, "truth_free_penalty", penalty, (len(kept), "slices", missing)),
        ]

    def _pictures(self, kept: Sequence[SiteSlice], sigma_mm: float) -> tuple[Picture, ...]:
        """The first site of the first slice, with the lesion of `SHOWN`, darker than its surroundings."""
        item, (row, column) = kept[0], kept[0].sites[0]
        size, radius_mm, contrast_hu = item.window_px, *SHOWN
        window = (slice(row, row + size), slice(column, column + size))
        stamp = blurred(Lesion(radius_mm, -contrast_hu), item.pair.spacing_mm[0], round(sigma_mm, 2), size)
        with_lesion = item.pair.low_hu.copy()
        with_lesion[window] += stamp.image_hu
        after = self.denoise(with_lesion)
        images = {
            "input": item.pair.low_hu,
            "input and lesion": with_lesion,
            "output": item.output_hu,
            "output and lesion": after,
        }
        lesion = f"a lesion of {radius_mm:g} mm radius and {-contrast_hu:g} HU at one site"
        shown = {title: np.array(hu[window], dtype=np.float32) for title, hu in images.items()}
        response = {
            "lesion": stamp.image_hu.astype(np.float32),
            "response": np.array(after[window] - item.output_hu[window], dtype=np.float32),
        }
        limit = (-contrast_hu, contrast_hu)
        return (
            Picture(self.method, "insertion", "insertion", f"Before and after, with and without {lesion}.", shown),
            Picture(self.method, "insertion", "insertion_response", f"What is left of {lesion}.", response, limit),
        )


def _responses(denoise: HUFilter, kept: Sequence[SiteSlice], sigma_mm: float, wanted: int) -> dict[str, list[Response]]:
    found: dict[str, list[Response]] = {lesion_name(lesion): [] for lesion in LESIONS}
    plan = lesion_passes([len(item.sites) for item in kept], wanted)
    for item, passes in zip(kept, plan, strict=True):
        for lesions in passes:
            for lesion, response in pass_responses(denoise, item, lesions, sigma_mm):
                found[lesion_name(lesion)].append(response)
    return found


def _lesion_findings(method: str, responses: Mapping[str, Sequence[Response]], seed: int) -> list[Finding]:
    found = []
    for name, parts in responses.items():
        values = response_figures(parts)
        intervals, note = _intervals(parts, seed)
        sites = len(site_contrasts(parts))
        for kind, value in values.items():
            ends = intervals.get(kind)
            found.append(_finding(method, f"{kind}_{name}", value, (sites, "sites", note), ends))
    return found


def _intervals(parts: Sequence[Response], seed: int) -> tuple[dict[str, tuple[float, float] | None], str]:
    """Return intervals by patient where there are enough, else of the contrast over sites only; and which it is."""
    by_patient = _grouped(parts, lambda part: part.patient)
    if len(by_patient) >= MIN_PATIENTS:

        def figures(groups: Sequence[Sequence[Response]]) -> dict[str, float]:
            return response_figures([part for group in groups for part in group])

        return jackknife_intervals(by_patient, figures), "interval over patients"
    rng = np.random.default_rng(seed)
    sites = site_contrasts(parts)
    means = rng.choice(sites, (DRAWS, len(sites))).mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5)).tolist()
    note = f"interval over sites of {len(by_patient)} patient(s), which does not generalise to other patients"
    return {"contrast_kept": (low, high)}, note


def site_contrasts(parts: Sequence[Response]) -> NDArray[np.float64]:
    """Return the contrast kept at each site, the mean of both signs where both are inserted there."""
    by_site = _grouped(parts, lambda part: part.place)
    return np.array([np.mean([part.contrast for part in group]) for group in by_site])


def _grouped(parts: Sequence[Part], key: Callable[[Part], str]) -> list[list[Part]]:
    groups: dict[str, list[Part]] = {}
    for part in parts:
        groups.setdefault(key(part), []).append(part)
    return list(groups.values())


def insertion_curves(method: str, responses: Mapping[str, Sequence[Response]]) -> tuple[Curve, ...]:
    """Return the mean response by radius (3 mm, 20 HU; HU over mm) and the contrast kept by radius (20 HU)."""
    shown = responses["3mm_20hu"]
    kept = np.mean([part.profile_hu for part in shown], axis=0)
    inserted = np.mean([part.inserted_profile_hu for part in shown], axis=0)
    radius = tuple(RADIUS_MM.tolist())
    contrasts = [response_figures(responses[f"{name}_20hu"])["contrast_kept"] for _, name in sorted(_SIZES)]
    return (
        Curve(method, "insertion", "insertion_profile", "", radius, tuple(kept.tolist())),
        Curve("input", "insertion", "insertion_profile", "", radius, tuple(inserted.tolist())),
        Curve(
            method, "insertion", "insertion_contrast", "", tuple(size for size, _ in sorted(_SIZES)), tuple(contrasts)
        ),
    )


def _finding(
    method: str,
    key: str,
    value: float,
    sample: tuple[int, str, str],
    interval: tuple[float, float] | None = None,
) -> Finding:
    """Return a finding of a sample (size, what was counted, note); the note only explains a gap or an interval."""
    count, unit, note = sample
    known = value if math.isfinite(value) else None
    low, high = interval or (None, None)
    return Finding(method, "insertion", key, known, low, high, count, unit, note if known is None or interval else "")


def _blur_note(noise: NoisePower) -> str:
    kernel = kernel_sigma_mm(noise)
    return (
        f"lesions are blurred by a Gaussian of {scan_sigma_mm(noise):.2f} mm: {kernel:.2f} mm of the kernel, fitted to "
        f"the noise of flat windows, and {APERTURE_SIGMA_MM:g} mm of detector and focal spot, which is assumed"
    )
