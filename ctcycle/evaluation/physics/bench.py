"""The physics bench: prepares the scans once, then measures one method after the other on them."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ctcycle.errors import SeriesError
from ctcycle.evaluation.findings import Finding, Measure, Picture, StudyResult
from ctcycle.evaluation.physics import detection, fidelity, resolution, texture
from ctcycle.evaluation.physics.discs import Disc, disc_image
from ctcycle.evaluation.physics.scenes import (
    HUImage,
    Place,
    crop,
    disc_mask,
    in_threads,
    lesion_sites,
    lesions_image,
    region_corners,
    rods,
    simulate_scans,
)
from ctcycle.evaluation.physics.settings import PhysicsSettings
from ctcycle.metrics.lesions.false_structures import detection_map
from ctcycle.metrics.spectral.ttf import MIN_RADIUS_PX, REACH_PX

HUFilter = Callable[[HUImage], HUImage]
Array = NDArray[np.float64]

MEASURES: tuple[Measure, ...] = (
    *texture.MEASURES,
    *resolution.MEASURES,
    *detection.MEASURES,
    *fidelity.MEASURES,
)

_ROD_SIDE = 2 * int(MIN_RADIUS_PX + REACH_PX) + 1
_ROD_BATCH = 10
_BLOB_RADIUS_MM = 3.0
_SHOWN_MM = 60.0


@dataclass(frozen=True)
class _Plain:
    """What is kept of a denoised scan without inserts."""

    disc_hu: NDArray[np.float32]
    regions_hu: NDArray[np.float32]
    peaks: fidelity.Peaks
    strongest: "_Blob"
    seen: list[Array]


@dataclass(frozen=True)
class _Blob:
    """The strongest blob of a denoised scan: in local standard deviations, and the output around it."""

    strength: float
    place: Place
    output_hu: HUImage


class PhysicsBench:
    """Simulated scans of a water disc, on which any denoiser of slices in HU is measured.

    The scans take 8 N² bytes per realisation: 105 MB with the default settings.

    Args:
        settings: scanner, dose and size of the disc.
        seed: of the noise and of the resampling.
        workers: number of threads; a method is called from all of them.

    Attributes:
        scans: the noisy scans of the disc.
        tasks: the lesions that the observers look for, by radius.
    """

    def __init__(self, settings: PhysicsSettings, seed: int = 0, workers: int = 1) -> None:
        self.settings, self.seed, self.workers = settings, seed, workers
        self._rods = rods(settings)
        self._mask = disc_mask(settings)
        self._corners = region_corners(settings)
        self._shown_px = round(_SHOWN_MM / settings.pixel_mm)
        self.scans = simulate_scans(settings, seed, workers)
        units = {radius: lesions_image(radius, settings) for radius in detection.RADII_MM}
        self.tasks = tuple(
            detection.make_task(radius, lesion_sites(radius, settings), unit, self.scans, settings)
            for radius, unit in units.items()
        )
        self._lesions: HUImage = np.sum(
            [units[task.radius_mm] * np.float32(task.contrast_hu) for task in self.tasks], axis=0, dtype=np.float32
        )
        self.tasks = tuple(detection.look(task, self.scans, self._lesions) for task in self.tasks)
        self._rods_hu = disc_image(self._rods, settings)
        self._rods_reference = {
            contrast: rod[None] for contrast, rod in self._rod_means(self.scans.disc_hu + self._rods_hu).items()
        }
        count = settings.realisations
        self._null = list(in_threads(self._null_peaks, count, workers))
        self._full_regions = np.stack([self._regions(self.scans.full(number)) for number in range(count)])
        self._low_regions = np.stack([self._regions(self.scans.low(number)) for number in range(count)])

    @property
    def references(self) -> StudyResult:
        """Curves of input and full dose, and a note on what was simulated, to show beside those of the methods."""
        pixel, settings = self.settings.pixel_mm, self.settings
        powers = {"input": texture.power_of(self._low_regions, pixel)}
        powers["full dose"] = texture.power_of(self._full_regions, pixel)
        noise = " and ".join(f"{power.noise_hu:.1f} HU ({name})" for name, power in powers.items())
        note = (
            f"physics bench: water disc of {settings.diameter_mm:g} mm, kernel {settings.kernel}, pixels of "
            f"{pixel:g} mm, {settings.realisations} realisations, noise {noise}"
        )
        curves = [texture.nps_curve(name, power) for name, power in powers.items()]
        curves += [
            resolution.ttf_curve("full dose", contrast, resolution.transfer(rod[0], pixel))
            for contrast, rod in sorted(self._rods_reference.items())
        ]
        return StudyResult(curves=tuple(curves), notes=(note,))

    def study(self, name: str, denoise: HUFilter) -> StudyResult:
        """Measure one method.

        Args:
            name: of the method, in its findings.
            denoise: called with slices (N, N) in HU; safe to call from several threads.

        Raises:
            SeriesError: an output has another shape than its slice, or values that are not finite.
        """
        checked = _checked(name, denoise)
        plain = list(in_threads(lambda number: self._plain(checked, number), self.settings.realisations, self.workers))
        regions = np.stack([part.regions_hu for part in plain])
        noise = texture.texture_study(name, regions, self._full_regions, self.settings.pixel_mm)
        rod_images = self._denoised_rods(checked)
        sharpness = resolution.resolution_study(name, rod_images, self._rods_reference, self.settings.pixel_mm)
        detected, lesions = self._detection(name, checked, plain)
        found = (*detected, *self._eye(name, rod_images, regions))
        peaks = [part.peaks for part in plain]
        found += (fidelity.false_structure_finding(name, peaks, self._null, self.seed),)
        truth = self.scans.disc_hu[self._mask]
        found += fidelity.bias_findings(name, np.stack([part.disc_hu for part in plain]), truth)
        return noise + sharpness + StudyResult(found, pictures=(lesions, self._worst(name, plain)))

    def _plain(self, denoise: HUFilter, number: int) -> _Plain:
        output = denoise(self.scans.low(number))
        residual = output - self.scans.disc_hu
        blobs = np.abs(detection_map(residual, _BLOB_RADIUS_MM, self.settings.pixel_mm)) * self._mask
        row, column = map(int, np.unravel_index(int(blobs.argmax()), blobs.shape))
        place = _inside((row, column), self._shown_px, self.settings.size)
        return _Plain(
            output[self._mask],
            self._regions(output),
            fidelity.slice_peaks(residual, self.settings.pixel_mm, self._mask),
            _Blob(float(blobs.max()), place, np.array(crop(output, place, self._shown_px))),
            [task.seen(output) for task in self.tasks],
        )

    def _detection(self, name: str, denoise: HUFilter, plain: list[_Plain]) -> tuple[tuple[Finding, ...], Picture]:
        """Return what the observers find, and a picture of the lesions in the first realisation."""
        pairs = (len(plain) + 1) // 2
        middle, side = (self.settings.size // 2,) * 2, int(2 * self.settings.radius_px)

        def seen(number: int) -> tuple[list[Array], HUImage | None]:
            output = denoise(self.scans.low(2 * number, self._lesions))
            return [task.seen(output) for task in self.tasks], None if number else np.array(crop(output, middle, side))

        present, shown = zip(*in_threads(seen, pairs, self.workers), strict=True)
        by_number = [present[n // 2] if n % 2 == 0 else part.seen for n, part in enumerate(plain)]
        outputs = [detection.split_outputs(list(each)) for each in zip(*by_number, strict=True)]
        findings = tuple(
            finding
            for task, found in zip(self.tasks, outputs, strict=True)
            for finding in detection.detection_findings(name, task, found, self.settings.dose_fraction, self.seed)
        )
        caption = "Lesions of 1.5, 3 and 5 mm radius in three rings, from the inside, in one realisation."
        images = self._panel(shown[0], (middle, side), 0, self._lesions)
        return findings, Picture(name, "physics", "lesions", caption, images)

    def _eye(self, name: str, rod_images: resolution.Rods, regions: NDArray[np.float32]) -> tuple[Finding, ...]:
        pixel = self.settings.pixel_mm
        power, low = texture.power_of(regions, pixel), texture.power_of(self._low_regions, pixel)
        rod = resolution.faintest_clear(rod_images, pixel)
        if rod is None or power.noise_hu < texture.LEAST_NOISE_HU:
            return detection.eye_findings(name, self.tasks, None, None)
        output = resolution.transfer(rod_images[rod].mean(0), pixel)
        source = resolution.transfer(self._rods_reference[rod][0], pixel)
        return detection.eye_findings(name, self.tasks, (output, power), (source, low))

    def _denoised_rods(self, denoise: HUFilter) -> resolution.Rods:
        """Denoise scans with rods until each mean rod is clear of noise, or all realisations are used."""

        def means(number: int) -> dict[float, NDArray[np.float32]]:
            return self._rod_means(denoise(self.scans.low(number, self._rods_hu)))

        seen: list[dict[float, NDArray[np.float32]]] = []
        while len(seen) < self.settings.realisations:
            end = min(len(seen) + _ROD_BATCH, self.settings.realisations)
            seen += in_threads(means, end, self.workers, first=len(seen))
            images = {contrast: np.stack([part[contrast] for part in seen]) for contrast in resolution.CONTRASTS_HU}
            if resolution.is_clear(images, self.settings.pixel_mm):
                break
        return images

    def _rod_means(self, image_hu: HUImage) -> dict[float, NDArray[np.float32]]:
        """Return the mean of the rods of each contrast in one image."""
        return {
            contrast: np.mean([_rod(image_hu, rod) for rod in self._rods if rod.contrast_hu == contrast], axis=0)
            for contrast in resolution.CONTRASTS_HU
        }

    def _regions(self, image_hu: HUImage) -> NDArray[np.float32]:
        side = self.settings.region_px
        return np.stack([image_hu[row : row + side, column : column + side] for row, column in self._corners])

    def _null_peaks(self, number: int) -> fidelity.Peaks:
        residual = self.scans.full(number) - self.scans.disc_hu
        return fidelity.slice_peaks(residual, self.settings.pixel_mm, self._mask)

    def _worst(self, name: str, plain: list[_Plain]) -> Picture:
        number = max(range(len(plain)), key=lambda number: plain[number].strongest.strength)
        blob = plain[number].strongest
        caption = (
            f"The strongest blob where there is nothing, in the middle: {blob.strength:.1f} local standard deviations."
        )
        images = self._panel(blob.output_hu, (blob.place, self._shown_px), number)
        return Picture(name, "physics", "false_structures", caption, images)

    def _panel(
        self, output_hu: HUImage, window: tuple[Place, int], number: int, inserts_hu: HUImage | None = None
    ) -> dict[str, HUImage]:
        """Return a part of a realisation before and after, with its output given."""
        low, full = (
            np.array(crop(scan(number, inserts_hu), *window), np.float32) for scan in (self.scans.low, self.scans.full)
        )
        return {"input": low, "output": output_hu, "full dose": full}


def _rod(image_hu: HUImage, rod: Disc) -> NDArray[np.float32]:
    return np.asarray(crop(image_hu, (int(rod.centre_px[0]), int(rod.centre_px[1])), _ROD_SIDE), np.float32)


def _inside(place: Place, side: int, size: int) -> Place:
    """Move the centre of a window so that the window lies in the image."""
    row, column = (min(max(at, side // 2), size - side + side // 2) for at in place)
    return row, column


def _checked(name: str, denoise: HUFilter) -> HUFilter:
    def checked(low: HUImage) -> HUImage:
        output = denoise(low)
        if output.shape != low.shape or not np.isfinite(output).all():
            raise SeriesError(
                f"physics bench, method {name}: output of shape {output.shape} for a slice of {low.shape}, or with "
                "values that are not finite; a denoiser must keep the shape and return finite HU"
            )
        return np.asarray(output, np.float32)

    return checked
