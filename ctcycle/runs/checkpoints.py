"""Checkpoints: written whole, verified, at least two kept; read without running anything that is in them.

The folder holds ``last.pt`` (everything that training needs to go on), ``previous.pt`` (the one before), and
``best.pt`` (the denoiser's weights alone). Each is a ``torch.save`` archive, whose records carry checksums.
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

FORMAT = "ctcycle checkpoint"
VERSION = 1
State = dict[str, Any]
_log = logging.getLogger(__name__)


def write_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes ``state`` (tensors, numbers, strings and containers of them) to ``path``, verified, whole or not at all.

    Raises:
        DivergedError: a weight in it is not finite.
        OutputError: it cannot be written.
    """
    _check_finite(path, state)
    versions = {"ctcycle": __version__, "torch": str(torch.__version__)}  # str: torch's own type would not be loaded
    stamped = {"format": FORMAT, "format_version": VERSION, **versions, **state}
    write_file(path, lambda stream: _save_verified(path, stamped, stream))


def _save_verified(path: Path, state: State, stream: IO[bytes]) -> None:
    try:
        torch.save(state, stream)
    except RuntimeError as error:  # torch hides behind it that the stream refused: disk full, quota
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None
    stream.seek(0)
    with zipfile.ZipFile(stream) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise OutputError(f"{path}: record {broken} was not written as it should be; check the disk")
    stream.seek(0, 2)


def _check_finite(path: Path, state: Any) -> None:
    if isinstance(state, Tensor):
        if state.is_floating_point() and not bool(state.isfinite().all()):
            raise DivergedError(f"{path.name}: a weight is not finite, so it was not written; lower the learning rate")
    elif isinstance(state, Mapping):
        for value in state.values():
            _check_finite(path, value)


class _DamagedError(BundleError):
    """A checkpoint that no program could read."""


def read_checkpoint(path: Path) -> State:
    """Reads one checkpoint, checking every record; tensors land on the CPU.

    Raises:
        BundleError: it is damaged, foreign or of a format that this version does not know.
    """
    try:
        state = load_archive(path)
    except FileNotFoundError as error:
        raise BundleError(f"{path}: there is no such checkpoint; train first, or name another run") from error
    except pickle.UnpicklingError as error:
        raise _DamagedError(
            f"{path}: holds code or objects, which are never loaded; use a checkpoint of ctcycle"
        ) from error
    except Exception as error:  # damage makes the readers of zip and pickle raise nearly anything
        raise _DamagedError(f"{path}: damaged, or not a checkpoint; use another one") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT or not isinstance(state.get("format_version"), int):
        raise _DamagedError(f"{path}: not a checkpoint of ctcycle; use another one")
    if state["format_version"] > VERSION:
        raise BundleError(
            f"{path}: format {state['format_version']} is newer than this program's {VERSION}; update ctcycle"
        )
    return state


def load_archive(path: Path) -> Any:
    """What ``torch.save`` wrote to a file, every record checked; nothing that is in it is run.

    Raises:
        FileNotFoundError: there is no such file.
        Exception: nearly any other, from the readers of zip and pickle, where it is damaged or made to do harm.
    """
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        # torch.save packs nothing: packed records, or records that share bytes, may unfold to far more than the file.
        packed = any(record.compress_type != zipfile.ZIP_STORED for record in records)
        if packed or sum(record.file_size for record in records) > path.stat().st_size:
            raise zipfile.BadZipFile("records hold more than the file")
        broken = archive.testzip()
        # A flag outside the checksums: torch takes the record for a folder and gives back whatever is in memory.
        folders = [record.filename for record in records if record.external_attr]
    if broken is not None or folders:
        raise zipfile.BadZipFile(f"records {broken}, {folders}")
    return torch.load(path, map_location="cpu", weights_only=True)


def denoiser_weights(state: State) -> dict[str, Tensor]:
    """The weights of the generator that is evaluated and deployed: its running mean where there is one."""
    for source, prefix in (("denoiser", ""), ("ema", "module."), ("networks", "low2full.")):
        if state.get(source):
            weights = state[source].items()
            return {name.removeprefix(prefix): value for name, value in weights if name.startswith(prefix)}
    raise BundleError("checkpoint holds no denoiser")


class CheckpointFolder:
    """The checkpoints of one run.

    Args:
        folder: made when the first one is written.
    """

    def __init__(self, folder: Path) -> None:
        self.last, self.previous, self.best = (folder / f"{name}.pt" for name in ("last", "previous", "best"))

    def save_last(self, state: Mapping[str, Any]) -> None:
        """Writes the new last checkpoint, then keeps the one before it as the previous one."""
        new = self.last.with_name("new.pt")
        write_checkpoint(new, state)
        if self.last.exists():
            self.last.replace(self.previous)
        new.replace(self.last)

    def save_best(self, weights: Mapping[str, Tensor], about: Mapping[str, Any]) -> None:
        """Writes the denoiser's weights and, as plain values, what they achieved."""
        write_checkpoint(self.best, {"denoiser": dict(weights), **about})

    def load_last(self) -> State | None:
        """The newest checkpoint that is whole; a damaged one is set aside. None where there never was one.

        Raises:
            BundleError: there are checkpoints, but none is whole, or they are of a later version.
        """
        found = [path for path in (self.last, self.previous) if path.exists()]
        for path in found:
            try:
                return read_checkpoint(path)
            except _DamagedError as error:
                _log.warning("%s; it is set aside as %s", error, _aside(path).name)
                path.replace(_aside(path))
        if any(_aside(path).exists() for path in (self.last, self.previous)):
            raise BundleError(f"{self.last.parent}: no checkpoint is whole; start anew with overwrite=true")
        return None


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.corrupt")
