"""Fingerprints of low-dose training slices: measured, and kept in run and bundle folders."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import write_json
from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import Fingerprint, measure_fingerprint, read_fingerprint

MEASURED = 200
"""Maximum number of slices to measure, evenly spaced over all slices."""

MAX_BYTES = 2**20
"""Maximum size of a JSON file; those written by ctcycle have a few thousand bytes."""

_NAME = "fingerprint.json"


def measure_volumes(volumes: Sequence[NDArray[np.number[Any]]]) -> Fingerprint:
    """Measure the fingerprint of series, each (S, H, W) in HU, from at most `MEASURED` of their slices.

    Raises:
        ValueError: there are no slices.
    """
    return measure_fingerprint(_spread(volumes))


def write_fingerprint(run: Path, volumes: Sequence[NDArray[np.number[Any]]]) -> None:
    """Measure the low-dose training series of a run, and write their fingerprint to the run folder.

    Args:
        run: the run folder.
        volumes: the series, each (S, H, W) in HU.

    Raises:
        ValueError: there are no slices.
        OutputError: the file cannot be written.
    """
    write_json(run / _NAME, measure_volumes(volumes).as_dict())


def read_run_fingerprint(run: Path) -> Fingerprint | None:
    """Read the fingerprint in a run folder; return None if there is none.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        return read_kept_fingerprint(run / _NAME)
    except BundleError as error:
        raise BundleError(f"{run / _NAME}: damaged; delete it to denoise without checking the input") from error


def read_kept_fingerprint(path: Path) -> Fingerprint | None:
    """Read a fingerprint file; return None if it does not exist.

    Raises:
        BundleError: the file is damaged, or too large for a fingerprint.
    """
    if not path.exists():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"{path}: not a fingerprint (larger than {MAX_BYTES} bytes); export the bundle again")
    return read_fingerprint(path)


def _spread(volumes: Sequence[NDArray[np.number[Any]]]) -> Iterator[NDArray[np.float32]]:
    slices = [(volume, index) for volume in volumes for index in range(len(volume))]
    for number in np.unique(np.linspace(0, len(slices) - 1, min(MEASURED, len(slices))).round().astype(int)):
        volume, index = slices[number]
        yield volume[index].astype(np.float32)
