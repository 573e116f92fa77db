# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""How a NIfTI volume is cut into slices: the axis, the orientation of the slices, and their place."""

from dataclasses import dataclass

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from scripts.ct import slice_axis
from scripts.ct.array_file import Layout
from scripts.ct.nifti.headers import Header
from scripts.ct.series import SlicePlane

_SHOWN = {2: ("axial", "SPL"), 1: ("coronal", "PIL"), 0: ("sagittal", "RIP")}
"""For slices along the axis from left to right (0), back to front (1) or feet to head (2): the name of the plane, and
the directions of slices, rows and columns, as in DICOM."""

_TO_DICOM = np.diag([-1.0, -1.0, 1.0])
"""From NIfTI's coordinates (right, front, head) to DICOM's (left, back, head)."""

_SINGULAR = 1e-9


@dataclass(frozen=True)
class Cut:
    """A way to cut the array of a file into slices.

    Attributes:
        axes: the file's axes along slices, rows and columns of the slices.
        flipped: for each of these, whether it runs against the file's order.
        plane: axial, coronal or sagittal.
    """

    axes: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    plane: str

    def layout(self, header: Header) -> Layout:
        """Return the position of the array in its file."""
        return Layout(header.dtype, header.offset, header.shape, self.axes[0], header.volumes)

    def indices(self, header: Header) -> list[int]:
        """Return the index of each slice in the file, volume by volume."""
        count = header.shape[self.axes[0]]
        order = range(count)[::-1] if self.flipped[0] else range(count)
        return [volume * count + index for volume in range(header.volumes) for index in order]

    def shown(self, stored: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return a slice as a DICOM reader would show it, given its two axes in the file's order."""
        image = stored.T if self.axes[1] > self.axes[2] else stored
        return image[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[2] else 1]

    def stored(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the inverse of `shown`."""
        turned = image[:: -1 if self.flipped[1] else 1, :: -1 if self.flipped[2] else 1]
        return turned.T if self.axes[1] > self.axes[2] else turned


def choose_cut(header: Header, axis: int | None = None) -> Cut:
    """Return how to cut an array: in the plane of square pixels, or of the finest ones; in axial slices if all agree.

    Args:
        header: the header of the file.
        axis: the file's axis to cut along; None to choose it.
    """
    directions = _directions(header.affine)
    along = _axis(header, directions) if axis is None else axis
    plane, codes = _SHOWN[int(directions[along, 0])]
    wanted: NDArray[np.float64] = orientations.axcodes2ornt(tuple(codes))  # type: ignore[no-untyped-call]
    axes = [int(np.flatnonzero(directions[:, 0] == target)[0]) for target in wanted[:, 0]]
    flipped = [bool(directions[file_axis, 1] != wanted[number, 1]) for number, file_axis in enumerate(axes)]
    return Cut((axes[0], axes[1], axes[2]), (flipped[0], flipped[1], flipped[2]), plane)


def slice_plane(header: Header, cut: Cut) -> SlicePlane | None:
    """Return the place of the slices; None if the affine is missing or degenerate."""
    steps, corner = _steps(header, cut)
    lengths = [float(np.linalg.norm(step)) for step in steps]
    if not header.located or min(lengths[1:]) < _SINGULAR:
        return None
    directions = np.concatenate([steps[2] / lengths[2], steps[1] / lengths[1]])
    corners = corner + np.arange(header.shape[cut.axes[0]])[:, None] * steps[0]
    return SlicePlane(tuple(directions.tolist()), tuple(map(tuple, corners.tolist())) * header.volumes)


def slice_positions(header: Header, cut: Cut) -> tuple[float, ...]:
    """Return the positions of the slices along their normal, in mm."""
    steps, corner = _steps(header, cut)
    normal = np.cross(steps[2], steps[1])
    length = float(np.linalg.norm(normal))
    count = header.shape[cut.axes[0]]
    if length < _SINGULAR**2:
        return tuple((header.spacing[cut.axes[0]] * np.arange(count)).tolist()) * header.volumes
    start, step = (float(np.dot(normal, vector)) / length for vector in (corner, steps[0]))
    return tuple(round(start + index * step, 6) + 0.0 for index in range(count)) * header.volumes


def _steps(header: Header, cut: Cut) -> tuple[list[NDArray[np.float64]], NDArray[np.float64]]:
    """Return the steps to the next slice, row and column, and the first pixel, in mm in DICOM's coordinates."""
    affine = _TO_DICOM @ header.affine[:3]
    corner = affine[:, 3].copy()
    steps = []
    for axis, flipped in zip(cut.axes, cut.flipped, strict=True):
        corner += affine[:, axis] * (header.shape[axis] - 1) if flipped else 0.0
        steps.append(-affine[:, axis] if flipped else affine[:, axis])
    return steps, corner


def _directions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3, 2) directions of the file's axes; for a degenerate affine, the order of DICOM converters."""
    found: NDArray[np.float64] = orientations.io_orientation(affine)  # type: ignore[no-untyped-call]
    if not np.isnan(found).any():
        return found
    unknown: NDArray[np.float64] = orientations.axcodes2ornt(("L", "P", "S"))  # type: ignore[no-untyped-call]
    return unknown


def _axis(header: Header, directions: NDArray[np.float64]) -> int:
    head = int(np.flatnonzero(directions[:, 0] == 2)[0])
    thin = [axis for axis in range(3) if header.shape[axis] == 1]
    if thin:
        return thin[0] if len(thin) == 1 else head
    if all(header.spacing) and (header.located or len(set(header.spacing)) > 1):
        return slice_axis.by_spacing(header.spacing, head)
    found = slice_axis.by_sizes(header.shape)
    return head if found is None else found
