"""Scaling: slice size, batch, width, number of slices, and ranks."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.measuring import Table, Work, in_turn
from benchmarks.training import RECIPE, settings, step
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.config.training import UnpairedData
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.inference.denoiser import Denoiser
from ctcycle.networks.resnet import ResNetGenerator
from ctcycle.networks.specs import GeneratorSpec
from ctcycle.training.method import build_method
from ctcycle.training.patches.sampling import UnpairedPatches
from ctcycle.training.patches.transforms import PatchTransform

CPU = torch.device("cpu")
RANK = """
import time, torch
from ctcycle.runs import ranks
from benchmarks.scaling import one_rank
with ranks.joined("cpu"):
    one_rank({side}, {rounds})
"""


class Repeated(Sequence[NDArray[np.int16]]):
    """As many slices as wanted, all of which are the same array: the cost of a large data set without its bytes."""

    def __init__(self, image: NDArray[np.int16], length: int) -> None:
        self.image, self.length = image, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> NDArray[np.int16]:  # type: ignore[override]
        return self.image


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return a table for each of the five."""
    sides = (32, 64) if tiny else (256, 512, 1024, 2048)
    batches = (1, 2) if tiny else (1, 2, 4, 8)
    widths = (4, 8) if tiny else (16, 32, 64)
    lengths = (10, 1000) if tiny else (100, 10_000, 100_000)
    return [
        Table("Denoising by slice size, network of the shipped bundle", in_turn(_sides(sides, tiny), rounds)),
        Table("Training step by batch size, 64 px", in_turn(_batches(batches, tiny), rounds)),
        Table("Training step by width, 64 px", in_turn(_widths(widths), rounds)),
        Table("64 patches by number of slices", in_turn(_lengths(lengths), rounds), pieces=64),
        Table(
            "20 steps of 4 patches by ranks, one thread each (start included)",
            in_turn(_ranks((1, 2), tiny), 1 if tiny else rounds, time.perf_counter),
        ),
    ]


def one_rank(side: int, steps: int) -> None:
    """Take steps as one of several ranks; four patches over all of them."""
    from ctcycle.runs import ranks

    method = build_method(settings(RECIPE, 8, 2), CPU)
    count = 4 // ranks.world()
    work = step(method, _patches(count, side), "channels_last")
    for _ in range(steps):
        work()


def _patches(count: int, side: int) -> dict[str, torch.Tensor]:
    return {name: 0.3 * torch.randn(count, 1, side, side) for name in ("low_dose", "full_dose")}


def _sides(sides: Sequence[int], tiny: bool) -> dict[str, Work]:
    spec = GeneratorSpec(filters=4 if tiny else 24, blocks=6, downsamplings=1, kernel=3, init="kaiming")
    denoiser = Denoiser(ResNetGenerator(spec), HUWindow(), CPU)
    slices = {f"{side} px": phantom(1, side)[0] for side in sides}
    return {name: lambda hu=hu: denoiser.correction(hu) for name, hu in slices.items()}  # type: ignore[misc]


def _batches(sizes: Sequence[int], tiny: bool) -> dict[str, Work]:
    method = build_method(settings(RECIPE, 4 if tiny else 32, 1 if tiny else 4), CPU)
    return {f"{size} patches": step(method, _patches(size, 64), "channels_last") for size in sizes}


def _widths(widths: Sequence[int]) -> dict[str, Work]:
    return {
        f"{width} filters": step(build_method(settings(RECIPE, width, 2), CPU), _patches(2, 64), "channels_last")
        for width in widths
    }


def _lengths(lengths: Sequence[int]) -> dict[str, Work]:
    data = UnpairedData(manifest=Path("unused"), skip_air=0.0)
    transform = PatchTransform(64, data.augmentations, data.hu_window, data.skip_air)
    image = np.random.default_rng(0).integers(-1000, 1000, (256, 256), dtype=np.int16)
    ways: dict[str, Work] = {}
    for length in lengths:
        slices = Repeated(image, length)
        patches = UnpairedPatches(slices, slices, transform, 0)
        ways[f"{length:,} slices"] = lambda patches=patches: [patches[0, index] for index in range(32)]  # type: ignore[misc]
    return ways


def _ranks(worlds: Sequence[int], tiny: bool) -> dict[str, Work]:
    code = RANK.format(side=32 if tiny else 64, rounds=2 if tiny else 20)
    return {f"{world} ranks" if world > 1 else "1 rank": lambda world=world: _start(world, code) for world in worlds}  # type: ignore[misc]


def _start(world: int, code: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    started = [
        subprocess.Popen(  # noqa: S603 (constant code)
            [sys.executable, "-W", "ignore", "-c", code],
            env={
                **environment,
                **({} if world == 1 else {"WORLD_SIZE": str(world), "RANK": str(rank), "LOCAL_RANK": str(rank)}),
                **({} if world == 1 else {"LOCAL_WORLD_SIZE": str(world)}),
            },
        )
        for rank in range(world)
    ]
    codes = [process.wait() for process in started]
    if any(codes):
        raise RuntimeError(f"{world} ranks: a process failed")


def _free_port() -> int:
    import socket

    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])
