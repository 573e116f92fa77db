"""Logging of an evaluation's figures to the MLflow run whose weights were evaluated, and to no other."""

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ctcycle.config.loading import load_config
from ctcycle.errors import CtcycleError
from ctcycle.runs.tracking import Tracker

_log = logging.getLogger(__name__)


def log_evaluation(
    run: Path, weights_digest: str, data: str, figures: Mapping[str, float | None], files: Sequence[Path] = ()
) -> bool:
    """Log figures as metrics ``eval/<data>/<measure>`` of a finished, tracked run, and files as its artefacts.

    Nothing is logged under a run whose weights have changed since, or that was copied. Never fails: what MLflow cannot
    take now is queued in the run folder, as in training.

    Args:
        run: the run folder.
        weights_digest: SHA-256 of the weights file that was evaluated, in hexadecimal.
        data: name of the split or data set.
        figures: by measure key; None is left out.
        files: for the artefact folder ``eval/<data>``.

    Returns:
        Whether the figures were logged or queued.
    """
    try:
        reason = _obstacle(run, weights_digest)
        if reason:
            _log.info("%s: evaluation not logged to MLflow: %s", run, reason)
            return False
        _send(run, data, figures, files)
    except (CtcycleError, OSError, ValueError, KeyError) as error:
        _log.warning("%s: evaluation not logged to MLflow: %s", run, error)
        return False
    return True


def _obstacle(run: Path, weights_digest: str) -> str:
    """Return why nothing can be logged under the run; empty if nothing stands against it."""
    if not (run / "tracking.json").exists():
        return "the run was not tracked"
    if not (run / "finished").exists():
        return "the run is not finished"
    if json.loads((run / "tracking.json").read_text())["folder"] != str(run.resolve()):
        return "the run folder was copied or moved, and its MLflow run belongs to another folder"
    if weights_digest not in {_digest(path) for path in (run / "checkpoints").glob("*.pt")}:
        return "its weights are not those that were evaluated; evaluate again"
    return ""


def _send(run: Path, data: str, figures: Mapping[str, float | None], files: Sequence[Path]) -> None:
    settings: Any = load_config(run / "config.yaml").config
    uri = json.loads((run / "tracking.json").read_text())["uri"]
    tracker = Tracker(settings.tracking.model_copy(update={"uri": uri}), run, run.name, {})
    tracker.start()
    known = {f"eval/{data}/{key}": value for key, value in figures.items() if value is not None}
    tracker.metrics(known, None)  # the first evaluation is step 0, which MLflow shows as a bar
    for file in files:
        tracker.artifact(file, f"eval/{data}")
    tracker.finish("FINISHED")


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
