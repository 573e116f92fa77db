"""What a simulated data set is made of; imports nothing, so that a config can be checked at once."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from ctcycle.data.settings import Source, SplitSettings

Kernel = Literal["soft", "medium", "sharp", "ramp"]
"""Reconstruction filters by name, from blunt to sharp: see `ctcycle.simulation.reconstruction.reconstruct`."""

KERNELS: tuple[Kernel, ...] = get_args(Kernel)


@dataclass(frozen=True)
class SimulationSettings:
    """Patients, scanner and dose of a simulated data set.

    With the defaults low and full dose, clipped to ±1000 HU, have a PSNR of about 32 dB; real abdomens at a quarter
    of the dose (AAPM/Mayo 2016) have 34 dB. The read-out noise is high, as behind large bodies: the low dose is three
    times as noisy as the full dose, where photon statistics alone would make it twice.

    Attributes:
        patients: how many; each has one full-dose and one low-dose series.
        slices: of each series.
        slice_spacing_mm: from slice to slice, which is the slice thickness, too.
        size: rows and columns.
        pixel_mm: side of a pixel; ``size * pixel_mm`` is the field of view, which should hold a body of 330 mm.
        views: projections over 180 degrees; fewer than ``size * 1.4`` leave streaks that are not noise.
        photons: a detector element counts per view at full dose where nothing is in the way.
        dose_fraction: low dose over full dose.
        electronic_noise: standard deviation of the read-out noise, in photons.
        kernel: reconstruction filter of both series.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    patients: int = 72
    slices: int = 3
    slice_spacing_mm: float = 5.0
    size: int = 256
    pixel_mm: float = 1.4
    views: int = 358
    photons: float = 1e5
    dose_fraction: float = 0.25
    electronic_noise: float = 30.0
    kernel: Kernel = "soft"

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"simulation: {name} is {value}; it must be from {low:g} to {high:g}")
        if self.kernel not in KERNELS:
            raise ValueError(f"simulation: kernel is {self.kernel!r}; known kernels are {', '.join(KERNELS)}")


_RANGES = (
    ("patients", 1, 100_000),
    ("slices", 1, 1000),
    ("slice_spacing_mm", 0.1, 50.0),
    ("size", 32, 1024),
    ("pixel_mm", 0.1, 20.0),
    ("views", 8, 10_000),
    ("photons", 100.0, 1e9),
    ("dose_fraction", 0.01, 1.0),
    ("electronic_noise", 0.0, 1000.0),
)


Range = float | tuple[float, float]
"""One value, or the lowest and the highest of those to draw from, evenly in their logarithm."""


@dataclass(frozen=True)
class LowDoseSettings:
    """Which full-dose scans low dose is simulated for, and how.

    Attributes:
        sources: folders of full-dose scans, as for the task scan.
        split: which of their patients are for training, validation and testing.
        copies: low-dose series for each series, each with noise of its own.
        dose_fraction: low dose over the dose of the scan, in (0, 1); the level of the noise follows from the noise that
            the scan itself shows in soft tissue.
        noise_hu: instead of that, the standard deviation of the added noise in soft tissue, in HU.
        kernels: reconstruction filters of the added noise, one copy after another. See ``sharpen``.
        sharpen: bring the scan itself to each kernel sharper than ``scan_kernel``, too, as a full-dose copy of its own;
            its noise grows with its edges.
        scan_kernel: which of our kernels the scans' own is most like.
        views: projections over 180 degrees.
        photons: a detector element counts per view at full dose where nothing is in the way; with
            ``electronic_noise`` it shapes the noise behind thick bodies, and does not set its level.
        electronic_noise: standard deviation of the read-out noise, in photons.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    sources: tuple[Source, ...]
    split: SplitSettings = field(default_factory=SplitSettings)
    copies: int = 1
    dose_fraction: Range = 0.25
    noise_hu: Range | None = None
    kernels: tuple[Kernel, ...] = ("medium",)
    sharpen: bool = False
    scan_kernel: Kernel = "soft"
    views: int = 720
    photons: float = 1e5
    electronic_noise: float = 2.0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("low dose: sources is empty; name a folder of full-dose scans")
        unknown = [kernel for kernel in self.kernels if kernel not in KERNELS]
        if unknown or not self.kernels:
            raise ValueError(f"low dose: kernels is {list(self.kernels)}; known kernels are {', '.join(KERNELS)}")
        for name, low, high in _LOW_DOSE_RANGES:
            values = span(getattr(self, name))
            if not low <= values[0] <= values[1] <= high:
                raise ValueError(f"low dose: {name} is {getattr(self, name)}; it must be from {low:g} to {high:g}")
        if self.noise_hu is not None and not 0 < span(self.noise_hu)[0] <= span(self.noise_hu)[1] <= 1000:
            raise ValueError(f"low dose: noise_hu is {self.noise_hu}; it must be above 0 and at most 1000")


def span(value: Range) -> tuple[float, float]:
    """The lowest and the highest value of a range."""
    return value if isinstance(value, tuple) else (value, value)


_LOW_DOSE_RANGES = (
    ("copies", 1, 1000),
    ("dose_fraction", 0.01, 0.99),
    ("views", 8, 10_000),
    ("photons", 100.0, 1e9),
    ("electronic_noise", 0.0, 1000.0),
)
