"""What a run was trained on, as its bundle tells: the fingerprint of the low-dose slices, and their number in words."""

from collections.abc import Sequence
from pathlib import Path

from ctcycle.config.schema import AnyTrain
from ctcycle.data.manifest import ManifestRow, read_manifest
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import CtcycleError, ManifestError
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.runs.fingerprints import measure_volumes


def training_rows(run: Path, config: AnyTrain) -> list[ManifestRow]:
    """The low-dose series that a run was trained on, from the manifest that it kept.

    Raises:
        ManifestError: there is no manifest, or it cannot be read.
    """
    chosen = read_manifest(run / "manifest.csv").select(dose="low_dose", split="train", kernel=config.data.kernel)
    return list(chosen)


def in_words(rows: Sequence[ManifestRow]) -> str:
    """How many patients and slices, and of which kernels; no patient is named."""
    kernels = sorted({row.kernel or "unknown" for row in rows})
    patients = len({row.patient for row in rows})
    what = f"{patients} patient{'s' if patients != 1 else ''}, {sum(row.slices for row in rows)} slices"
    return f"{what}, kernel{'s' if len(kernels) > 1 else ''} {', '.join(kernels)}"


def measure(run: Path, config: AnyTrain) -> Fingerprint:
    """The fingerprint of the low-dose training slices of a run.

    Raises:
        ManifestError: the run's data have gone; the message says how to do without.
    """
    store = open_store(config.data.manifest, config.data.store, config.data.mu_water)
    try:
        slices = load_slices(run / "manifest.csv", store, kernel=config.data.kernel, splits=("train",))
        return measure_volumes([slices.series[row.series].hu for row in training_rows(run, config)])
    except CtcycleError as error:
        raise ManifestError(
            f"{run}: the slices that it was trained on cannot be measured ({error}); put them back, or set "
            "fingerprint=false, and the bundle will not notice scans that are unlike them"
        ) from error
