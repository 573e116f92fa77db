"""The task `view`: pages to scroll through series before and after denoising."""

from collections.abc import Iterator, Sequence

from tqdm import tqdm

from ctcycle.atomic import write_text
from ctcycle.config.tasks.pages import View
from ctcycle.tasks.job import Job
from ctcycle.viewer.matching import match_series
from ctcycle.viewer.page import PageLimits, series_page


def run(config: View, job: Job) -> str:
    """Write a page for each series, and return their paths.

    Raises:
        SeriesError: no series has a result, or one cannot be read.
        OutputError: a page cannot be written.
    """
    matches, missing = match_series(config.input, config.denoised, config.slice_axis)
    limits = PageLimits(config.most_slices, config.most_mb, config.assume_hu)
    lines = []
    for number, match in enumerate(matches[: config.most_series], 1):
        path = job.folder.path / f"series{number:02d}.html"
        write_text(path, series_page(match, number, limits, _bar))
        lines.append(f"-> {path} ({match.before.path}, {path.stat().st_size / 1e6:.1f} MB)")
    left = len(matches) - len(lines)
    more = [f"{left} more series have no page; set most_series={len(matches)}"] if left else []
    without = [f"{missing} series of the input have no result in {config.denoised}"] if missing else []
    return "\n".join([*without, *more, *lines, "open a page in a browser; it needs no network and holds no names"])


def _bar(numbers: Sequence[int]) -> Iterator[int]:
    yield from tqdm(numbers, desc="packing", unit="slice", dynamic_ncols=True)
