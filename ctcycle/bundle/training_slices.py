"""Describe and measure the low-dose slices that a run was trained on, for its bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctcycle.ct.hounsfield import MU_AIR
from ctcycle.data.manifest import ManifestRow, read_manifest
from ctcycle.data.slices import load_slices, open_store
from ctcycle.errors import CtcycleError, ManifestError
from ctcycle.inference.fingerprint import Fingerprint
from ctcycle.runs.fingerprints import measure_volumes, read_run_fingerprint


@dataclass(frozen=True)
class TrainingSlices:
    """The location of the low-dose training slices of a run.

    Attributes:
        run: the run folder, which keeps a copy of the manifest.
        manifest: the manifest from the run's config; the default store is next to it.
        store: of decoded slices; None for the default.
        kernel: reconstruction kernel to select; None for all.
        mu_water: attenuation of water in 1/mm.
        mu_air: attenuation of air in 1/mm.
    """

    run: Path
    manifest: Path
    store: Path | None
    kernel: str | None
    mu_water: float
    mu_air: float = MU_AIR

    def rows(self) -> list[ManifestRow]:
        """Return the low-dose training series from the run's copy of the manifest.

        Raises:
            ManifestError: the manifest is missing or cannot be read.
        """
        chosen = read_manifest(self.run / "manifest.csv").select(dose="low_dose", split="train", kernel=self.kernel)
        return list(chosen)

    def fingerprint(self) -> Fingerprint:
        """Return the fingerprint stored in the run, or measure it if there is none.

        Raises:
            ManifestError: the training data is missing; the message explains how to export without it.
        """
        return read_run_fingerprint(self.run) or self._measure()

    def _measure(self) -> Fingerprint:
        store = open_store(self.manifest, self.store, self.mu_water, self.mu_air)
        try:
            slices = load_slices(self.run / "manifest.csv", store, kernel=self.kernel, splits=("train",))
            return measure_volumes([slices.series[row.series].hu for row in self.rows()])
        except CtcycleError as error:
            raise ManifestError(
                f"{self.run}: cannot measure its training slices ({error}); restore them, or set "
                "fingerprint=false to export a bundle that cannot detect scans unlike them"
            ) from error


def describe_series(rows: Sequence[ManifestRow]) -> str:
    """Return the number of patients and slices and the kernels as text; no patient is named."""
    kernels = sorted({row.kernel or "unknown" for row in rows})
    patients = len({row.patient for row in rows})
    what = f"{patients} patient{'s' if patients != 1 else ''}, {sum(row.slices for row in rows)} slices"
    return f"{what}, kernel{'s' if len(kernels) > 1 else ''} {', '.join(kernels)}"
