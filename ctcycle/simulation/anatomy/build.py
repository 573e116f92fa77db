"""The body measurements and tissue densities of one patient.

Positions are in mm in DICOM's patient coordinate system: x to the patient's left, y to the back, z to the head, with
z = 0 at the renal hila. Sizes, positions and densities are typical values that vary between patients.
"""

from dataclasses import dataclass

import numpy as np

AIR, FAT, WATER, MUSCLE, SKIN, DISC, MARROW, CORTEX = -1000.0, -105.0, 8.0, 58.0, 25.0, 85.0, 190.0, 800.0
LUNG = -830.0

# HU without contrast medium, and in the arterial, portal venous and excretory phase.
_ENHANCEMENT = {
    "liver": (56, 68, 112, 98),
    "spleen": (48, 135, 122, 95),
    "cortex": (33, 175, 195, 160),
    "medulla": (30, 60, 160, 185),
    "pelvis": (5, 10, 25, 420),
    "pancreas": (40, 110, 95, 75),
    "bowel": (38, 85, 95, 70),
    "aorta": (40, 310, 165, 120),
    "vein": (38, 80, 165, 120),
    "portal": (40, 100, 180, 125),
}


@dataclass(frozen=True)
class Build:
    """The body measurements of one patient, in mm.

    Attributes:
        size: scale of the skeleton, about 1.
        half_width: half the width of the abdominal cavity.
        half_depth: half the depth of the cavity.
        middle: x and y of the cavity's centre.
        wall: thickness of the abdominal muscles.
        fat: thickness of subcutaneous fat at the sides, front and back.
        hu: density of each enhancing tissue.
    """

    size: float
    half_width: float
    half_depth: float
    middle: tuple[float, float]
    wall: float
    fat: tuple[float, float, float]
    hu: dict[str, float]

    @property
    def spine(self) -> float:
        """The y of the vertebral bodies."""
        return self.middle[1] + self.half_depth - 33 * self.size

    @property
    def back(self) -> float:
        """The y of the skin of the back."""
        return self.spine + 66 * self.size + self.fat[2]

    @property
    def front(self) -> float:
        """The y of the skin of the belly."""
        return self.middle[1] - self.half_depth - self.wall - self.fat[1]

    def at(self, across: float, down: float, z: float) -> tuple[float, float, float]:
        """Return a point in cavity coordinates: -1 to 1 from right to left, and from front to back."""
        return self.middle[0] + across * self.half_width, self.middle[1] + down * self.half_depth, z

    def by_spine(self, x: float, y: float, z: float) -> tuple[float, float, float]:
        """Return a point by its offset from the vertebral bodies, in mm for a patient of size 1."""
        return self.middle[0] + x * self.size, self.spine + y * self.size, z


def make_build(rng: np.random.Generator) -> Build:
    """Return a random build, from lean to obese and small to tall, at any contrast phase or without contrast."""
    size, weight = rng.uniform(0.87, 1.03), rng.beta(2, 2.5)
    fat = (4 + 23 * weight * rng.uniform(0.6, 1.2), 5 + 24 * weight * rng.uniform(0.5, 1.4), 6 + 20 * weight)
    half_width, half_depth = size * (106 + 15 * weight), size * (72 + 22 * weight) * rng.uniform(0.94, 1.06)
    wall = size * rng.uniform(10, 15)
    # The centre of the body, skin to skin, is on average 4 mm in front of the scanner axis.
    before_cavity, behind_cavity = wall + fat[1], 33 * size + fat[2]
    middle = (rng.normal(0, 4), (before_cavity - behind_cavity) / 2 + rng.normal(-4, 4))
    return Build(size, half_width, half_depth, middle, wall, fat, _densities(rng))


def _densities(rng: np.random.Generator) -> dict[str, float]:
    """HU of each enhancing tissue; some livers are fatty."""
    phase = rng.choice(4, p=(0.12, 0.2, 0.6, 0.08)) + rng.normal(0, 0.15)
    hu = {name: float(np.interp(phase, range(4), by_phase)) for name, by_phase in _ENHANCEMENT.items()}
    hu = {name: value + rng.normal(0, 4) for name, value in hu.items()}
    hu["liver"] -= 50 * max(rng.normal(-0.3, 0.5), 0)
    return hu
