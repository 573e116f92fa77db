"""Stomach, small bowel and colon with their contents."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ctcycle.simulation.anatomy import tissues
from ctcycle.simulation.anatomy.build import AIR, Build
from ctcycle.simulation.anatomy.shapes import oblique, ripples, three
from ctcycle.simulation.blobs import SMOOTH, Blob, Grain


def _gut(rng: np.random.Generator, loop: Blob, gas: float, solid: Grain = tissues.CHYME) -> Iterator[Blob]:
    """A bowel loop filled with fluid, chyme or positive contrast, with a gas bubble with probability ``gas``."""
    yield loop
    inner, hu = rng.uniform(2, 3), float(rng.choice((12, 35, 55, 220), p=(0.35, 0.35, 0.22, 0.08)))
    content = loop.shrunk(inner, hu, SMOOTH if hu < 20 else solid)
    yield content
    if rng.random() < gas:
        yield replace(content, hu=AIR + 15, grain=SMOOTH, level=rng.uniform(-0.9, 0.9) * 0.6 * content.radii[1])


def small_bowel(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
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
        loop = Blob(build.hu["bowel"], place, radii, turn, oblique(rng, 0.4), ripples(rng, 0.1))
        yield from _gut(rng, replace(loop, inside="cavity", taper=3, grain=tissues.WALL), gas=0.12)
    for _ in range(150):
        place = build.at(rng.uniform(-0.65, 0.75), rng.uniform(-0.7, 0.3), rng.uniform(-130, 60))
        radii = (rng.uniform(1.5, 7), rng.uniform(1, 2), rng.uniform(4, 15))
        yield Blob(build.hu["vein"], place, radii, rng.uniform(0, np.pi), oblique(rng, 0.5), inside="cavity")


def colon(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """Ascending and descending colon at the sides, transverse colon at the front; stool is mottled with gas."""
    places = [(-0.76, 0.12, -75.0, 72.0), (0.83, 0.24, -45.0, 85.0)]
    for x in np.linspace(-0.6, 0.6, 6):
        z = -18 + 60 * max(x, 0) ** 2
        places.append((x, -0.72 + 0.25 * x * x + rng.normal(0, 0.03), z + rng.normal(0, 6), 20.0))
    for x, y, z, length in places:
        radii = (rng.uniform(15, 24) * build.size, rng.uniform(13, 21) * build.size, length)
        loop = Blob(build.hu["bowel"] - 15, build.at(x, y, z), radii, ripples=ripples(rng, 0.12), inside="cavity")
        yield from _gut(rng, replace(loop, taper=4, grain=tissues.WALL), 0.6, tissues.STOOL)
        for _ in range(rng.integers(0, 14)):
            spot = np.array(loop.centre) + rng.uniform(-0.55, 0.55, 3) * radii
            yield Blob(rng.uniform(-900, -200), three(spot), three(rng.uniform(1.2, 3.5, 3)), inside="cavity")


def stomach(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """The stomach with its content and a bubble of gas."""
    full = rng.uniform(0.6, 1.1)
    place = build.at(rng.normal(0.38, 0.06), rng.normal(-0.36, 0.06), rng.normal(68, 10))
    radii = (0.4 * full * build.half_width, 0.42 * full * build.half_depth, 58)
    stomach = Blob(build.hu["bowel"] - 10, place, radii, rng.normal(-0.4, 0.25), (0.2, -0.1), ripples(rng, 0.12))
    stomach = replace(stomach, inside="cavity", grain=tissues.WALL)
    content = stomach.shrunk(rng.uniform(3, 6), float(rng.choice((10, 40, 60, 180), p=(0.4, 0.3, 0.2, 0.1))))
    yield from (stomach, content, replace(content, hu=AIR + 10, level=rng.uniform(-0.75, 0.1) * content.radii[1]))
