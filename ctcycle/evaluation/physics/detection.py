"""Detectability of small lesions by two observers, and the dose that it is worth (M6)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Finding, Measure
from ctcycle.evaluation.physics.reporting import Reporter
from ctcycle.evaluation.physics.scenes import RINGS, HUImage, Place, Scans, crop
from ctcycle.evaluation.physics.settings import FEWEST_IMAGES, PhysicsSettings
from ctcycle.metrics.lesions.detectability import (
    KEPT_RATIO,
    MIN_WINDOW_WIDTHS,
    ChannelOutputs,
    channel_outputs,
    contrast_for,
    detectability,
    detectability_gain,
    laguerre_gauss,
    unbiased_square,
)
from ctcycle.metrics.lesions.eye_observer import disc_spectrum, eye_filter, npwe_d_prime
from ctcycle.metrics.spectral.nps import NoisePower
from ctcycle.metrics.spectral.ttf import TaskTransfer

RADII_MM = tuple(RINGS)
WANTED_D_PRIME = 2.5
"""At full dose: neither certain to be found nor lost."""

Array = NDArray[np.float64]


def radius_key(radius_mm: float) -> str:
    """Return ``1p5mm`` for 1.5 mm."""
    return f"{radius_mm:g}mm".replace(".", "p")


_KINDS: Mapping[str, tuple[str, str]] = {
    "d_prime": (
        "Detectability of a lesion of {size} radius",
        "d' of a channelised Hotelling observer, 5 Laguerre-Gauss channels, place known (Gallas and Barrett 2003).",
    ),
    "d_prime_ratio": (
        "Detectability kept, {size}",
        f"d' of the output over that of the input, same images; kept where the lower limit is above {KEPT_RATIO:g}.",
    ),
    "d_prime_eye_ratio": (
        "Visibility kept, {size}",
        "The same for a non-prewhitening observer with an eye filter, from noise power and transfer function (TG-233).",
    ),
    "equivalent_dose": (
        "Dose for the same detectability, {size}",
        "Share of the full dose at which plain reconstruction reaches the output's d': low dose times ratio squared.",
    ),
}
"""Title and description of each measure of a lesion."""


def _measures(radius_mm: float) -> list[Measure]:
    size = f"{radius_mm:g} mm"
    return [
        Measure(f"{kind}_{radius_key(radius_mm)}", title.format(size=size), "", "higher", how)
        for kind, (title, how) in _KINDS.items()
    ]


MEASURES: tuple[Measure, ...] = tuple(measure for radius in RADII_MM for measure in _measures(radius))


@dataclass(frozen=True)
class Task:
    """What the observer looks for, and what it sees before denoising.

    Attributes:
        radius_mm: of the lesions.
        contrast_hu: of the lesions; negative, as most liver lesions are.
        sites: their centres.
        channels: (p, N, N).
        low: channel outputs of the low-dose scans.
        full: of the full-dose scans.
    """

    radius_mm: float
    contrast_hu: float
    sites: tuple[Place, ...]
    channels: Array
    low: ChannelOutputs
    full: ChannelOutputs

    def seen(self, image_hu: NDArray[np.floating]) -> Array:
        """Return the channel outputs (sites, p) of one image (N, N)."""
        windows = np.stack([crop(image_hu, site, len(self.channels[0])) for site in self.sites])
        return channel_outputs(windows, windows, self.channels).present


def make_task(
    radius_mm: float, sites: tuple[Place, ...], unit_hu: HUImage, scans: Scans, settings: PhysicsSettings
) -> Task:
    """Choose the contrast that gives `WANTED_D_PRIME` at full dose; see `look` for the images.

    Args:
        radius_mm: of the lesions.
        sites: their centres.
        unit_hu: (N, N), the lesions at 1 HU.
        scans: the scans without lesions.
        settings: pixels.
    """
    side = int(np.ceil(MIN_WINDOW_WIDTHS * 2 * radius_mm / settings.pixel_mm)) // 2 * 2 + 1
    channels = laguerre_gauss(2 * radius_mm, settings.pixel_mm, side)
    task = Task(radius_mm, 0.0, sites, channels, _NOTHING, _NOTHING)
    absent = np.concatenate([task.seen(noise.imag) for noise in scans.noise_hu])
    present = absent + np.tile(task.seen(unit_hu) * _STRONG_HU, (len(scans.noise_hu), 1))
    strong = float(np.sqrt(unbiased_square(ChannelOutputs(present, absent))))
    return replace(task, contrast_hu=-contrast_for(WANTED_D_PRIME, _STRONG_HU, strong))


def look(task: Task, scans: Scans, lesions_hu: HUImage) -> Task:
    """Return the task with what the observer sees before denoising.

    Even realisations show the lesions and odd ones do not, so that no noise is used twice.

    Args:
        task: from `make_task`.
        scans: the scans without lesions.
        lesions_hu: (N, N), the lesions of all tasks.
    """
    shown = [lesions_hu if number % 2 == 0 else None for number in range(len(scans.noise_hu))]
    low, full = (
        split_outputs([task.seen(scan(number, inserts)) for number, inserts in enumerate(shown)])
        for scan in (scans.low, scans.full)
    )
    return replace(task, low=low, full=full)


_STRONG_HU = 1000.0
_NOTHING = ChannelOutputs(np.empty((0, 0)), np.empty((0, 0)))


def split_outputs(by_realisation: list[Array]) -> ChannelOutputs:
    """Return the outputs (sites, p) of each realisation as images with (even) and without lesions (odd)."""
    return ChannelOutputs(np.concatenate(by_realisation[::2]), np.concatenate(by_realisation[1::2]))


def detection_findings(
    method: str, task: Task, seen: ChannelOutputs, dose_fraction: float, seed: int
) -> tuple[Finding, ...]:
    """Compare the Hotelling observer's d' in the output with that in the input.

    Args:
        method: name of the method.
        task: from `make_task`.
        seen: channel outputs of the denoised images.
        dose_fraction: of the input.
        seed: of the bootstrap.
    """
    report = Reporter(method, len(seen.present), "images")
    key = radius_key(task.radius_mm)
    keys = f"d_prime_{key}", f"d_prime_ratio_{key}", f"equivalent_dose_{key}"
    try:
        found = detectability(seen, np.random.default_rng(seed))
        gain = detectability_gain(seen, task.low, np.random.default_rng(seed), dose_fraction)
    except (ValueError, np.linalg.LinAlgError):
        return report.missing(keys, "the output has too little noise for the observer")
    before, full = (float(np.sqrt(max(unbiased_square(part), 0.0))) for part in (task.low, task.full))
    note = f"contrast {task.contrast_hu:.1f} HU; input {before:.2f}, full dose {full:.2f}"
    few = f"; fewer than {FEWEST_IMAGES} images" if report.count < FEWEST_IMAGES else ""
    doses = gain.equivalent_dose_low, gain.equivalent_dose_high
    return (
        report.found(keys[0], found.d_prime, (found.d_prime_low, found.d_prime_high), note + few),
        report.found(keys[1], gain.ratio, (gain.ratio_low, gain.ratio_high), gain.verdict + few),
        report.found(keys[2], gain.equivalent_dose, doses),
    )


def eye_findings(
    method: str,
    tasks: tuple[Task, ...],
    output: tuple[TaskTransfer, NoisePower] | None,
    source: tuple[TaskTransfer, NoisePower] | None,
) -> tuple[Finding, ...]:
    """Compare d' of the observer with an eye filter, in closed form, after and before denoising.

    Args:
        method: name of the method.
        tasks: the lesions.
        output: transfer function at the faintest clear rod and noise power of the output; None where there is none.
        source: of the input, with the transfer function of the same rod.
    """
    report = Reporter(method, 0, "")
    keys: Mapping[float, str] = {task.radius_mm: f"d_prime_eye_ratio_{radius_key(task.radius_mm)}" for task in tasks}
    if output is None or source is None:
        return report.missing(tuple(keys.values()), "no rod is clear enough, or no noise is left, to compute it from")
    return tuple(
        report.found(keys[task.radius_mm], _eye_d_prime(task, *output) / _eye_d_prime(task, *source)) for task in tasks
    )


def _eye_d_prime(task: Task, transfer: TaskTransfer, power: NoisePower) -> float:
    frequency = np.linspace(0.0, power.frequency_per_mm[-1], 400)
    passed = np.interp(frequency, transfer.frequency_per_mm, transfer.transfer)
    noise = np.interp(frequency, power.frequency_per_mm, power.radial_hu2_mm2)
    spectrum = disc_spectrum(task.radius_mm, task.contrast_hu, frequency)
    return npwe_d_prime(frequency, spectrum, passed, noise, eye_filter(frequency))
