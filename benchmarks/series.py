"""Denoising a series from files to files, against the time of the network alone."""

import tempfile
import time
from pathlib import Path

from benchmarks.measuring import Table, Work, in_turn
from ctcycle import __version__
from ctcycle.bundle.runtime.speed import phantom
from ctcycle.config.shipped import shipped_bundle
from ctcycle.ct.dicom import Derivation
from ctcycle.ct.dicom.creating import SeriesHeader, write_new_series
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.folders import DenoiseOptions, denoise_folder
from ctcycle.runs.models import Model, load_model

HEADER = SeriesHeader("phantom", "benchmark", 1, "benchmark", "simulated", "B30f", 0.8, 2.0, 0.0)
DISTINCT = 8
"""Slices that are drawn; a series repeats them."""


def run(*, tiny: bool, rounds: int) -> list[Table]:
    """Return one table, in real time, since reading and writing run beside the network."""
    count, side = (3, 64) if tiny else (200, 512)
    model = load_model(shipped_bundle(), device="cpu")
    denoiser = model.denoiser(average_flips=False)
    slices = phantom(DISTINCT, side)[[number % DISTINCT for number in range(count)]]
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        write_new_series(slices, source, HEADER)
        ways: dict[str, Work] = {
            "network alone": lambda: [denoiser.correction(hu) for hu in slices],
            "denoise, files to files": lambda: denoise(source, denoiser, model),
        }
        title = f"Series of {count} slices of {side} px, network of the shipped bundle, one pass"
        return [Table(title, in_turn(ways, 1 if tiny else rounds, time.perf_counter))]


def denoise(source: Path, denoiser: Denoiser, model: Model) -> None:
    """Denoise a folder as the task does, checks included, to a new folder."""
    with tempfile.TemporaryDirectory() as out:
        derivation = Derivation(__version__, model.name, model.digest)
        denoise_folder(source, Path(out) / "out", denoiser, derivation, DenoiseOptions(), model.fingerprint)
