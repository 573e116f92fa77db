"""Run folders: their contents, and whether a run is new, can be resumed or is finished.

A run folder holds ``config.yaml`` (resolved), ``manifest.csv``, ``checkpoints/``, ``metrics.jsonl`` (append-only),
``results.json``, ``figures/``, ``fingerprint.json`` (of the low-dose training slices), ``log.txt``,
``tracking_events.jsonl`` while MLflow is unavailable, ``lock`` while a run is active, and ``finished`` once the run is
complete. Paths inside it are relative to it.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ctcycle.atomic import remove_leftovers, write_text
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, OutputError
from ctcycle.runs.lock import locked

State = Literal["new", "begun", "finished"]
_MAY_CHANGE_ON_RESUME = {
    *("out", "resume", "overwrite", "device", "threads", "workers", "data.workers", "data.store", "store"),
    *("training.stop_after_epoch", "training.checkpoint_minutes"),
    *("tracking.enabled", "tracking.experiment", "tracking.uri"),
}
"""Keys that may differ when a run is resumed: they do not affect its result, or the folder may have been moved."""
_OWN = (
    *("finished", "manifest.csv", "checkpoints", "metrics.jsonl", "tracking.json", "tracking_events.jsonl"),
    *(
        "figures",
        "log.txt",
        "results.json",
        "results.md",
        "slices.csv",
        "patients.csv",
        "measures.csv",
        "report.html",
        "summary.json",
    ),
    *("fingerprint.json", "config.yaml"),
)
"""Everything a run writes; ``config.yaml``, which identifies a run folder, is removed last."""


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
        with locked(self.path):
            for name in _OWN:
                remove_leftovers(self.path, name)
            for folder in (self.checkpoints, self.figures):
                remove_leftovers(folder)
            yield self.open(resolved, overwrite=overwrite)

    def open(self, resolved: Mapping[str, Any], *, overwrite: bool) -> State:
        """Prepare the folder for the run described by ``resolved``, and return its state.

        Args:
            resolved: the config as plain data.
            overwrite: remove what an earlier run wrote here, and nothing else.

        Raises:
            ConfigError: the folder holds a run with another config.
            OutputError: the folder is a file, holds something else, is located inside the input, or cannot be written.
        """
        self._check_location(resolved)
        if overwrite and self.config.exists():
            self._clear()
        if self.config.exists() and not self._clear_abandoned(resolved):
            self._check_same(resolved)
            return "finished" if self._finished.exists() else "begun"
        self._found = self._entries()
        write_text(self.config, dump_yaml(dict(resolved)))
        return "new"

    def release(self) -> None:
        """Remove the config of a new run that failed before writing anything, so that another config can be used."""
        if self._entries() - self._found <= {self.config.name, self.log.name}:
            self.config.unlink(missing_ok=True)

    def _clear_abandoned(self, resolved: Mapping[str, Any]) -> bool:
        """Clear a training run with another config that has no checkpoint yet; return whether it was cleared."""
        begun = any(self.checkpoints.glob("*.pt*")) or self._finished.exists()
        if resolved["task"] == "train" and not begun and self._changes(resolved):
            self._clear()
            return True
        return False

    def _entries(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()

    def _check_location(self, resolved: Mapping[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; choose another `out`")
        if (source := resolved.get("input")) is None:
            return
        inner, outer = self.path.resolve(), Path(source).resolve()
        if inner == outer or outer in inner.parents:
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

    def _clear(self) -> None:
        for name in _OWN:
            path = self.path / name
            try:
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink(missing_ok=True)
            except OSError as error:
                raise OutputError(
                    f"{path}: cannot remove ({error.strerror}); remove it manually, or choose another `out`"
                ) from error

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

    def finish(self, summary: str) -> None:
        """Mark the run as complete, and store its summary."""
        write_text(self._finished, f"{summary}\n")

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
