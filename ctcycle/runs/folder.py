"""A run folder: what it holds, and whether a run may begin, go on or is finished.

``config.yaml`` (resolved), ``manifest.csv``, ``checkpoints/``, ``metrics.jsonl`` (append-only), ``results.json``,
``figures/``, ``fingerprint.json`` (of the low-dose training slices), ``log.txt``, ``tracking_events.jsonl`` while
MLflow is unavailable, ``lock`` while a run is active, and ``finished`` once there is nothing left to do. Everything in
it is relative.
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
"""Keys that may differ when a run goes on: they do not change its result, and the folder may have been moved."""
_OWN = (
    *("finished", "manifest.csv", "checkpoints", "metrics.jsonl", "tracking.json", "tracking_events.jsonl"),
    *("figures", "log.txt", "results.json", "results.md", "slices.csv", "patients.csv", "summary.json"),
    *("fingerprint.json", "config.yaml"),
)
"""What a run writes; ``config.yaml``, by which its folder is known, goes last."""


class RunFolder:
    """The folder of one run of one task.

    Args:
        path: the folder; made by `open`.
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
        """Inside, the folder is this run's alone, made ready as `open` does.

        Raises:
            ConfigError: as `open`.
            OutputError: as `open`; or another run is at work here.
        """
        self._check_place(resolved)
        with locked(self.path):
            for name in _OWN:
                remove_leftovers(self.path, name)
            for folder in (self.checkpoints, self.figures):
                remove_leftovers(folder)
            yield self.open(resolved, overwrite=overwrite)

    def open(self, resolved: Mapping[str, Any], *, overwrite: bool) -> State:
        """Makes the folder ready for the run that ``resolved`` describes, and says what is there already.

        Args:
            resolved: the config as plain data.
            overwrite: remove what an earlier run wrote here, and nothing else.

        Raises:
            ConfigError: another config was run here.
            OutputError: the folder is a file, holds something else, lies inside the input, or cannot be written.
        """
        self._check_place(resolved)
        if overwrite and self.config.exists():
            self._clear()
        if self.config.exists() and not self._is_hopeless(resolved):
            self._check_same(resolved)
            return "finished" if self._finished.exists() else "begun"
        self._found = self._entries()
        write_text(self.config, dump_yaml(dict(resolved)))
        return "new"

    def release(self) -> None:
        """Forgets a new run of which nothing came, so that the folder is free for another config."""
        if self._entries() - self._found <= {self.config.name, self.log.name}:
            self.config.unlink(missing_ok=True)

    def _is_hopeless(self, resolved: Mapping[str, Any]) -> bool:
        """Whether a training run with another config stands here that never got to a checkpoint; it is cleared."""
        begun = any(self.checkpoints.glob("*.pt*")) or self._finished.exists()
        hopeless = resolved["task"] == "train" and not begun
        if hopeless and self._changes(resolved):
            self._clear()
            return True
        return False

    def _entries(self) -> set[str]:
        return {entry.name for entry in self.path.iterdir()} if self.path.exists() else set()

    def _check_place(self, resolved: Mapping[str, Any]) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; choose another `out`")
        if (source := resolved.get("input")) is None:
            return
        inner, outer = self.path.resolve(), Path(source).resolve()
        if inner == outer or outer in inner.parents:
            raise OutputError(f"{self.path}: is, or lies inside, the input {source}; choose another `out`")

    def check_there(self) -> None:
        """Raises OutputError where the folder was removed or moved away while its run goes on."""
        if not self.config.exists():
            raise OutputError(
                f"{self.path}: was removed or moved while the run was at work; start the same command again, "
                "with `out` where the folder is now"
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
                    f"{path}: cannot be removed ({error.strerror}); remove it by hand, or choose another `out`"
                ) from error

    def _config_before(self) -> dict[str, Any]:
        try:
            return flat(load_config(self.config).resolved)
        except ConfigError as error:
            raise OutputError(
                f"{self.config}: not the config of a run of this version; choose another `out`, or overwrite=true"
            ) from error

    def _changes(self, resolved: Mapping[str, Any]) -> list[str]:
        """What differs from the config that was run here and matters, each change in words."""
        before, now = self._config_before(), flat(resolved)
        keys = sorted((before.keys() | now.keys()) - _MAY_CHANGE_ON_RESUME)
        return [f"{key} was {before.get(key)}, is {now.get(key)}" for key in keys if before.get(key) != now.get(key)]

    def _check_same(self, resolved: Mapping[str, Any]) -> None:
        changes = self._changes(resolved)
        if changes:
            more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
            raise ConfigError(
                f"{self.path}: holds a run with another config ({changes[0]}{more}); "
                "choose another `out`, or overwrite=true"
            )

    def finish(self, summary: str) -> None:
        """Marks the run as complete, and keeps what it had to say."""
        write_text(self._finished, f"{summary}\n")

    def summary(self) -> str:
        """What a finished run had to say."""
        return self._finished.read_text().rstrip()

    def append_metrics(self, record: Mapping[str, float | int]) -> None:
        """Adds one line to ``metrics.jsonl``."""
        self.check_there()
        try:
            with self.metrics.open("a") as stream:
                stream.write(json.dumps(record) + "\n")
        except OSError as error:
            raise OutputError(
                f"{self.metrics}: cannot be written ({error.strerror}); free the disk and go on"
            ) from error

    def read_metrics(self) -> list[dict[str, float]]:
        """All complete lines of ``metrics.jsonl``; a torn last line is left out."""
        return list(_records(self.metrics)) if self.metrics.exists() else []

    def losses(self) -> dict[str, list[tuple[int, float]]]:
        """The recorded training losses, in the network's unit: name to (iteration, value)."""
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.read_metrics():
            for name, value in record.items():
                if name.startswith("train/") and not name.endswith("_hu"):
                    found.setdefault(name, []).append((int(record["iteration"]), value))
        return found

    def forget_metrics_after(self, iteration: int) -> None:
        """Drops the records of iterations that a run will do again: all after its last checkpoint."""
        kept = [record for record in self.read_metrics() if record["iteration"] <= iteration]
        write_text(self.metrics, "".join(json.dumps(record) + "\n" for record in kept))


def _records(path: Path) -> Iterator[dict[str, float]]:
    for line in path.read_text().splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            return


def flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested mappings, by their dotted keys."""
    if not isinstance(value, Mapping):
        return {prefix: value}
    return {
        key: leaf
        for name, part in value.items()
        for key, leaf in flat(part, f"{prefix}.{name}" if prefix else name).items()
    }
