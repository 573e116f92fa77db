"""The fingerprint of the low-dose slices that a model was trained on, as its run or bundle folder keeps it."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import write_json
from ctcycle.errors import BundleError
from ctcycle.inference.fingerprint import Fingerprint, measure_fingerprint, read_fingerprint

MEASURED = 200
"""So many slices at most are measured, spread evenly over all."""

MAX_BYTES = 2**20
"""Of a JSON file; those that ctcycle writes have some thousand."""

_NAME = "fingerprint.json"


def measure_volumes(volumes: Sequence[NDArray[np.number[Any]]]) -> Fingerprint:
    """Measure the fingerprint of series, (S, H, W) in HU each, from at most `MEASURED` of their slices.

    Raises:
        ValueError: there are no slices.
    """
    return measure_fingerprint(_spread(volumes))


def write_fingerprint(run: Path, volumes: Sequence[NDArray[np.number[Any]]]) -> None:
    """Measure the low-dose training series of a run, and write their fingerprint into the run folder.

    Args:
        run: the run folder.
        volumes: the series, (S, H, W) in HU each.

    Raises:
        ValueError: there are no slices.
        OutputError: the file cannot be written.
    """
    write_json(run / _NAME, measure_volumes(volumes).as_dict())


def read_run_fingerprint(run: Path) -> Fingerprint | None:
    """Read the fingerprint in a run folder; None where there is none.

    Raises:
        BundleError: the file is damaged.
    """
    try:
        return read_kept_fingerprint(run / _NAME)
    except BundleError as error:
        raise BundleError(f"{run / _NAME}: damaged; delete it to denoise without a check of the input") from error


def read_kept_fingerprint(path: Path) -> Fingerprint | None:
    """Read a fingerprint, if the file exists.

    Raises:
        BundleError: the file is damaged, or too large for a fingerprint.
    """
    if not path.exists():
        return None
    if path.stat().st_size > MAX_BYTES:
        raise BundleError(f"{path}: is no fingerprint (larger than {MAX_BYTES} bytes); export the bundle again")
    return read_fingerprint(path)


def _spread(volumes: Sequence[NDArray[np.number[Any]]]) -> Iterator[NDArray[np.float32]]:
    places = [(volume, index) for volume in volumes for index in range(len(volume))]
    for number in np.unique(np.linspace(0, len(places) - 1, min(MEASURED, len(places))).round().astype(int)):
        volume, index = places[number]
        yield volume[index].astype(np.float32)
