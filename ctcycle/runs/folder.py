"""Run folders: their contents, and whether a run is new, can be resumed or is finished.

A run folder holds ``config.yaml`` (resolved), ``manifest.csv``, ``checkpoints/``, ``metrics.jsonl`` (append-only),
``results.json``, ``figures/``, ``fingerprint.json`` (of the low-dose training slices), ``log.txt``,
``watch.json`` (what training ended with, measured without pairs),
``tracking_events.jsonl`` while MLflow is unavailable, ``lock`` while a run is active, and ``finished`` once the run is
complete. Paths inside it are relative to it.
"""

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ctcycle.atomic import write_text
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, OutputError, printable
from ctcycle.inference.records import FOLDER
from ctcycle.runs.lock import locked
from ctcycle.runs.written import WrittenFiles

State = Literal["new", "begun", "finished"]
_MAY_CHANGE_ON_RESUME = {
    *("out", "resume", "overwrite", "device", "threads", "workers", "data.workers", "data.store", "store"),
    *("training.stop_after_epoch", "training.checkpoint_minutes", "training.watch.fail", "training.emulate_bf16"),
    "training.recompute",
    *("tracking.enabled", "tracking.experiment", "tracking.uri", "tracking.name", "tracking.description"),
    "trials",
}
"""Keys that may differ when a run is resumed: they do not affect its result, or the folder may have been moved."""
_EPOCHS = "training.epochs"
_SCHEDULED = ("schedule.decay_start", "schedule.finish_start")
"""Keys that are 1 if nothing depends on the number of epochs."""
_TRAINED = ("metrics.jsonl", "tracking_events.jsonl", "checkpoints/new.pt", "checkpoints/best.pt")
_RESUMED = ("checkpoints/last.pt", "checkpoints/previous.pt")
"""Checkpoints that are set aside with the suffix ``.corrupt`` if they are damaged."""


class RunFolder:
    """The folder of one run of one task.

    Args:
        path: the folder; created by `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.manifest = path / "manifest.csv"
        self.metrics = path / "metrics.jsonl"
        self.checkpoints = path / "checkpoints"
        self.figures = path / "figures"
        self.log = path / "log.txt"
        self.watch = path / "watch.json"
        self.written = WrittenFiles(path)
        self._finished = path / "finished"
        self._found: set[str] = set()

    @contextmanager
    def opened(self, resolved: Mapping[str, Any], *, overwrite: bool) -> Iterator[State]:
        """Lock the folder for the duration of the context, prepare it as `open` does, and yield its state.

        Raises:
            ConfigError: as `open`.
            OutputError: as `open`; or another run is using the folder.
        """
        self._check_location(resolved)
        with locked(self.path), self.written.recording(trusting=self.config.exists() and not overwrite):
            yield self.open(resolved, overwrite=overwrite)

    def open(self, resolved: Mapping[str, Any], *, overwrite: bool) -> State:
        """Prepare the folder for the run described by ``resolved``, and return its state.

        Args:
            resolved: the config as plain data.
            overwrite: remove what an earlier run wrote here by its own record, and nothing else.

        Raises:
            ConfigError: the folder holds a run with another config.
            OutputError: the folder is a file, holds something else, is located inside the input, or cannot be written.
        """
        self._check_location(resolved)
        if overwrite:
            self.written.remove(last=self.config)
            self.written.claim(self.config)
        if self.config.exists() and not self._clear_abandoned(resolved):
            if self._is_longer(resolved):
                self._continue(resolved)
            self._check_same(resolved)
            return "finished" if self._finished.exists() else "begun"
        self._found = self._entries()
        self._claim(resolved["task"])
        write_text(self.config, dump_yaml(dict(resolved)))
        return "new"

    def release(self) -> None:
        """Remove the config of a new run that failed before writing anything, so that another config can be used."""
        if self._entries() - self._found <= {self.config.name, self.log.name, FOLDER}:
            self.config.unlink(missing_ok=True)

    def _clear_abandoned(self, resolved: Mapping[str, Any]) -> bool:
        """Clear a training run with another config that has no checkpoint yet; return whether it was cleared."""
        begun = any(self.checkpoints.glob("*.pt*")) or self._finished.exists()
        if resolved["task"] == "train" and not begun and self._changes(resolved):
            self.written.remove(last=self.config)
            return True
        return False

    def _claim(self, task: str) -> None:
        """Record the files that are appended to, or not written by `ctcycle.atomic.write_file` under their names.

        Raises:
            OutputError: one exists that ctcycle did not write.
        """
        names = [self.config.name, *(() if self.log.is_symlink() else (self.log.name,))]
        if task == "train":
            names += [*_TRAINED, *_RESUMED, *(f"{name}.corrupt" for name in _RESUMED)]
        self.written.claim(*(self.path / name for name in names))

    def _entries(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()

    def _check_location(self, resolved: Mapping[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; choose another `out`")
        scans = [source["path"] for source in (resolved.get("low_dose") or {}).get("sources", ())]
        for source in filter(None, [resolved.get("input"), *scans]):
            if self.path.resolve().is_relative_to(Path(source).resolve()):
                raise OutputError(f"{self.path}: is the input {source} or inside it; choose another `out`")

    def check_exists(self) -> None:
        """Check that the folder still exists.

        Raises:
            OutputError: it was removed or moved during the run.
        """
        if not self.config.exists():
            raise OutputError(
                f"{self.path}: was removed or moved during the run; to resume, set `out` to the current location "
                "and run the command again"
            )

    def _config_before(self) -> dict[str, Any]:
        try:
            return flat(load_config(self.config).resolved)
        except ConfigError as error:
            raise OutputError(
                f"{self.config}: not valid for this version of ctcycle; choose another `out`, or set overwrite=true"
            ) from error

    def _changes(self, resolved: Mapping[str, Any]) -> list[str]:
        """Return the relevant changes from the config of the earlier run, each as text."""
        before, now = self._config_before(), flat(resolved)
        keys = sorted((before.keys() | now.keys()) - _MAY_CHANGE_ON_RESUME)
        changed = [key for key in keys if before.get(key) != now.get(key)]
        return [f"{key}={now.get(key)} instead of {before.get(key)}" for key in changed]

    def _check_same(self, resolved: Mapping[str, Any]) -> None:
        changes = self._changes(resolved)
        if changes:
            more = f", and {len(changes) - 1} more" if len(changes) > 1 else ""
            raise ConfigError(
                f"{self.path}: contains a run with another config ({changes[0]}{more}); "
                "choose another `out`, or set overwrite=true"
            )

    def _is_longer(self, resolved: Mapping[str, Any]) -> bool:
        """Return whether a training run differs from the earlier one only by more epochs."""
        if resolved["task"] != "train":
            return False
        before, now = self._config_before(), flat(resolved)
        return now[_EPOCHS] > before.get(_EPOCHS, math.inf) and len(self._changes(resolved)) == 1

    def _continue(self, resolved: Mapping[str, Any]) -> None:
        """Adopt a larger number of epochs.

        Raises:
            ConfigError: rates or weights change over the epochs, so the epochs so far were trained with other ones.
        """
        now, before = flat(resolved), self._config_before()
        if changing := [key for key in _SCHEDULED if now.get(key, 1.0) < 1]:
            raise ConfigError(
                f"{self.path}: was started with {_EPOCHS}={before[_EPOCHS]}, on which "
                f"{changing[0]}={now[changing[0]]:g} depends; start a new run from these weights: "
                f"initial={self.path}, another `out` and "
                f"training.epochs={now[_EPOCHS] - before[_EPOCHS]}"
            )
        write_text(self.config, dump_yaml(dict(resolved)))
        self._finished.unlink(missing_ok=True)

    def finish(self, summary: str) -> None:
        """Mark the run as complete, and store its summary."""
        write_text(self._finished, f"{printable(summary)}\n")

    def summary(self) -> str:
        """Return the summary of a finished run."""
        return self._finished.read_text().rstrip()

    def append_metrics(self, record: Mapping[str, float | int]) -> None:
        """Append a line to ``metrics.jsonl``.

        Raises:
            OutputError: the folder was removed or moved, or the file cannot be written.
        """
        self.check_exists()
        try:
            with self.metrics.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.metrics}: cannot write ({error.strerror}); free up space and run the command again to resume"
            ) from error

    def read_metrics(self) -> list[dict[str, float]]:
        """Return the records of ``metrics.jsonl``, without an incomplete last line."""
        return list(_records(self.metrics)) if self.metrics.exists() else []

    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """Return the recorded training losses, in network units: name to (iteration, value)."""
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.read_metrics():
            for name, value in record.items():
                if name.startswith("train/") and not name.endswith("_hu"):
                    found.setdefault(name, []).append((int(record["iteration"]), value))
        return found

    def forget_metrics_after(self, iteration: int) -> None:
        """Remove the records of iterations after the last checkpoint, which a resumed run repeats."""
        kept = [record for record in self.read_metrics() if record["iteration"] <= iteration]
        write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))


def _records(path: Path) -> Iterator[dict[str, float]]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        key: leaf
        for name, part in value.items()
        for key, leaf in flat(part, f"{prefix}.{name}" if prefix else name).items()
    }
