"""Liver, spleen, pancreas and kidneys."""

import math
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np

from ctcycle.simulation.anatomy import tissues
from ctcycle.simulation.anatomy.build import FAT, WATER, Build
from ctcycle.simulation.anatomy.shapes import oblique, ripples, three
from ctcycle.simulation.blobs import SMOOTH, Blob, Ripple


def liver(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Two lobes with vessels, lesions, hilum and gallbladder."""
    a, b = build.half_width, build.half_depth
    right = build.at(rng.normal(-0.58, 0.04), rng.normal(-0.02, 0.06), rng.normal(45, 12))
    left = build.at(rng.normal(-0.15, 0.08), rng.normal(-0.58, 0.05), rng.normal(65, 10))
    lobe = partial(Blob, build.hu["liver"], inside="cavity", named="liver", grain=tissues.LIVER)
    yield lobe(right, (0.56 * a, 0.92 * b, 110), rng.normal(0.15, 0.1), ripples=ripples(rng, 0.09), taper=3)
    yield lobe(left, (0.55 * a, 0.33 * b, 62), rng.normal(-0.1, 0.12), ripples=ripples(rng, 0.12))
    for _ in range(22):  # portal and hepatic veins
        place = build.at(rng.uniform(-0.9, 0), rng.uniform(-0.6, 0.5), rng.uniform(-40, 110))
        radii = (rng.uniform(5, 20), rng.uniform(1.3, 3.2), rng.uniform(6, 18))
        yield Blob(build.hu["portal"], place, radii, rng.uniform(0, np.pi), oblique(rng, 0.5), inside="liver")
    yield from _branches(build, rng.spawn(1)[0])
    yield from _lesions(build, rng)
    hilum, turn = build.at(-0.22, 0.01, 24), rng.normal(-0.5, 0.2)
    yield Blob(FAT, hilum, (0.2 * a, 0.13 * b, 32), turn, ripples=ripples(rng, 0.2), grain=tissues.FAT)
    yield Blob(build.hu["portal"], hilum, (20, 6.5, 14), turn)
    fundus = build.at(rng.normal(-0.42, 0.06), rng.normal(-0.4, 0.08), rng.normal(2, 8))
    gallbladder = Blob(60, fundus, (15, 12, 30), 0.7)
    yield from (gallbladder, gallbladder.shrunk(1.5, WATER))


def _branches(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Branches of the liver's veins, 1 to 2 mm wide."""
    for _ in range(30):
        place = build.at(rng.uniform(-0.9, 0), rng.uniform(-0.6, 0.5), rng.uniform(-60, 110))
        radii = (rng.uniform(4, 15), rng.uniform(0.5, 1.0), rng.uniform(3, 10))
        yield Blob(build.hu["portal"], place, radii, rng.uniform(0, np.pi), oblique(rng, 0.8), inside="liver")


def _lesions(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Liver metastases (20 to 60 HU below the liver), cysts (water) and haemangiomas (20 to 50 HU above)."""
    for _ in range(rng.poisson(6)):
        liver, radius = build.hu["liver"], 3 + rng.exponential(5)
        hu = rng.choice((liver - rng.uniform(20, 60), WATER, liver + rng.uniform(20, 50)), p=(0.65, 0.2, 0.15))
        place = build.at(rng.uniform(-0.9, -0.1), rng.uniform(-0.6, 0.6), rng.uniform(-60, 90))
        radii = three(radius * rng.uniform(0.8, 1.2, 3))
        grain = SMOOTH if hu == WATER else tissues.LIVER
        yield Blob(float(hu), place, radii, ripples=ripples(rng, 0.1), inside="liver", grain=grain)


def spleen(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """The spleen, at the left side."""
    place = build.at(rng.normal(0.78, 0.04), rng.normal(0.22, 0.06), rng.normal(60, 12))
    radii = (rng.uniform(0.24, 0.32) * build.half_width, rng.uniform(0.45, 0.6) * build.half_depth, rng.uniform(48, 65))
    spleen = partial(Blob, build.hu["spleen"], inside="cavity", grain=tissues.SPLEEN)
    yield spleen(place, radii, rng.normal(0.35, 0.12), ripples=ripples(rng, 0.1))


def pancreas(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Pancreatic lobules from the duodenum to the splenic hilum, and the splenic vein behind them."""
    z, lobule = rng.normal(22, 6), partial(Blob, build.hu["pancreas"], grain=tissues.GLAND)
    for step in np.linspace(0, 1, 9):
        place = build.at(-0.18 + 0.72 * step, 0.02 - 0.22 * math.sin(2.6 * step) + rng.normal(0, 0.02), z + 18 * step)
        yield lobule(place, (11, 8, 13), rng.normal(0, 0.5), ripples=ripples(rng, 0.25, (4, 6, 9)))
    yield Blob(build.hu["portal"], build.at(0.2, 0.0, z + 10), (34, 4, 9), 0.2, (0.8, 0.2))


def kidneys(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Both kidneys with their fat, sinus, vein and sometimes a cyst."""
    for side in (-1, 1):
        place = build.at(side * rng.normal(0.52, 0.03), rng.normal(0.5, 0.04), rng.normal(4 + 6 * side, 7))
        turn = side * rng.normal(-0.5, 0.12)
        radii = (build.size * rng.uniform(21, 26), build.size * rng.uniform(28, 34), build.size * rng.uniform(50, 60))
        kidney = Blob(build.hu["cortex"], place, radii, turn, ripples=ripples(rng, 0.04), inside="cavity")
        kidney = replace(kidney, grain=tissues.KIDNEY)
        yield kidney.shrunk(-rng.uniform(3, 10), FAT, tissues.FAT)
        yield kidney
        x, y, z = place
        yield replace(
            kidney.shrunk(6, build.hu["medulla"], tissues.KIDNEY), ripples=(Ripple(8, 0.09, rng.uniform(0, 6), 0.02),)
        )
        sinus = (x - side * 11 * build.size, y - 5 * build.size, z)
        yield Blob(
            FAT + 15, sinus, (14 * build.size, 10 * build.size, 28), turn, ripples=ripples(rng, 0.2), grain=tissues.FAT
        )
        yield Blob(build.hu["pelvis"], sinus, (6, 4, 20), turn, ripples=ripples(rng, 0.25))
        yield Blob(build.hu["vein"], (x - side * 26, y - 13, z), (20, 3.5, 7), side * 0.5, (0.0, 0.3))
        if rng.random() < 0.3:
            spot = (x + side * 0.8 * radii[0], y + rng.uniform(-0.7, 0.7) * radii[1], z + rng.uniform(-35, 35))
            yield Blob(WATER, spot, three(rng.uniform(4, 15, 1).repeat(3)), inside="cavity")
