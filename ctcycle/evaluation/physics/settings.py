"""Settings of the physics bench; imports nothing heavy, so that a config is checked without delay."""

from dataclasses import dataclass
from typing import Self

from ctcycle.simulation.settings import KERNELS, Kernel, SimulationSettings, span

FEWEST_IMAGES = 200
"""Images with a lesion, and as many without, that the observer needs for a useful interval."""


@dataclass(frozen=True)
class PhysicsSettings:
    """Scanner, dose and size of the disc.

    With the defaults, noise in the disc is 20 HU at full dose and 41 HU at a quarter of it, similar to that of real
    abdomens (AAPM/Mayo 2016, 3 mm, B30f).

    Attributes:
        size: rows and columns.
        pixel_mm: side of a pixel; the field of view, ``size * pixel_mm``, must exceed the disc by a tenth.
        diameter_mm: of the water disc: 200, 260 and 320 mm stand for a slim, a normal and a large patient.
        water_hu: HU of the disc.
        views: projections over 180 degrees; fewer than ``size * 1.4`` cause streaks.
        photons: photons counted per detector element, one pixel wide, and view at full dose in an unattenuated ray.
        dose_fraction: low dose over full dose.
        electronic_noise: standard deviation of the read-out noise of an element, in photons.
        kernel: reconstruction kernel.
        realisations: independent scans; half of them get lesions for the observer.
        sites: places of each lesion size in a slice; ``sites * realisations / 2`` images with the lesion should be
            200 or more.
    """

    __pydantic_config__ = {"extra": "forbid"}  # noqa: RUF012 (pydantic reads a plain dict here; the class stays free of pydantic)

    size: int = 512
    pixel_mm: float = 0.7
    diameter_mm: float = 260.0
    water_hu: float = 40.0
    views: int = 720
    photons: float = 2e5
    dose_fraction: float = 0.25
    electronic_noise: float = 4.0
    kernel: Kernel = "b30"
    realisations: int = 50
    sites: int = 16

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"physics bench: {name}={value}; it must be from {low:g} to {high:g}")
        if self.kernel not in KERNELS:
            raise ValueError(f"physics bench: kernel={self.kernel!r} is unknown; choose one of {', '.join(KERNELS)}")
        field = self.size * self.pixel_mm
        if field < 1.1 * self.diameter_mm:
            raise ValueError(
                f"physics bench: a field of {field:g} mm for a disc of {self.diameter_mm:g} mm; "
                "increase size or pixel_mm, or make the disc smaller"
            )

    @classmethod
    def from_simulation(cls, simulation: SimulationSettings) -> Self:
        """Return a quick bench with the scanner and dose of a simulated data set.

        The disc is as large as fits, up to 260 mm, and 26 realisations give 208 images a lesion size. Of several
        kernels the first is taken, and of a range of pixel sizes the middle.

        Raises:
            ValueError: the slices are too small for a disc of 180 mm or for the rods.
        """
        pixel_mm = sum(span(simulation.pixel_mm)) / 2
        return cls(
            size=simulation.size,
            pixel_mm=pixel_mm,
            diameter_mm=min(cls.diameter_mm, simulation.size * pixel_mm / 1.1),
            views=simulation.views,
            photons=simulation.photons,
            dose_fraction=simulation.dose_fraction,
            electronic_noise=simulation.electronic_noise,
            kernel=simulation.kernels[0],
            realisations=26,
        )

    @property
    def radius_px(self) -> float:
        """Radius of the disc in pixels."""
        return self.diameter_mm / 2 / self.pixel_mm

    @property
    def region_px(self) -> int:
        """Side of the regions for noise power: 64, or 32 where the disc has room for few of that size."""
        return 64 if self.radius_px >= 140 else 32


_RANGES = (
    ("size", 96, 1024),
    ("pixel_mm", 0.1, 20.0),
    ("diameter_mm", 180.0, 500.0),
    ("water_hu", -200.0, 200.0),
    ("views", 8, 10_000),
    ("photons", 100.0, 1e9),
    ("dose_fraction", 0.01, 1.0),
    ("electronic_noise", 0.0, 1000.0),
    ("realisations", 10, 1000),
    ("sites", 4, 16),
)
