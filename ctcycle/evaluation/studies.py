"""What a bench has to offer so that an evaluation can run it: studies fed slice by slice, and studies of a denoiser."""

from typing import Protocol, TypeVar

from ctcycle.evaluation.findings import StudyResult
from ctcycle.evaluation.methods.method import HUFilter
from ctcycle.evaluation.pairs import HUImage, LowDoseSlice

SliceT_contra = TypeVar("SliceT_contra", bound=LowDoseSlice, contravariant=True)


class SliceStudy(Protocol[SliceT_contra]):
    """A study of one method, fed with every slice and its output, in order: series by series, ascending index.

    `SliceStudy[HUPair]` needs full dose; `SliceStudy[LowDoseSlice]` also works without. A study keeps sums rather than
    slices, so that memory stays bounded, and never changes the arrays that it is given.
    """

    def add(self, pair: SliceT_contra, output_hu: HUImage, /) -> None:
        """Add one slice.

        Args:
            pair: the slice.
            output_hu: (H, W) float32, what the method made of ``pair.low_hu``, in HU.
        """

    def result(self) -> StudyResult:
        """Return the findings; called once, after the last slice."""


class MethodBench(Protocol):
    """A bench with images of its own, such as the physics bench."""

    def study(self, name: str, denoise: HUFilter, /) -> StudyResult:
        """Study one method; ``name`` is its name in the results."""
