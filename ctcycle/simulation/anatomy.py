"""The organs of an abdomen as blobs, scaled to the patient's build.

Positions are in mm in DICOM's patient coordinate system: x to the patient's left, y to the back, z to the head, with
z = 0 at the renal hila. Sizes, positions and densities are typical values that vary between patients.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ctcycle.simulation.blobs import Blob, Ripple

AIR, FAT, WATER, MUSCLE, SKIN, DISC, MARROW, CORTEX = -1000.0, -105.0, 8.0, 58.0, 25.0, 85.0, 190.0, 800.0

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


def _three(values: NDArray[np.floating]) -> tuple[float, float, float]:
    x, y, z = values
    return float(x), float(y), float(z)


def _oblique(rng: np.random.Generator, spread: float) -> tuple[float, float]:
    """A random drift along z."""
    return rng.normal(0, spread), rng.normal(0, spread)


def _ripples(rng: np.random.Generator, share: float, orders: tuple[int, ...] = (2, 3, 4, 5)) -> tuple[Ripple, ...]:
    """Return random edge irregularities that rotate slowly along z; finer ones are smaller."""
    return tuple(
        Ripple(order, share * 2 / order * rng.uniform(0.4, 1), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.012))
        for order in orders
    )


def _table(build: Build, _rng: np.random.Generator) -> Iterator[Blob]:
    """The patient table: a crescent of foam in a thin shell."""
    top = build.back + 3
    lower = Blob(-120, (0, top - 22, 0), (116, 42, math.inf), named="table")
    upper = replace(lower, centre=(0, top - 52, 0), radii=(138, 54, math.inf), inside="table", named="")
    yield from (lower, lower.shrunk(2.5, -940), upper, upper.shrunk(2.5, AIR))


def _outline(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Skin, subcutaneous fat, layered muscle wall, and the cavity with its fat."""
    squarish = (Ripple(4, -rng.uniform(0.01, 0.035), 0.0), Ripple(3, rng.normal(0, 0.006), 0.0), *_ripples(rng, 0.008))
    x, width = build.middle[0], build.half_width + build.wall + build.fat[0]
    middle, depth = (build.back + build.front) / 2, (build.back - build.front) / 2
    turn = rng.normal(0, 0.03)
    skin = Blob(SKIN, (x, middle, 0), (width, depth, math.inf), turn, ripples=squarish)
    cavity = Blob(FAT, build.at(0, 0, 0), (build.half_width, build.half_depth, math.inf), turn, ripples=squarish)
    yield from (skin, skin.shrunk(2, FAT - 5))
    for depth_mm, hu in ((0.0, MUSCLE), (0.36, FAT + 40), (0.46, MUSCLE), (0.7, FAT + 40), (0.76, MUSCLE)):
        yield cavity.shrunk((depth_mm - 1) * build.wall, hu)
    yield replace(cavity, named="cavity")
    yield Blob(FAT + 60, build.at(0, -1 - 0.5 * build.wall / build.half_depth, 0), (5, 0.5 * build.wall, math.inf))


def _liver(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    a, b = build.half_width, build.half_depth
    right = build.at(rng.normal(-0.58, 0.04), rng.normal(-0.02, 0.06), rng.normal(45, 12))
    left = build.at(rng.normal(-0.15, 0.08), rng.normal(-0.58, 0.05), rng.normal(65, 10))
    lobe = partial(Blob, build.hu["liver"], inside="cavity", named="liver")
    yield lobe(right, (0.56 * a, 0.92 * b, 110), rng.normal(0.15, 0.1), ripples=_ripples(rng, 0.09), taper=3)
    yield lobe(left, (0.55 * a, 0.33 * b, 62), rng.normal(-0.1, 0.12), ripples=_ripples(rng, 0.12))
    for _ in range(22):  # portal and hepatic veins
        place = build.at(rng.uniform(-0.9, 0), rng.uniform(-0.6, 0.5), rng.uniform(-40, 110))
        radii = (rng.uniform(5, 20), rng.uniform(1.3, 3.2), rng.uniform(6, 18))
        yield Blob(build.hu["portal"], place, radii, rng.uniform(0, np.pi), _oblique(rng, 0.5), inside="liver")
    yield from _branches(build, rng.spawn(1)[0])
    yield from _lesions(build, rng)
    hilum, turn = build.at(-0.22, 0.01, 24), rng.normal(-0.5, 0.2)
    yield Blob(FAT, hilum, (0.2 * a, 0.13 * b, 32), turn, ripples=_ripples(rng, 0.2))
    yield Blob(build.hu["portal"], hilum, (20, 6.5, 14), turn)
    fundus = build.at(rng.normal(-0.42, 0.06), rng.normal(-0.4, 0.08), rng.normal(2, 8))
    gallbladder = Blob(60, fundus, (15, 12, 30), 0.7)
    yield from (gallbladder, gallbladder.shrunk(1.5, WATER))


def _branches(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Branches of the liver's veins, 1 to 2 mm wide."""
    for _ in range(30):
        place = build.at(rng.uniform(-0.9, 0), rng.uniform(-0.6, 0.5), rng.uniform(-60, 110))
        radii = (rng.uniform(4, 15), rng.uniform(0.5, 1.0), rng.uniform(3, 10))
        yield Blob(build.hu["portal"], place, radii, rng.uniform(0, np.pi), _oblique(rng, 0.8), inside="liver")


def _lesions(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Liver metastases (20 to 60 HU below the liver), cysts (water) and haemangiomas (20 to 50 HU above)."""
    for _ in range(rng.poisson(6)):
        liver, radius = build.hu["liver"], 3 + rng.exponential(5)
        hu = rng.choice((liver - rng.uniform(20, 60), WATER, liver + rng.uniform(20, 50)), p=(0.65, 0.2, 0.15))
        place = build.at(rng.uniform(-0.9, -0.1), rng.uniform(-0.6, 0.6), rng.uniform(-60, 90))
        radii = _three(radius * rng.uniform(0.8, 1.2, 3))
        yield Blob(float(hu), place, radii, ripples=_ripples(rng, 0.1), inside="liver")


def _spleen(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    place = build.at(rng.normal(0.78, 0.04), rng.normal(0.22, 0.06), rng.normal(60, 12))
    radii = (rng.uniform(0.24, 0.32) * build.half_width, rng.uniform(0.45, 0.6) * build.half_depth, rng.uniform(48, 65))
    yield Blob(build.hu["spleen"], place, radii, rng.normal(0.35, 0.12), ripples=_ripples(rng, 0.1), inside="cavity")


def _pancreas(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Pancreatic lobules from the duodenum to the splenic hilum, and the splenic vein behind them."""
    z = rng.normal(22, 6)
    for step in np.linspace(0, 1, 9):
        place = build.at(-0.18 + 0.72 * step, 0.02 - 0.22 * math.sin(2.6 * step) + rng.normal(0, 0.02), z + 18 * step)
        yield Blob(build.hu["pancreas"], place, (11, 8, 13), rng.normal(0, 0.5), ripples=_ripples(rng, 0.25, (4, 6, 9)))
    yield Blob(build.hu["portal"], build.at(0.2, 0.0, z + 10), (34, 4, 9), 0.2, (0.8, 0.2))


def _gut(rng: np.random.Generator, loop: Blob, gas: float) -> Iterator[Blob]:
    """A bowel loop filled with fluid, chyme or positive contrast, with a gas bubble with probability ``gas``."""
    yield loop
    content = loop.shrunk(rng.uniform(2, 3), float(rng.choice((12, 35, 55, 220), p=(0.35, 0.35, 0.22, 0.08))))
    yield content
    if rng.random() < gas:
        yield replace(content, hu=AIR + 15, level=rng.uniform(-0.9, 0.9) * 0.6 * content.radii[1])


def _small_bowel(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Loops spread out over the cavity, and the mesenteric vessels between them."""
    low, high = (-0.6, -0.82, -130), (0.78, 0.2, 25)
    points = rng.uniform(low, high, (1, 3))
    weights = np.array([build.half_width, build.half_depth, 0.6])
    for _ in range(110):
        candidates = rng.uniform(low, high, (12, 3))
        apart = np.linalg.norm((candidates[:, None] - points) * weights, axis=2).min(axis=1)
        points = np.vstack([points, candidates[apart.argmax()]])
    for across, down, z in points:
        radii = (rng.uniform(11, 20), rng.uniform(8, 12), rng.uniform(14, 26))
        place, turn = build.at(across, down, z), rng.uniform(0, np.pi)
        loop = Blob(build.hu["bowel"], place, radii, turn, _oblique(rng, 0.4), _ripples(rng, 0.1))
        yield from _gut(rng, replace(loop, inside="cavity", taper=3), gas=0.12)
    for _ in range(150):
        place = build.at(rng.uniform(-0.65, 0.75), rng.uniform(-0.7, 0.3), rng.uniform(-130, 60))
        radii = (rng.uniform(1.5, 7), rng.uniform(1, 2), rng.uniform(4, 15))
        yield Blob(build.hu["vein"], place, radii, rng.uniform(0, np.pi), _oblique(rng, 0.5), inside="cavity")


def _colon(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Ascending and descending colon at the sides, transverse colon at the front; stool is mottled with gas."""
    places = [(-0.76, 0.12, -75.0, 72.0), (0.83, 0.24, -45.0, 85.0)]
    for x in np.linspace(-0.6, 0.6, 6):
        z = -18 + 60 * max(x, 0) ** 2
        places.append((x, -0.72 + 0.25 * x * x + rng.normal(0, 0.03), z + rng.normal(0, 6), 20.0))
    for x, y, z, length in places:
        radii = (rng.uniform(15, 24) * build.size, rng.uniform(13, 21) * build.size, length)
        loop = Blob(build.hu["bowel"] - 15, build.at(x, y, z), radii, ripples=_ripples(rng, 0.12), inside="cavity")
        yield from _gut(rng, replace(loop, taper=4), gas=0.6)
        for _ in range(rng.integers(0, 14)):
            spot = np.array(loop.centre) + rng.uniform(-0.55, 0.55, 3) * radii
            yield Blob(rng.uniform(-900, -200), _three(spot), _three(rng.uniform(1.2, 3.5, 3)), inside="cavity")


def _stomach(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    full = rng.uniform(0.6, 1.1)
    place = build.at(rng.normal(0.38, 0.06), rng.normal(-0.36, 0.06), rng.normal(68, 10))
    radii = (0.4 * full * build.half_width, 0.42 * full * build.half_depth, 58)
    stomach = Blob(build.hu["bowel"] - 10, place, radii, rng.normal(-0.4, 0.25), (0.2, -0.1), _ripples(rng, 0.12))
    stomach = replace(stomach, inside="cavity")
    content = stomach.shrunk(rng.uniform(3, 6), float(rng.choice((10, 40, 60, 180), p=(0.4, 0.3, 0.2, 0.1))))
    yield from (stomach, content, replace(content, hu=AIR + 10, level=rng.uniform(-0.75, 0.1) * content.radii[1]))


def _kidneys(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    for side in (-1, 1):
        place = build.at(side * rng.normal(0.52, 0.03), rng.normal(0.5, 0.04), rng.normal(4 + 6 * side, 7))
        turn = side * rng.normal(-0.5, 0.12)
        radii = (build.size * rng.uniform(21, 26), build.size * rng.uniform(28, 34), build.size * rng.uniform(50, 60))
        kidney = Blob(build.hu["cortex"], place, radii, turn, ripples=_ripples(rng, 0.04), inside="cavity")
        yield kidney.shrunk(-rng.uniform(3, 10), FAT)
        yield kidney
        x, y, z = place
        yield replace(kidney.shrunk(6, build.hu["medulla"]), ripples=(Ripple(8, 0.09, rng.uniform(0, 6), 0.02),))
        sinus = (x - side * 11 * build.size, y - 5 * build.size, z)
        yield Blob(FAT + 15, sinus, (14 * build.size, 10 * build.size, 28), turn, ripples=_ripples(rng, 0.2))
        yield Blob(build.hu["pelvis"], sinus, (6, 4, 20), turn, ripples=_ripples(rng, 0.25))
        yield Blob(build.hu["vein"], (x - side * 26, y - 13, z), (20, 3.5, 7), side * 0.5, (0.0, 0.3))
        if rng.random() < 0.3:
            spot = (x + side * 0.8 * radii[0], y + rng.uniform(-0.7, 0.7) * radii[1], z + rng.uniform(-35, 35))
            yield Blob(WATER, spot, _three(rng.uniform(4, 15, 1).repeat(3)), inside="cavity")


def _muscles(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Psoas, quadratus lumborum and erector spinae, with streaks of fat."""
    bulk = build.size * rng.uniform(0.88, 1.08)
    for side in (-1, 1):
        psoas = build.by_spine(side * 32, 3, -120)
        yield Blob(MUSCLE, psoas, (19 * bulk, 22 * bulk, 150), side * 0.4, ripples=_ripples(rng, 0.06))
        yield Blob(MUSCLE, build.by_spine(side * 60, 27, -60), (22 * bulk, 8 * bulk, 90), side * -0.35)
        erector = Blob(MUSCLE, build.by_spine(side * 31, 41, 0), (29 * bulk, 20 * bulk, math.inf), side * -0.15)
        yield replace(erector, ripples=_ripples(rng, 0.05), named="erector")
        for _ in range(rng.integers(2, 9)):
            spot = np.array(erector.centre) + rng.uniform((-24, -15, -90), (24, 15, 90))
            streak = (rng.uniform(4, 12), rng.uniform(0.6, 1.3), 30)
            yield Blob(FAT + 30, _three(spot), streak, rng.uniform(0.6, 2.5), inside="erector")


def _vessels(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    calibre = build.size * rng.uniform(0.85, 1.25)
    x, y, _ = build.by_spine(rng.normal(7, 3), -29, 0)
    for side in (-1, 1):  # crura of the diaphragm
        yield Blob(MUSCLE, (x + side * 14, y + 9, 75), (4, 14, 85), side * -0.3)
    aorta = Blob(build.hu["aorta"], (x, y, 0), (10 * calibre, 10 * calibre, math.inf), ripples=_ripples(rng, 0.03))
    yield aorta
    if rng.random() < 0.45:
        for _ in range(rng.integers(1, 9)):
            angle = rng.uniform(0, 2 * np.pi)
            spot = (x + 9.5 * calibre * math.cos(angle), y + 9.5 * calibre * math.sin(angle), rng.uniform(-90, 90))
            yield Blob(rng.uniform(400, 900), spot, (rng.uniform(1.5, 4), 1.2, 12), angle + np.pi / 2)
    cava = (*build.by_spine(rng.normal(-19, 2), -27, 0)[:2], 0.0)
    yield Blob(build.hu["vein"], cava, (13 * calibre, rng.uniform(6, 10), math.inf), 0.2, ripples=_ripples(rng, 0.08))
    yield Blob(build.hu["aorta"], (x - 1, y - 20 * calibre, -45), (3.8, 3.8, 70), 0.0, (0.0, 0.12))
    yield Blob(build.hu["portal"], (x - 13, y - 21 * calibre, -45), (5.5, 5, 70), 0.0, (0.1, 0.1))


def _bone(blob: Blob, shell_mm: float = 1.8, marrow: float = MARROW) -> Iterator[Blob]:
    yield from (blob, blob.shrunk(shell_mm, marrow))


def _spine(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """A column of discs with vertebral bodies and arches, and the spinal canal."""
    s, first, marrow = build.size, rng.uniform(0, 36), rng.uniform(110, 260)
    kidney_shaped = (Ripple(2, 0.03, 0), Ripple(3, 0.03, 1.6))
    yield Blob(DISC, build.by_spine(0, 0, 0), (21 * s, 15.5 * s, math.inf), ripples=kidney_shaped)
    for z in first + 36 * np.arange(-6, 6):
        body = Blob(CORTEX - 150, build.by_spine(0, 0, z), (22.5 * s, 16.5 * s, 15), taper=8)
        yield from _bone(replace(body, ripples=kidney_shaped), 1.5, marrow)
        for side in (-1, 1):
            yield from _bone(Blob(CORTEX, build.by_spine(side * 14, 17, z + 4), (5 * s, 10 * s, 9), taper=4), 2, marrow)
            yield from _bone(Blob(CORTEX, build.by_spine(side * 34, 20, z + 2), (17 * s, 4 * s, 6), side * 0.15), 1.6)
    canal = build.by_spine(0, 22, 0)
    yield Blob(FAT + 40, canal, (11.5 * s, 8.5 * s, math.inf))
    yield Blob(32, canal, (9 * s, 7 * s, math.inf))
    for z in first + 36 * np.arange(-6, 6):
        for side in (-1, 1):
            lamina = Blob(CORTEX, build.by_spine(side * 9, 32, z - 5), (11 * s, 3.6 * s, 15), side * -0.75, taper=4)
            yield from _bone(lamina)
            yield from _bone(Blob(CORTEX, build.by_spine(side * 18, 27, z - 16), (6.5 * s, 8 * s, 12), side * 0.3), 2.6)
        yield from _bone(Blob(CORTEX, build.by_spine(0, 46, z - 8), (3.6 * s, 15 * s, 12), taper=4))


def _ribs(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Ribs 7 to 12, built from short pieces that run along the wall from the spine down to the front."""
    a, b = build.half_width + 0.5 * build.wall, build.half_depth + 0.5 * build.wall
    slope, lift, middle = math.radians(rng.uniform(1.0, 1.25)), rng.normal(0, 8), build.middle
    for side in (-1, 1):
        for head, length in ((30, 45), (58, 80), (84, 105), (110, 110), (136, 110), (162, 110)):
            for down in range(0, length, 10):
                angle = math.radians(60) - slope * down
                place = (middle[0] + side * a * math.cos(angle), middle[1] + b * math.sin(angle), head + lift - down)
                drift = (-side * a * math.sin(angle) * slope, b * math.cos(angle) * slope)
                turn = math.atan2(drift[1], drift[0])
                yield from _bone(Blob(CORTEX, place, (11, 4.6, 9), turn, drift, taper=4), 1.6, MARROW)


PARTS = (
    *(_table, _outline, _small_bowel, _colon, _liver, _spleen, _pancreas, _stomach),
    *(_kidneys, _muscles, _vessels, _spine, _ribs),
)
"""Functions that return blobs for a build and a random generator, in painting order."""
