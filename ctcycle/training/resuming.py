"""Resumes a training run from its last checkpoint, or prepares a new one."""

import logging
from dataclasses import replace
from pathlib import Path

from ctcycle.data.manifest import read_manifest, write_manifest
from ctcycle.errors import BundleError, ConfigError
from ctcycle.runs import ranks
from ctcycle.runs.folder import RunFolder
from ctcycle.runs.models import load_model
from ctcycle.training.building import Parts
from ctcycle.training.handlers.checkpoints import Checkpoints
from ctcycle.training.patches.loading import DataRecord
from ctcycle.training.speed.choosing import settle

_log = logging.getLogger(__name__)


class InitialRecord:
    """The weights that a run is started from, as a digest in its checkpoints.

    Args:
        initial: the run or bundle folder with the weights; None if they are random.
    """

    def __init__(self, initial: Path | None) -> None:
        self.digest = "" if initial is None else load_model(initial, device="cpu").digest

    def state_dict(self) -> str:
        """Return the SHA-256 of the file with the weights; an empty text without one."""
        return self.digest

    def load_state_dict(self, _state: str) -> None:
        """Do nothing: `resume` compares before anything is restored."""


def resume(parts: Parts, checkpoints: Checkpoints, folder: RunFolder) -> None:
    """Load the last checkpoint into the parts of a training run, or prepare the folder if there is none.

    Raises:
        BundleError: the checkpoint does not fit these networks.
        ConfigError: the manifest, the pixels of a series or the initial weights have changed since the run was started,
            or it was started in a precision that this device has no units for.
    """
    manifest, saved = parts.settings.data.manifest, checkpoints.folder
    state = ranks.from_first(saved.load_last)
    ranks.only_first(folder.forget_metrics_after, 0 if state is None else state["iteration"])
    if state is None:
        ranks.only_first(write_manifest, folder.manifest, read_manifest(manifest))
        parts.precision.start()
        settle(parts)
        ranks.same_on_all(parts.method.networks)
        return
    ranks.from_first(lambda: _check_manifest(folder, manifest))
    _check_pixels(folder, manifest, DataRecord(parts.loader.dataset).changed(state.get("data", {})))
    _check_initial(folder, parts.settings.initial, state.get("initial"))
    parts.precision.resume(saved.last, state.get("precision", {}).get("name", parts.settings.training.precision))
    parts.layout.resume(state.get("layout", {}))
    try:
        checkpoints.state.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(
            f"{saved.last}: checkpoint is incompatible with this version of ctcycle; "
            "resume with the version that wrote it, or set overwrite=true to start over"
        ) from error
    epochs, length = parts.settings.training.epochs, len(parts.loader)
    parts.trainer.load_state_dict({"iteration": state["iteration"], "epoch_length": length, "max_epochs": epochs})
    _log.info("%s: resuming from iteration %d", folder.path, state["iteration"])


def _check_manifest(folder: RunFolder, manifest: Path) -> None:
    before, now = ([replace(row, path="") for row in read_manifest(path)] for path in (folder.manifest, manifest))
    if before != now:
        raise ConfigError(
            f"{manifest}: has changed since the run in {folder.path} started; "
            "set a different `out`, or set overwrite=true to start over"
        )


def _check_initial(folder: RunFolder, initial: Path | None, before: str | None) -> None:
    if before is not None and before != InitialRecord(initial).digest:
        raise ConfigError(
            f"initial: the weights in {initial} have changed since the run in {folder.path} started; "
            "restore them, set a different `out`, or set overwrite=true to start over"
        )


def _check_pixels(folder: RunFolder, manifest: Path, changed: list[str]) -> None:
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise ConfigError(
            f"{manifest}: the pixels of series {changed[0]}{more} have changed since the run in {folder.path} started; "
            "restore them, set a different `out`, or set overwrite=true to start over"
        )
