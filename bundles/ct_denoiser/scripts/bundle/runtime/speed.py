# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""Measure the speed of a bundle and the parity of its formats: ``python -m scripts.bundle.runtime.speed``.

Prints JSON: for each format the slices per second and the maximum difference in HU from torch, and the peak memory of
the process after the torch run. The slices are a noisy phantom generated here.
"""

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from scripts.bundle.runtime.app import BundledModel
from scripts.ct.hounsfield import MU_AIR, HUWindow
from scripts.networks.resnet import ResNetGenerator
from scripts.networks.specs import GeneratorSpec

HUSlices = NDArray[np.float32]
_Run = Callable[[Tensor], Tensor]


def phantom(count: int, size: int, seed: int = 0) -> HUSlices:
    """Return phantom slices (count, size, size) in HU: a body with lungs, spine and noise, surrounded by air."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]

    def inside(row: float, column: float, height: float, width: float) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = np.hypot((rows - row) / height, (columns - column) / width) < 1
        return found

    hu = np.where(inside(0, 0, 0.65, 0.85), 40.0, -1000.0)
    for column in (-0.4, 0.4):
        hu[inside(-0.1, column, 0.35, 0.25)] = -850.0
    hu[inside(0.4, 0, 0.12, 0.12)] = 700.0
    noisy: HUSlices = np.rint(hu + rng.normal(0, 30, (count, size, size))).clip(-1024, 3000).astype(np.float32)
    return noisy


def measure(bundle: Path, *, slices: int = 3, size: int = 512, threads: int = 1) -> dict[str, Any]:
    """Run every format in ``bundle`` on the same slices on the CPU with ``threads`` threads.

    Returns:
        ``size_px``, ``slices``, ``threads``, ``machine``, ``peak_memory_mb`` (None if not available) and ``formats``:
        for each format ``slices_per_s`` and ``max_difference_hu`` from torch.
    """
    torch.set_num_threads(threads)
    model = read_model(bundle)
    hu = phantom(slices, size)
    runs: dict[str, dict[str, float]] = {}
    expected, seconds = _timed(_torch_run(model), hu, model.window)
    memory = peak_memory_mb()
    runs["torch"] = {"slices_per_s": slices / seconds, "max_difference_hu": 0.0}
    for name, load in _LOADERS.items():
        path = bundle / "models" / f"model.{name}"
        if path.exists() and (run := load(path, threads)) is not None:
            found, seconds = _timed(run, hu, model.window)
            difference = float(np.abs(found - expected).max())
            runs[name] = {"slices_per_s": slices / seconds, "max_difference_hu": difference}
    setting = {"size_px": size, "slices": slices, "threads": threads, "machine": platform.machine()}
    return {**setting, "peak_memory_mb": memory, "formats": runs}


def read_model(bundle: Path) -> BundledModel:
    """Return the model of a bundle, reading its ``configs/inference.json`` as plain data."""
    config = json.loads((bundle / "configs" / "inference.json").read_text(encoding="utf-8"))
    spec = GeneratorSpec(**_arguments(config["network_def"]["spec"]))
    window = HUWindow(**_arguments(config["hu_window"]))
    return BundledModel(
        bundle, ResNetGenerator(spec), window, config["mu_water"], "cpu", mu_air=config.get("mu_air", MU_AIR)
    )


def peak_memory_mb() -> float | None:
    """Return the peak memory of this process in MB; None if not available (only on Linux)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return None
    lines: Mapping[str, str] = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return int(lines["VmHWM"].split()[0]) / 1024 if "VmHWM" in lines else None


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the bundle in the current folder and print the results as JSON."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bundle.runtime.speed",
        description="Measure the speed of a bundle and the parity of its formats.",
    )
    parser.add_argument("--bundle", type=Path, default=Path(), help="bundle folder; default: the current folder")
    parser.add_argument("--slices", type=int, default=3, help="number of phantom slices; default: 3")
    parser.add_argument("--size", type=int, default=512, help="slice size in pixels, a multiple of 32; default: 512")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads; default: 1")
    given = parser.parse_args(argv)
    found = measure(given.bundle, slices=given.slices, size=given.size, threads=given.threads)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0


def _timed(run: _Run, hu: HUSlices, window: HUWindow) -> tuple[HUSlices, float]:
    """Return the denoised slices in HU and the seconds taken for all of them, after one warm-up run."""
    images = window.normalise(torch.from_numpy(hu))[:, None, None]
    with torch.inference_mode():
        run(images[0])
        start = time.perf_counter()
        outputs = [run(image) for image in images]
        seconds = time.perf_counter() - start
        found: HUSlices = window.denormalise(torch.cat(outputs)[:, 0]).numpy()
    return found, seconds


def _torch_run(model: BundledModel) -> _Run:
    generator: _Run = model.denoiser().generator
    return generator


def _load_pt2(path: Path, _threads: int) -> _Run:
    program: _Run = torch.export.load(path).module()
    return program


def _load_onnx(path: Path, threads: int) -> _Run | None:
    try:
        import onnxruntime  # type: ignore[import-untyped]
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda image: torch.from_numpy(session.run(None, {name: image.numpy()})[0])


_LOADERS: dict[str, Callable[[Path, int], _Run | None]] = {"onnx": _load_onnx, "pt2": _load_pt2}


def _arguments(section: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in section.items() if name != "_target_"}


if __name__ == "__main__":
    sys.exit(main())
