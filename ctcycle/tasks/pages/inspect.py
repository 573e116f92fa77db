"""The task `inspect`, the data doctor: looks at folders of CT before training, and proposes how to train on them."""

import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from tqdm import tqdm

from ctcycle.atomic import remove, write_text
from ctcycle.config.tasks.pages import Inspect
from ctcycle.data.manifest import ManifestRow
from ctcycle.inference.denoiser import resolve_device
from ctcycle.inspection.doses import measured_doses
from ctcycle.inspection.findings import findings
from ctcycle.inspection.gathering import Limits, gather
from ctcycle.inspection.proposals.configs import SCAN, SIMULATE, TRAIN, config_files
from ctcycle.inspection.proposals.proposal import propose
from ctcycle.inspection.shown.page import page
from ctcycle.inspection.shown.summary import summary
from ctcycle.inspection.shown.tables import series_csv
from ctcycle.tasks.job import Job


def run(config: Inspect, job: Job) -> str:
    """Inspect the sources, write the page and the proposed configs, and return a summary.

    Raises:
        OutputError: nothing can be written.
        CtcycleError: as for `ctcycle.inspection.gathering.gather`.
    """
    out, gpu = job.folder.path, resolve_device(config.device).type == "cuda"
    limits, salt = Limits(config.slices, config.most_slices), os.environ.get("CTCYCLE_SALT", "")
    bars = _Bars()
    facts = gather(config.sources, out, limits, salt=salt, found=bars.found, progress=bars.reading)
    measured = measured_doses(facts.series)
    found, proposal = findings(facts, measured), propose(facts, gpu=gpu)
    configs = config_files(proposal, out, gpu=gpu)
    for name, text in configs.items():
        write_text(out / name, text)
    _remove_former(job, {SCAN, SIMULATE, TRAIN} - configs.keys())
    write_text(out / "series.csv", series_csv(facts, measured))
    path = out / "inspect.html"
    write_text(path, page(facts, measured, found, proposal, list(configs)))
    files = "\n".join(f"-> {out / name}" for name in (*configs, "series.csv", "inspect.html"))
    return f"{summary(facts, measured, found, proposal)}\n\n{files}"


def _remove_former(job: Job, names: Collection[str]) -> None:
    """Remove configs that an earlier inspection proposed and this one does not.

    Raises:
        OutputError: one was changed, or ctcycle did not write it.
    """
    for path in (job.folder.path / name for name in names):
        if path.exists():
            job.folder.written.claim(path)
            remove(path)


class _Bars:
    """Progress bars: one while files are found, then one for each pass over the series."""

    def __init__(self) -> None:
        self._files: tqdm | None = None

    def found(self, _path: Path) -> None:
        """Count a file."""
        if self._files is None:
            self._files = tqdm(desc="finding", unit="file", dynamic_ncols=True)
        self._files.update()

    def reading(self, items: Sequence[ManifestRow], what: str, /) -> Iterator[ManifestRow]:
        """Yield the items, with a bar."""
        if self._files is not None:
            self._files.close()
        yield from tqdm(items, desc=what, unit="series", dynamic_ncols=True)
