"""Resumes a training run from its last checkpoint, or prepares a new one."""

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
    """Load the last checkpoint into the parts of a training run, or prepare the folder if there is none.

    Raises:
        BundleError: the checkpoint does not fit these networks.
        ConfigError: the manifest has changed since the run was started.
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
            f"{saved.last}: checkpoint is incompatible with this version of ctcycle; "
            "resume with the version that wrote it, or set overwrite=true to start over"
        ) from error
    epochs, length = parts.settings.training.epochs, len(parts.loader)
    parts.trainer.load_state_dict({"iteration": state["iteration"], "epoch_length": length, "max_epochs": epochs})
    folder.forget_metrics_after(state["iteration"])
    _log.info("%s: resuming from iteration %d", folder.path, state["iteration"])


def _check_manifest(folder: RunFolder, manifest: Path) -> None:
    before, now = ([replace(row, path="") for row in read_manifest(path)] for path in (folder.manifest, manifest))
    if before != now:
        raise ConfigError(
            f"{manifest}: has changed since the run in {folder.path} started; "
            "set a different `out`, or set overwrite=true to start over"
        )
