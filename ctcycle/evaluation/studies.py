"""What a bench has to offer so that an evaluation can run it: studies fed slice by slice, and studies of a denoiser."""

from typing import Protocol

from ctcycle.evaluation.findings import StudyResult
from ctcycle.evaluation.pairs import HUImage, HUPair


class SliceStudy(Protocol):
    """A study of one method, fed with every slice and its output, in order: series by series, ascending index.

    A study keeps sums rather than slices, so that memory stays bounded. It never changes the arrays that it is given.
    """

    def add(self, pair: HUPair, output_hu: HUImage) -> None:
        """Add one slice.

        Args:
            pair: the slice; ``full_hu`` is None where there is no full dose.
            output_hu: (H, W) float32, what the method made of ``pair.low_hu``, in HU.
        """

    def result(self) -> StudyResult:
        """Return the findings; called once, after the last slice."""


class HUFilter(Protocol):
    """Denoises one slice (H, W) in HU; safe to call from several threads."""

    def __call__(self, low: HUImage, /) -> HUImage:
        """Return the denoised slice, of the same shape."""


class SliceStudyMaker(Protocol):
    """Starts the study of one method; a bench offers one, for example ``PairStudy``."""

    def __call__(self, method: str, denoise: HUFilter | None, /) -> SliceStudy:
        """Return a new study.

        Args:
            method: name of the method in the results.
            denoise: the method, for a study that changes the input; None where only outputs are there.
        """


class MethodBench(Protocol):
    """A bench with images of its own, such as the physics bench."""

    def study(self, name: str, denoise: HUFilter) -> StudyResult:
        """Study one method; ``name`` is its name in the results."""
