"""The low-dose slices that a run was trained on, as its bundle describes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctcycle.data.manifest import ManifestRow, read_manifest
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import CtcycleError, ManifestError
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.runs.fingerprints import measure_volumes, read_run_fingerprint


@dataclass(frozen=True)
class TrainingSlices:
    """Where the low-dose slices of a run are found.

    Attributes:
        run: the run folder, which keeps a copy of the manifest.
        manifest: as the run's config names it; the default store lies beside it.
        store: of decoded slices; None for the default.
        kernel: the only reconstruction kernel; None for all.
        mu_water: attenuation of water in 1/mm.
    """

    run: Path
    manifest: Path
    store: Path | None
    kernel: str | None
    mu_water: float

    def rows(self) -> list[ManifestRow]:
        """Return the series, from the manifest that the run kept.

        Raises:
            ManifestError: there is no manifest, or it cannot be read.
        """
        chosen = read_manifest(self.run / "manifest.csv").select(dose="low_dose", split="train", kernel=self.kernel)
        return list(chosen)

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint that the run kept, or else measure it.

        Raises:
            ManifestError: the run's data have gone; the message says how to do without.
        """
        return read_run_fingerprint(self.run) or self._measure()

    def _measure(self) -> Fingerprint:
        store = open_store(self.manifest, self.store, self.mu_water)
        try:
            slices = load_slices(self.run / "manifest.csv", store, kernel=self.kernel, splits=("train",))
            return measure_volumes([slices.series[row.series].hu for row in self.rows()])
        except CtcycleError as error:
            raise ManifestError(
                f"{self.run}: the slices that it was trained on cannot be measured ({error}); put them back, or set "
                "fingerprint=false, and the bundle will not notice scans that are unlike them"
            ) from error


def describe(rows: Sequence[ManifestRow]) -> str:
    """Return how many patients and slices there are, and of which kernels; no patient is named."""
    kernels = sorted({row.kernel or "unknown" for row in rows})
    patients = len({row.patient for row in rows})
    what = f"{patients} patient{'s' if patients != 1 else ''}, {sum(row.slices for row in rows)} slices"
    return f"{what}, kernel{'s' if len(kernels) > 1 else ''} {', '.join(kernels)}"
