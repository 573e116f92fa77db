"""Where a training starts: from its last checkpoint, if there is one that fits."""

import logging
from dataclasses import replace
from pathlib import Path

from ctcycle.data.manifest import read_manifest, write_manifest
from ctcycle.errors import BundleError, ConfigError
from ctcycle.runs.folder import RunFolder
from ctcycle.training.building import Parts
from ctcycle.training.handlers.checkpoints import Checkpoints

_log = logging.getLogger(__name__)


def resume(parts: Parts, checkpoints: Checkpoints, folder: RunFolder) -> None:
    """Put the last checkpoint into the parts of a training, or prepare the folder for a new one.

    Raises:
        BundleError: the checkpoint belongs to other networks.
        ConfigError: the manifest has changed since the run began.
    """
    manifest, saved = parts.settings.data.manifest, checkpoints.folder
    state = saved.load_last()
    if state is None:
        folder.forget_metrics_after(0)
        write_manifest(folder.manifest, read_manifest(manifest))
        return
    _check_manifest(folder, manifest)
    try:
        checkpoints.state.load_state_dict(state)
    except (RuntimeError, ValueError, KeyError) as error:
        raise BundleError(
            f"{saved.last}: does not fit its config in this version of ctcycle; "
            "go on with the version that wrote it, or start anew with overwrite=true"
        ) from error
    epochs, length = parts.settings.training.epochs, len(parts.loader)
    parts.trainer.load_state_dict({"iteration": state["iteration"], "epoch_length": length, "max_epochs": epochs})
    folder.forget_metrics_after(state["iteration"])
    _log.info("%s: goes on after iteration %d", folder.path, state["iteration"])


def _check_manifest(folder: RunFolder, manifest: Path) -> None:
    before, now = ([replace(row, path="") for row in read_manifest(path)] for path in (folder.manifest, manifest))
    if before != now:
        raise ConfigError(
            f"{manifest}: has changed since the run in {folder.path} began; choose another `out`, or overwrite=true"
        )
