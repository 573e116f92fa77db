"""How low-dose twins of real scans are made; imports nothing heavy, so that a config can be checked at once."""

from dataclasses import dataclass, field

from ctcycle.data.settings import Source, SplitSettings
from ctcycle.simulation.settings import KERNELS, Kernel

Range = float | tuple[float, float]
"""One value, or the lowest and the highest of those to draw from, evenly in their logarithm."""


@dataclass(frozen=True)
class TwinSettings:
    """Which scans get low-dose twins, and of what kind.

    Attributes:
        sources: folders of full-dose scans, as for the task scan.
        split: which of their patients are for training, validation and testing.
        copies: twins of each series, each with noise of its own.
        dose_fraction: dose of the twins over that of the scan, in (0, 1); the level of the noise follows from the noise
            that the scan itself shows in soft tissue.
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
            raise ValueError("twins: sources is empty; name a folder of full-dose scans")
        unknown = [kernel for kernel in self.kernels if kernel not in KERNELS]
        if unknown or not self.kernels:
            raise ValueError(f"twins: kernels is {list(self.kernels)}; known kernels are {', '.join(KERNELS)}")
        for name, low, high in _RANGES:
            values = span(getattr(self, name))
            if not low <= values[0] <= values[1] <= high:
                raise ValueError(f"twins: {name} is {getattr(self, name)}; it must be from {low:g} to {high:g}")
        if self.noise_hu is not None and not 0 < span(self.noise_hu)[0] <= span(self.noise_hu)[1] <= 1000:
            raise ValueError(f"twins: noise_hu is {self.noise_hu}; it must be above 0 and at most 1000")


def span(value: Range) -> tuple[float, float]:
    """The lowest and the highest value of a range."""
    return value if isinstance(value, tuple) else (value, value)


_RANGES = (
    ("copies", 1, 1000),
    ("dose_fraction", 0.01, 0.99),
    ("views", 8, 10_000),
    ("photons", 100.0, 1e9),
    ("electronic_noise", 0.0, 1000.0),
)
