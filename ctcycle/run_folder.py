"""A run folder: what it holds, and whether a run may begin, go on or is finished.

``config.yaml`` (resolved), ``manifest.csv``, ``checkpoints/``, ``metrics.jsonl`` (append-only), ``results.json``,
``figures/``, ``log.txt``, and ``finished`` once there is nothing left to do. Everything in it is relative.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from ctcycle.atomic import write_text
from ctcycle.config.loading import load_config
from ctcycle.config.strict_yaml import dump_yaml
from ctcycle.errors import ConfigError, OutputError

State = Literal["new", "begun", "finished"]
_FREE = ("resume", "overwrite", "device", "threads", "workers", "tracking", "data.workers", "training.stop_after_epoch")
"""Keys that may differ when a run goes on: they do not change its result."""
_OWN = (
    *("config.yaml", "manifest.csv", "checkpoints", "metrics.jsonl", "tracking.json", "figures", "finished"),
    *("results.json", "results.md", "slices.csv", "patients.csv", "log.txt"),
)


class RunFolder:
    """The folder of one run of one task.

    Args:
        path: the folder; made by `open`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.figures = path / "figures"
        self.log = path / "log.txt"
        self._finished = path / "finished"

    def open(self, resolved: Mapping[str, Any], *, overwrite: bool) -> State:
        """Makes the folder ready for the run that ``resolved`` describes, and says what is there already.

        Raises:
            ConfigError: another config was run here.
            OutputError: the folder holds something else, or cannot be written.
        """
        if overwrite:
            self._clear()
        if self.path.exists() and not self.path.is_dir():
            raise OutputError(f"{self.path}: is a file; choose another `out`")
        if self.config.exists():
            self._check_same(resolved)
            return "finished" if self._finished.exists() else "begun"
        write_text(self.config, dump_yaml(dict(resolved)))
        return "new"

    def _clear(self) -> None:
        """Removes what an earlier run wrote here, and nothing else."""
        for name in _OWN:
            path = self.path / name
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _check_same(self, resolved: Mapping[str, Any]) -> None:
        before, now = flat(load_config(self.config).resolved), flat(resolved)
        changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
        changed = [key for key in changed if not _is_free(key)]
        if changed:
            key = changed[0]
            more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            raise ConfigError(
                f"{self.path}: holds a run with another config ({key} was {before.get(key)}, is {now.get(key)}{more}); "
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

    def curves(self, prefix: str) -> dict[str, list[tuple[int, float]]]:
        """The recorded values whose name starts with ``prefix``: name to (iteration, value)."""
        found: dict[str, list[tuple[int, float]]] = {}
        for record in self.read_metrics():
            for name, value in record.items():
                if name.startswith(prefix):
                    found.setdefault(name, []).append((int(record["iteration"]), value))
        return found

    def forget_metrics_after(self, iteration: int) -> None:
        """Drops the records of iterations that a resumed run will do again."""
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


def _is_free(key: str) -> bool:
    parts = key.split(".")
    return any(".".join(parts[i:]).startswith(free) for free in _FREE for i in (0, 2 if parts[0] == "steps" else 0))
