"""Checkpoints: written atomically and verified, the last two kept; read without executing anything in them.

The folder holds ``last.pt`` (everything needed to resume training), ``previous.pt`` (the one before), and ``best.pt``
(only the denoiser's weights). Each is a ``torch.save`` archive with a checksum for every record.
"""

import logging
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import torch
from torch import Tensor

from ctcycle import __version__
from ctcycle.atomic import write_file
from ctcycle.errors import BundleError, DivergedError, OutputError
from ctcycle.inference.weights import check_finite

FORMAT = "ctcycle checkpoint"
VERSION = 1
State = dict[str, Any]
_COUNTS = ("num_batches_tracked", "n_averaged")
"""Ends of the names of entries that count, as whole numbers."""
_log = logging.getLogger(__name__)


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state`` (tensors, numbers, strings and containers of them) to ``path`` atomically, and verify it.

    Raises:
        DivergedError: a weight is not finite.
        OutputError: the file cannot be written.
    """
    _check_finite(path, state)
    versions = {"ctcycle": __version__, "torch": str(torch.__version__)}  # str: loading would refuse torch's own type
    stamped = {"format": FORMAT, "format_version": VERSION, **versions, **state}
    write_file(path, lambda stream: _save_verified(path, stamped, stream))


def _save_verified(path: Path, state: State, stream: IO[bytes]) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:  # torch wraps the OSError of the stream: disk full, quota
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise OutputError(f"{path}: verification failed for record {broken}; check the disk")
    stream.seek(0, 2)


def _check_finite(path: Path, state: Any) -> None:
    if isinstance(state, Tensor):
        if state.is_floating_point() and not bool(state.isfinite().all()):
            raise DivergedError(f"{path.name}: not written because a weight is not finite; lower the learning rate")
    elif isinstance(state, Mapping):
        for value in state.values():
            _check_finite(path, value)


class _DamagedError(BundleError):
    """The checkpoint is damaged or not a checkpoint at all."""


def read_checkpoint(path: Path) -> State:
    """Read a checkpoint and verify every record; tensors are loaded to the CPU.

    Raises:
        BundleError: the file is damaged, not a checkpoint of ctcycle, or of a newer format.
    """
    try:
        state = load_archive(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: checkpoint not found; train first, or choose another run") from error
    except pickle.UnpicklingError as error:
        raise _DamagedError(
            f"{path}: contains code or objects, which are never loaded; use a checkpoint of ctcycle"
        ) from error
    except Exception as error:  # the zip and pickle readers raise nearly any exception on damaged files
        raise _DamagedError(f"{path}: damaged, or not a checkpoint; use another one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("format_version"), int):
        raise _DamagedError(f"{path}: not a checkpoint of ctcycle; use another one")
    if state["format_version"] > VERSION:
        raise BundleError(
            f"{path}: format {state['format_version']} is newer than the supported format {VERSION}; update ctcycle"
        )
    return state


def load_archive(path: Path) -> Any:
    """Load a ``torch.save`` archive, verifying every record and executing nothing in it.

    Raises:
        FileNotFoundError: the file does not exist.
        Exception: the file is damaged or malicious; the zip and pickle readers may raise nearly any exception.
    """
    if path.exists() and not path.is_file():  # a pipe or a device may never end
        raise zipfile.BadZipFile("not a file")
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        # torch.save does not compress: compressed or overlapping records could expand to far more than the file.
        packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if packed or sum(record.file_size for record in records) > path.stat().st_size:
            raise zipfile.BadZipFile("records hold more than the file")
        broken = archive.testzip()
        # This flag is not covered by the checksums: torch would take the record for a folder and return stale memory.
        folders = [record.filename for record in records if record.external_attr]
    if broken is not None or folders:
        raise zipfile.BadZipFile(f"records {broken}, {folders}")
    return torch.load(path, map_location="cpu", weights_only=True)


def denoiser_weights(state: State) -> dict[str, Tensor]:
    """Return the weights of the deployed generator: the moving average if there is one, else the latest weights.

    Raises:
        BundleError: there are none, or they are not finite; the message names no file.
    """
    for source, prefix in (("denoiser", ""), ("ema", "module."), ("networks", "low2full.")):
        if isinstance(weights := state.get(source), Mapping) and weights:
            _check_weights(weights)
            found = {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}
            check_finite(found)
            return found
    raise BundleError("the checkpoint contains no denoiser; choose another one")


def _check_weights(weights: Mapping[Any, Any]) -> None:
    """Check that weights are named tensors of real numbers; torch would convert others or fail on them.

    Raises:
        BundleError: they are not.
    """
    for name, value in weights.items():
        if not isinstance(name, str):
            raise BundleError(f"the checkpoint has a weight named {name!r:.60}, which is not text; choose another one")
        if not isinstance(value, Tensor) or not (value.is_floating_point() or name.endswith(_COUNTS)):
            found = value.dtype if isinstance(value, Tensor) else type(value).__name__
            raise BundleError(
                f"the weight {name:.60} is {found}, not a tensor of real numbers; choose another checkpoint"
            )


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: created when the first checkpoint is written.
    """

    def __init__(self, folder: Path) -> None:
        self.last, self.previous, self.best = (folder / f"{name}.pt" for name in ("last", "previous", "best"))

    def save_last(self, state: Mapping[str, Any]) -> None:
        """Write a new last checkpoint, and keep the former one as the previous checkpoint."""
        new = self.last.with_name("new.pt")
        write_checkpoint(new, state)
        if self.last.exists():
            self.last.replace(self.previous)
        new.replace(self.last)

    def save_best(self, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Write the denoiser's weights, with their scores as plain values."""
        write_checkpoint(self.best, {"denoiser": dict(weights), **about})

    def load_last(self) -> State | None:
        """Load the newest intact checkpoint, moving damaged ones aside; return None if there are no checkpoints.

        Raises:
            BundleError: all checkpoints are damaged, or they are of a newer format.
        """
        found = [path for path in (self.last, self.previous) if path.exists()]
        for path in found:
            try:
                return read_checkpoint(path)
            except _DamagedError as error:
                _log.warning("%s; moved to %s", error, _corrupt_path(path).name)
                path.replace(_corrupt_path(path))
        if any(_corrupt_path(path).exists() for path in (self.last, self.previous)):
            raise BundleError(f"{self.last.parent}: all checkpoints are damaged; set overwrite=true to start over")
        return None


def _corrupt_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.corrupt")
