"""Packs slices into small pictures: the denoised slice on a curved scale of HU, and the residual on a straight one.

A slice becomes one grey JPEG, the denoised slice above the residual (before minus after). A browser adds the two to get
the slice before. Grey levels of the denoised slice are finest in soft tissue, see `CURVE`.
"""

import io
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

CURVE: tuple[tuple[float, float], ...] = ((-1024.0, 0.0), (-200.0, 64.0), (300.0, 192.0), (2200.0, 255.0))
"""HU and the grey level that shows it; straight between: 3.9 HU a level in soft tissue, 13 in lung, 30 in bone."""

RESIDUAL_ZERO, RESIDUAL_HU = 128, 4.0
"""Grey level of residual 0, and HU a level, as in soft tissue: from -512 to 508 HU."""

STEPS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32)
"""Steps of quantisation in grey levels to choose from. All frequencies have the same step: the usual tables of JPEG
remove the fine noise that is to be looked at."""

BASE64 = 4 / 3
"""Size of bytes as base64, relative to the bytes."""

HU = NDArray[np.float32]


@dataclass(frozen=True)
class Region:
    """A rectangle of pixels that is shown, the same in all slices."""

    top: int
    left: int
    rows: int
    columns: int

    def cut(self, image: HU) -> HU:
        """Return the rectangle of an image (H, W)."""
        return image[self.top : self.top + self.rows, self.left : self.left + self.columns]


def levels(before: HU, after: HU) -> NDArray[np.uint8]:
    """Return the grey levels of a slice: (2 H, W), the denoised slice above the residual.

    Args:
        before: (H, W) in HU.
        after: (H, W) in HU.
    """
    hu, grey = zip(*CURVE, strict=True)
    shown = np.interp(after, hu, grey)
    residual = RESIDUAL_ZERO + (before - after) / RESIDUAL_HU
    packed: NDArray[np.uint8] = np.rint(np.concatenate([shown, residual]).clip(0, 255)).astype(np.uint8)
    return packed


def images(packed: NDArray[np.uint8]) -> tuple[HU, HU]:
    """Return the slice before and after in HU that a browser shows for grey levels; the inverse of `levels`."""
    hu, grey = zip(*CURVE, strict=True)
    shown, residual = np.split(packed.astype(np.float64), 2)
    after = np.interp(shown, grey, hu)
    return (after + (residual - RESIDUAL_ZERO) * RESIDUAL_HU).astype(np.float32), after.astype(np.float32)


def jpeg(packed: NDArray[np.uint8], step: int) -> bytes:
    """Return grey levels as JPEG, with one step of quantisation for all frequencies."""
    stream = io.BytesIO()
    height, width = packed.shape
    image = Image.frombytes("L", (width, height), packed.tobytes())
    image.save(stream, format="JPEG", qtables=[[step] * 64], optimize=True)
    return stream.getvalue()


def decoded(file: bytes) -> NDArray[np.uint8]:
    """Return the grey levels of a JPEG."""
    with Image.open(io.BytesIO(file)) as image:
        return np.asarray(image.convert("L"))


def choose_step(sample: Sequence[NDArray[np.uint8]], slices: int, most_bytes: float) -> int:
    """Return the finest step of quantisation with which all slices fit into a page.

    Args:
        sample: grey levels of some slices.
        slices: how many slices the page will have.
        most_bytes: size that their pictures may have, as base64.
    """

    def size(step: int) -> float:
        return sum(len(jpeg(packed, step)) for packed in sample) / len(sample) * slices * BASE64

    place = bisect_left(STEPS, -most_bytes, key=lambda step: -size(step))  # sizes fall along the list
    return STEPS[min(place, len(STEPS) - 1)]


def display_error(pairs: Iterable[tuple[HU, HU]], step: int) -> float:
    """Return the root mean square error in HU of the denoised slices as shown, in soft tissue; 0 without any.

    Args:
        pairs: slices (H, W) before and after, in HU.
        step: step of quantisation.
    """
    (low, _), (high, _) = CURVE[1:3]
    errors: list[NDArray[np.floating]] = [np.empty(0)]
    for before, after in pairs:
        shown = images(decoded(jpeg(levels(before, after), step)))[1]
        errors.append((shown - after)[(after > low) & (after < high)])
    joined = np.concatenate(errors)
    return float(np.sqrt(np.mean(joined**2))) if joined.size else 0.0
