"""Settings of simulations; imports nothing heavy, so that a config is checked without delay."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from ctcycle.data.settings import Source, SplitSettings

Kernel = Literal["soft", "medium", "b30", "sharp", "ramp", "d45"]
"""Reconstruction kernels by name, from smooth to sharp; see `ctcycle.simulation.reconstruction.reconstruct`.

``b30`` and ``d45`` have the noise texture of Siemens B30f and D45f at any pixel size; the others are defined in pixels.
"""

KERNELS: tuple[Kernel, ...] = get_args(Kernel)


Range = float | tuple[float, float]
"""One value, or the limits of a range to draw from."""


@dataclass(frozen=True)
class SimulationSettings:
    """Patients, scanner and dose of a simulated data set.

    With the defaults, noise is that of real abdomens (AAPM/Mayo 2016, 3 mm, B30f): about 18 HU in soft tissue at full
    dose, twice as much at a quarter of it, and a correlation of the two of 0.5. In a water disc of 320 mm, read-out
    noise makes the low dose 2.25 times as noisy and lowers the correlation to 0.4.

    Attributes:
        patients: number of patients; each has one full-dose and one low-dose series.
        slices: slices per series.
        slice_spacing_mm: distance between slices, and slice thickness.
        size: rows and columns.
        pixel_mm: side of a pixel; the field of view, ``size * pixel_mm``, should cover a body of 330 mm. With two
            limits it is fitted to each patient with a random margin, from the lower to the higher limit.
        views: projections over 180 degrees; fewer than ``size * 1.4`` cause streaks.
        photons: photons counted per detector element and view at full dose in an unattenuated ray.
        dose_fraction: low dose over full dose.
        electronic_noise: standard deviation of the read-out noise, in photons.
        kernel: reconstruction kernel of both series. With several, the patients cycle through them.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    patients: int = 72
    slices: int = 3
    slice_spacing_mm: float = 5.0
    size: int = 256
    pixel_mm: Range = 1.4
    views: int = 358
    photons: float = 8e4
    dose_fraction: float = 0.25
    electronic_noise: float = 4.0
    kernel: Kernel | tuple[Kernel, ...] = "soft"

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            values = span(getattr(self, name))
            if not low <= values[0] <= values[1] <= high:
                raise ValueError(f"simulation: {name}={getattr(self, name)}; it must be from {low:g} to {high:g}")
        if not self.kernels or not set(self.kernels) <= set(KERNELS):
            raise ValueError(f"simulation: kernel={self.kernel!r} is unknown; choose one of {', '.join(KERNELS)}")

    @property
    def kernels(self) -> tuple[Kernel, ...]:
        """All reconstruction kernels."""
        return (self.kernel,) if isinstance(self.kernel, str) else self.kernel


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


@dataclass(frozen=True)
class LowDoseSettings:
    """Low dose simulated from real full-dose scans.

    Attributes:
        sources: folders of full-dose scans, as in the scan task.
        split: patients for training, validation and testing.
        copies: low-dose series to make of each series, with independent noise.
        dose_fraction: low dose over the dose of the scan, in (0, 1); the noise level is derived from the noise of the
            scan in soft tissue.
        noise_hu: standard deviation of the added noise in soft tissue, in HU; replaces ``dose_fraction``.
        kernels: reconstruction kernels of the added noise; the copies cycle through them. See ``sharpen``.
        sharpen: also sharpen the scan for each kernel sharper than ``scan_kernel``, and add the result as a full-dose
            series; sharpening amplifies the scan's noise together with its edges.
        scan_kernel: the kernel here that is most similar to the scans' kernel.
        views: projections over 180 degrees.
        photons: photons counted per detector element and view at full dose in an unattenuated ray; together with
            ``electronic_noise`` this shapes the noise behind thick bodies, but does not set its level.
        electronic_noise: standard deviation of the read-out noise, in photons.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    sources: tuple[Source, ...]
    split: SplitSettings = field(default_factory=SplitSettings)
    copies: int = 1
    dose_fraction: Range = 0.25
    noise_hu: Range | None = None
    kernels: tuple[Kernel, ...] = ("b30",)
    sharpen: bool = False
    scan_kernel: Kernel = "soft"
    views: int = 720
    photons: float = 1e5
    electronic_noise: float = 2.0

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("low dose: sources is empty; add a folder of full-dose scans")
        unknown = [kernel for kernel in self.kernels if kernel not in KERNELS]
        if unknown or not self.kernels:
            raise ValueError(f"low dose: kernels={list(self.kernels)}; choose from {', '.join(KERNELS)}")
        for name, low, high in _LOW_DOSE_RANGES:
            values = span(getattr(self, name))
            if not low <= values[0] <= values[1] <= high:
                raise ValueError(f"low dose: {name}={getattr(self, name)}; it must be from {low:g} to {high:g}")
        if self.noise_hu is not None and not 0 < span(self.noise_hu)[0] <= span(self.noise_hu)[1] <= 1000:
            raise ValueError(f"low dose: noise_hu={self.noise_hu}; it must be above 0 and at most 1000")


def span(value: Range) -> tuple[float, float]:
    """Return the lowest and the highest value of a range."""
    return value if isinstance(value, tuple) else (value, value)


_LOW_DOSE_RANGES = (
    ("copies", 1, 1000),
    ("dose_fraction", 0.01, 0.99),
    ("views", 8, 10_000),
    ("photons", 100.0, 1e9),
    ("electronic_noise", 0.0, 1000.0),
)
