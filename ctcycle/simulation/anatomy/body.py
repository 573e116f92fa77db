"""The table, the body wall with its fat and muscles, and the large vessels."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ctcycle.simulation.anatomy import tissues
from ctcycle.simulation.anatomy.build import AIR, FAT, LUNG, MUSCLE, SKIN, Build
from ctcycle.simulation.anatomy.shapes import oblique, ripples, three
from ctcycle.simulation.blobs import Blob, Ripple


def table(build: Build, _rng: np.random.Generator) -> Iterator[Blob]:
    """The patient table: a crescent of foam in a thin shell."""
    top = build.back + 3
    lower = Blob(-120, (0, top - 22, 0), (116, 42, math.inf), named="table")
    upper = replace(lower, centre=(0, top - 52, 0), radii=(138, 54, math.inf), inside="table", named="")
    yield from (lower, lower.shrunk(2.5, -940), upper, upper.shrunk(2.5, AIR))


def outline(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Skin, subcutaneous fat, layered muscle wall, and the cavity with its fat."""
    squarish = (Ripple(4, -rng.uniform(0.01, 0.035), 0.0), Ripple(3, rng.normal(0, 0.006), 0.0), *ripples(rng, 0.008))
    x, width = build.middle[0], build.half_width + build.wall + build.fat[0]
    middle, depth = (build.back + build.front) / 2, (build.back - build.front) / 2
    turn = rng.normal(0, 0.03)
    skin = Blob(SKIN, (x, middle, 0), (width, depth, math.inf), turn, ripples=squarish, grain=tissues.SKIN)
    inner = (build.half_width, build.half_depth, math.inf)
    cavity = Blob(FAT, build.at(0, 0, 0), inner, turn, ripples=squarish, grain=tissues.FAT)
    yield from (skin, skin.shrunk(2, FAT - 5, tissues.FAT))
    for depth_mm, hu in ((0.0, MUSCLE), (0.36, FAT + 40), (0.46, MUSCLE), (0.7, FAT + 40), (0.76, MUSCLE)):
        grain = tissues.MUSCLE if hu == MUSCLE else tissues.FAT
        yield cavity.shrunk((depth_mm - 1) * build.wall, hu, grain)
    yield replace(cavity, named="cavity")
    yield Blob(FAT + 60, build.at(0, -1 - 0.5 * build.wall / build.half_depth, 0), (5, 0.5 * build.wall, math.inf))


def lungs(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Return the bases of the lungs with vessels: thin crescents at the back that begin above the kidneys."""
    rng = rng.spawn(1)[0]
    for side in (-1, 1):
        place = build.at(side * 0.52, 0.82, rng.normal(118, 8))
        radii = (0.42 * build.half_width, 0.2 * build.half_depth, 70.0)
        base = Blob(LUNG, place, radii, side * -0.35, ripples=ripples(rng, 0.05), inside="cavity", grain=tissues.LUNG)
        yield replace(base, named="lung")
        for _ in range(40):
            spot = np.array(place) + rng.uniform(-1, 1, 3) * radii
            vessel = (rng.uniform(0.7, 2.2), rng.uniform(0.6, 1.8), rng.uniform(3, 12))
            yield Blob(30.0, three(spot), vessel, rng.uniform(0, np.pi), oblique(rng, 0.5), inside="lung")


def muscles(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Psoas, quadratus lumborum and erector spinae, with streaks of fat."""
    grain = tissues.MUSCLE
    bulk = build.size * rng.uniform(0.88, 1.08)
    for side in (-1, 1):
        psoas = build.by_spine(side * 32, 3, -120)
        yield Blob(MUSCLE, psoas, (19 * bulk, 22 * bulk, 150), side * 0.4, ripples=ripples(rng, 0.06), grain=grain)
        yield Blob(MUSCLE, build.by_spine(side * 60, 27, -60), (22 * bulk, 8 * bulk, 90), side * -0.35, grain=grain)
        erector = Blob(
            MUSCLE, build.by_spine(side * 31, 41, 0), (29 * bulk, 20 * bulk, math.inf), side * -0.15, grain=grain
        )
        yield replace(erector, ripples=ripples(rng, 0.05), named="erector")
        for _ in range(rng.integers(2, 9)):
            spot = np.array(erector.centre) + rng.uniform((-24, -15, -90), (24, 15, 90))
            streak = (rng.uniform(4, 12), rng.uniform(0.6, 1.3), 30)
            yield Blob(FAT + 30, three(spot), streak, rng.uniform(0.6, 2.5), inside="erector")


def vessels(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Aorta with plaques, inferior vena cava, mesenteric vessels and the crura of the diaphragm."""
    calibre = build.size * rng.uniform(0.85, 1.25)
    x, y, _ = build.by_spine(rng.normal(7, 3), -29, 0)
    for side in (-1, 1):  # crura of the diaphragm
        yield Blob(MUSCLE, (x + side * 14, y + 9, 75), (4, 14, 85), side * -0.3, grain=tissues.MUSCLE)
    aorta = Blob(build.hu["aorta"], (x, y, 0), (10 * calibre, 10 * calibre, math.inf), ripples=ripples(rng, 0.03))
    yield aorta
    if rng.random() < 0.45:
        for _ in range(rng.integers(1, 9)):
            angle = rng.uniform(0, 2 * np.pi)
            spot = (x + 9.5 * calibre * math.cos(angle), y + 9.5 * calibre * math.sin(angle), rng.uniform(-90, 90))
            yield Blob(rng.uniform(400, 900), spot, (rng.uniform(1.5, 4), 1.2, 12), angle + np.pi / 2)
    cava = (*build.by_spine(rng.normal(-19, 2), -27, 0)[:2], 0.0)
    yield Blob(build.hu["vein"], cava, (13 * calibre, rng.uniform(6, 10), math.inf), 0.2, ripples=ripples(rng, 0.08))
    yield Blob(build.hu["aorta"], (x - 1, y - 20 * calibre, -45), (3.8, 3.8, 70), 0.0, (0.0, 0.12))
    yield Blob(build.hu["portal"], (x - 13, y - 21 * calibre, -45), (5.5, 5, 70), 0.0, (0.1, 0.1))
