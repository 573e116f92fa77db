# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""What became of each series of a folder, as text and as ``summary.json``."""

import logging
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from scripts.atomic import write_json
from scripts.ct.series import Skipped
from scripts.errors import SeriesError
from scripts.inference.output_paths import Kind
from scripts.inference.own_results import NAME, read_results
from scripts.inference.sharing import Sharing

_log = logging.getLogger(__name__)
_NAMED = 5


class Report:
    """Collects the outcome of each series; results that the summary does not list were made by a killed run.

    Args:
        skipped: what is no series.
        out: the folder of the results.
    """

    def __init__(self, skipped: Sequence[Skipped], out: Path) -> None:
        self._out, self._listed = out, read_results(out)
        self.denoised = self.already_there = 0
        self.skipped = skipped
        self.refused = [_as_entry(item) for item in skipped if item.refused and not item.damaged]
        self._given = len(self.refused)
        self.warnings: list[dict[str, str]] = []
        self.strengths: list[dict[str, Any]] = []

    def remark(self, name: Mapping[str, str], remarks: Mapping[str, Any]) -> None:
        """Add the warnings and the chosen strength of a series."""
        self.warnings += [{**name, "warning": str(warning)} for warning in remarks.get("warnings", ())]
        if "strength" in remarks:
            self.strengths.append({**name, **remarks["strength"]})

    def count(self, paths: Mapping[Kind, Path]) -> None:
        """Count a series whose results all exist: as denoised if a killed run made one of them."""
        if all(path.relative_to(self._out).as_posix() in self._listed for path in paths.values()):
            self.already_there += 1
        else:
            self.denoised += 1

    def collect(self, sharing: Sharing) -> None:
        """Add the outcomes of the series that other processes denoised, and log their warnings."""
        given, refused = self.refused[: self._given], self.refused[self._given :]
        every = sharing.from_all((self.denoised, self.already_there, refused, self.warnings, self.strengths))
        if len(every) == 1:
            return
        for _denoised, _there, refused, warnings, _strengths in every[1:]:  # logged by processes without a terminal
            for text in (*(f"{item['path']}: {item['warning']}" for item in warnings), *(i["reason"] for i in refused)):
                _log.warning("%s", text)
        counts, lists = zip(*(one[:2] for one in every), strict=True), zip(*(one[2:] for one in every), strict=True)
        self.denoised, self.already_there = map(sum, counts)
        refused, self.warnings, self.strengths = (sorted(chain(*parts), key=_path) for parts in lists)
        self.refused = [*given, *refused]

    def write(self, results: Mapping[str, Any], finished: Callable[[str], object] | None) -> None:
        """Write ``summary.json``; if nothing was refused, call ``finished`` with the sentence before."""
        if finished is not None and not self.problems():
            finished(self.sentence())
        write_json(self._out / NAME, {**self.summary(), "results": results})

    def outcome(self) -> str:
        """Return the report as one line.

        Raises:
            SeriesError: series were refused or files are damaged.
        """
        if problems := self.problems():
            raise SeriesError(f"{self.sentence()}; see summary.json: {'; '.join(problems)}")
        return self.sentence()

    def refuse(self, name: Mapping[str, str], reason: str) -> None:
        """Add a series that was refused, and log why."""
        _log.warning("%s", reason)
        self.refused.append({**name, "reason": reason})

    def summary(self) -> dict[str, Any]:
        """Return the full report as JSON data."""
        return {
            "denoised": self.denoised,
            "already_there": self.already_there,
            "refused": self.refused,
            "warnings": self.warnings,
            **({"strengths": self.strengths} if self.strengths else {}),
            "damaged": [_as_entry(item) for item in self.skipped if item.damaged],
            "skipped": [_as_entry(item) for item in self.skipped if not (item.damaged or item.refused)],
        }

    def problems(self) -> list[str]:
        """Return what was refused and damaged, as text."""
        return [*_named("refused", self.refused), *_named("damaged", self.summary()["damaged"])]

    def sentence(self) -> str:
        """Return the report as one line."""
        return (
            f"{self.denoised} denoised, {self.already_there} already done, {len(self.refused)} refused, "
            f"{len(self.summary()['skipped'])} skipped; -> {self._out}"
        )


def _path(item: Mapping[str, Any]) -> Path:
    return Path(item["path"])


def _as_entry(item: Skipped) -> dict[str, str]:
    return {"path": str(item.path), "reason": item.reason}


def _named(what: str, entries: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the first few entries as text for one line."""
    if not entries:
        return []
    paths = ", ".join(entry["path"] for entry in entries[:_NAMED])
    more = f" and {len(entries) - _NAMED} more" if len(entries) > _NAMED else ""
    return [f"{what} {paths}{more}"]
