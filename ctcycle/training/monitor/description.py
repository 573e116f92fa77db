"""The description of a training that MLflow shows above its run, in Markdown."""

from collections.abc import Mapping

from ctcycle.data.manifest import read_manifest
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.mlflow_store.data_sets import data_sets, described
from ctcycle.runs.tracking import Tracker
from ctcycle.training.building import Parts
from ctcycle.training.monitor.pace import opening


def outcome(best: Mapping[str, float], protocol: str) -> str:
    """Return what a training chose as its best checkpoint, and by which score.

    Args:
        best: scores and epoch of the best checkpoint; empty if there are none.
        protocol: the protocol of the validation scores.
    """
    if "val/psnr" in best:
        return f"best epoch {best['epoch']}: {best['val/psnr']:.2f} dB PSNR on validation slices, protocol {protocol}"
    return f"no validation pairs, best epoch {best['epoch']} by training.watch" if best else "no validation pairs"


class Description:
    """What is trained, on which data, and with which result.

    Args:
        parts: the training.
        folder: its run folder, with the manifest.
        tracker: the MLflow run.
    """

    def __init__(self, parts: Parts, folder: RunFolder, tracker: Tracker) -> None:
        self.parts, self.folder, self.tracker = parts, folder, tracker
        self.sets = data_sets(read_manifest(folder.manifest), parts.settings.data.kernel)

    def log(self, result: str = "") -> None:
        """Log the data sets and the description; call it again when there is a result, a sentence."""
        self.tracker.data(self.sets)
        self.tracker.describe(self.text(result))

    def text(self, result: str = "") -> str:
        """Return the description."""
        own = self.parts.settings.tracking.description
        again = f"`python -m ctcycle.run --config {self.folder.config}` trains this run again or resumes it."
        parts = (own, f"**{result}**" if result else "", f"{opening(self.parts)}.", described(self.sets), again)
        return "\n\n".join(part for part in parts if part)
