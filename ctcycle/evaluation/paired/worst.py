"""The places where an output departs most from full dose, kept as small pictures."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ctcycle.evaluation.findings import Picture
from ctcycle.evaluation.paired.reference import PairReference, rms_hu
from ctcycle.evaluation.pairs import HUImage
from ctcycle.metrics.lesions.false_structures import RADII_MM, detection_map
from ctcycle.metrics.lesions.patch_agreement import PATCH_PX

PATCHES = 5
SLICES = 3


@dataclass
class Worst:
    """Keeps the pictures with the highest scores.

    Attributes:
        count: how many are kept.
        scored: score and picture, worst first.
    """

    count: int
    scored: list[tuple[float, Picture]] = field(default_factory=list)

    def wants(self, score: float) -> bool:
        """Return whether a picture of this score would be kept."""
        return len(self.scored) < self.count or score > self.scored[-1][0]

    def add(self, score: float, picture: Picture) -> None:
        """Keep a picture if its score is among the highest."""
        self.scored = sorted([*self.scored, (score, picture)], key=lambda item: -item[0])[: self.count]

    @property
    def pictures(self) -> tuple[Picture, ...]:
        """The pictures, worst first."""
        return tuple(picture for _, picture in self.scored)


def worst_patch(reference: PairReference, output_hu: HUImage) -> tuple[float, tuple[int, int]] | None:
    """Find the patch of the body with the largest blob in output minus full dose.

    Full dose is noisy itself: some blobs are its own, which is why no patch is called wrong here.

    Returns:
        The size of the blob in local standard deviations, see `detection_map`, and (row, column) of the patch's corner;
        None without a patch in the body, or if the pixel size is unknown.
    """
    if not reference.body_patches or not reference.pixel_mm > 0:
        return None
    residual = output_hu.astype(np.float64) - reference.pair.full_hu
    maps = [np.abs(detection_map(residual, radius, reference.pixel_mm)) for radius in RADII_MM]
    strongest = np.max(maps, axis=0)
    quarter = PATCH_PX // 4
    # a blob at the border of one patch is in the middle of the next
    inner = slice(quarter, PATCH_PX - quarter)
    peaks = [float(strongest[row:, col:][inner, inner].max()) for row, col in reference.body_patches]
    worst = int(np.argmax(peaks))
    return peaks[worst], reference.body_patches[worst]


def add_worst_patch(kept: Worst, method: str, reference: PairReference, output_hu: HUImage) -> None:
    """Keep the worst patch of a slice if it is among the worst of all; at most one a slice."""
    found = worst_patch(reference, output_hu)
    if found is None or not kept.wants(found[0]):
        return
    score, (row, column) = found
    window = (slice(row, row + PATCH_PX), slice(column, column + PATCH_PX))
    caption = f"{_place(reference)}, row {row}, column {column}: largest difference {score:.1f} local SD."
    kept.add(score, _picture(method, "worst_patches", caption, reference, output_hu, window))


def add_worst_slice(kept: Worst, method: str, reference: PairReference, output_hu: HUImage) -> None:
    """Keep a slice if its error, as a multiple of its input's error, is among the largest."""
    mask = reference.masks.outside_air
    error = rms_hu(output_hu, reference.pair.full_hu, mask)
    score = error / reference.input_rms_hu if reference.input_rms_hu > 0 else float("nan")
    if not np.isfinite(score) or not kept.wants(score):
        return
    caption = f"{_place(reference)}: error {error:.1f} HU, {score:.2f} times that of the input."
    kept.add(score, _picture(method, "worst_slices", caption, reference, output_hu, (slice(None), slice(None))))


def _place(reference: PairReference) -> str:
    return f"Patient {reference.pair.patient}, slice {reference.pair.slice_index + 1}"


def _picture(  # noqa: PLR0917 (what a picture needs)
    method: str,
    topic: str,
    caption: str,
    reference: PairReference,
    output_hu: HUImage,
    window: tuple[slice, slice],
) -> Picture:
    shown = {"input": reference.pair.low_hu, "output": output_hu, "full dose": reference.pair.full_hu}
    return Picture(method, "pairs", topic, caption, {title: _copy(hu[window]) for title, hu in shown.items()})


def _copy(image: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.array(image, dtype=np.float32)
