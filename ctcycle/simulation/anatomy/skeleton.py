"""Spine and ribs: marrow in a shell of cortical bone."""

import math
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ctcycle.simulation.anatomy import tissues
from ctcycle.simulation.anatomy.build import CORTEX, DISC, FAT, MARROW, Build
from ctcycle.simulation.blobs import Blob, Ripple


def _bone(blob: Blob, shell_mm: float = 1.8, marrow: float = MARROW) -> Iterator[Blob]:
    yield from (blob, blob.shrunk(shell_mm, marrow, tissues.MARROW))


def spine(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
    """A column of discs with vertebral bodies and arches, and the spinal canal."""
    s, first, marrow = build.size, rng.uniform(0, 36), rng.uniform(110, 260)
    kidney_shaped = (Ripple(2, 0.03, 0), Ripple(3, 0.03, 1.6))
    yield Blob(DISC, build.by_spine(0, 0, 0), (21 * s, 15.5 * s, math.inf), ripples=kidney_shaped, grain=tissues.DISC)
    for z in first + 36 * np.arange(-6, 6):
        body = Blob(CORTEX - 150, build.by_spine(0, 0, z), (22.5 * s, 16.5 * s, 15), taper=8)
        yield from _bone(replace(body, ripples=kidney_shaped), 1.5, marrow)
        for side in (-1, 1):
            yield from _bone(Blob(CORTEX, build.by_spine(side * 14, 17, z + 4), (5 * s, 10 * s, 9), taper=4), 2, marrow)
            yield from _bone(Blob(CORTEX, build.by_spine(side * 34, 20, z + 2), (17 * s, 4 * s, 6), side * 0.15), 1.6)
    canal = build.by_spine(0, 22, 0)
    yield Blob(FAT + 40, canal, (11.5 * s, 8.5 * s, math.inf), grain=tissues.FAT)
    yield Blob(32, canal, (9 * s, 7 * s, math.inf))
    for z in first + 36 * np.arange(-6, 6):
        for side in (-1, 1):
            lamina = Blob(CORTEX, build.by_spine(side * 9, 32, z - 5), (11 * s, 3.6 * s, 15), side * -0.75, taper=4)
            yield from _bone(lamina)
            yield from _bone(Blob(CORTEX, build.by_spine(side * 18, 27, z - 16), (6.5 * s, 8 * s, 12), side * 0.3), 2.6)
        yield from _bone(Blob(CORTEX, build.by_spine(0, 46, z - 8), (3.6 * s, 15 * s, 12), taper=4))


def ribs(build: Build, rng: np.random.Generator) -> Iterator[Blob]:
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
