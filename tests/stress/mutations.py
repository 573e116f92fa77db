"""Read thousands of randomly damaged DICOM files, then denoise a batch that contains bad studies.

    python tests/stress/mutations.py --mutations 5000 --studies 1000

Each damaged file is indexed and denoised in a forked process with limited memory. It must be read or refused, without
any other exception, decoder crash, hang, or excessive memory use.
After that a folder of many studies is denoised, of which one in fifty is bad: all others must be denoised, and the bad
ones reported.
Finally, a folder with as many files as in a large archive is indexed.
"""

import argparse
import json
import logging
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pydicom
from damaged_dicom import Victim, damaged, victims
from numpy.typing import NDArray
from phantom_series import stored_body, write_series

from ctcycle.ct.dicom import Derivation
from ctcycle.ct.hounsfield import MuScale
from ctcycle.data.scan import scan_sources
from ctcycle.data.scan_summary import summary
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.errors import CtcycleError
from ctcycle.inference.folders import DenoiseOptions, denoise_folder

SECONDS = 10.0
"""A file of a few kilobytes that takes longer counts as a hang."""

MEGABYTES = 1024
"""Memory that reading such a file may use, in addition to that of the process."""

DERIVATION = Derivation("1.0.0", "none", "0" * 64)
BATCH = 250


class NoDenoiser:
    """A stand-in for a denoiser that changes nothing."""

    mu = MuScale(0.02)
    strength = 1.0

    def options(self) -> dict[str, float]:
        """Return what determines the result."""
        return {"strength": self.strength}

    def correction(self, hu: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return no correction: (H, W) zeros."""
        return np.zeros_like(hu)


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise HangError in this context after ``seconds``."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise HangError(f"more than {seconds} s")

    earlier = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, earlier)


class HangError(BaseException):
    """A BaseException, so that code that catches all decoder exceptions does not catch it."""


def examine(content: bytes, folder: Path) -> str:
    """Index and denoise a folder with one file of these bytes; return whether it was "read" or "refused".

    Raises:
        AssertionError: unexpected files were left behind.
    """
    source, out = folder / "in", folder / "out"
    source.mkdir(parents=True, exist_ok=True)
    (source / "x.dcm").write_bytes(content)
    with time_limit(SECONDS):
        try:
            summary(scan_sources([Source(source)], folder / "manifest.csv", SplitSettings()))
        except CtcycleError as error:
            assert error.exit_code == 3, error  # noqa: PT017 (no test of pytest's)
        try:
            denoise_folder(source, out, NoDenoiser(), DERIVATION, DenoiseOptions(overwrite=True))  # type: ignore[arg-type]
            outcome = "read"
        except CtcycleError as error:
            assert error.exit_code == 3, error  # noqa: PT017
            outcome = "refused"
    written = {path.name for path in out.rglob("*")} if out.exists() else set()
    assert not any(name.startswith(".") and name != ".ctcycle" for name in written), written
    assert (outcome == "read") == any(name.endswith(".dcm") for name in written), written
    shutil.rmtree(out, ignore_errors=True)
    return outcome


def _limit_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEGABYTES * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _examine_all(known: list[Victim], numbers: range, folder: Path) -> Counter[str]:
    """Count the outcomes of these files; each failure is an entry of its own, with its traceback."""
    found: Counter[str] = Counter()
    for number in numbers:
        file = damaged(known, number)
        (folder / "now").write_text(file.name)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                found[examine(file.content, folder)] += 1
        except BaseException:  # noqa: BLE001 (any exception is a finding)
            found[f"FAILED {file.name}\n{traceback.format_exc()}"] += 1
    return found


def fuzz(mutations: int, first: int = 0) -> Counter[str]:
    """Examine ``mutations`` damaged files in forks, print the failures, and return the counts of all outcomes."""
    total: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        known = victims(Path(folder) / "good")
        examine(known[0].content, Path(folder))  # imports everything that the forks need
        for start in range(first, first + mutations, BATCH):
            numbers = range(start, min(start + BATCH, first + mutations))
            log, child = Path(folder) / f"log{start}", os.fork()
            if child == 0:
                logging.disable()
                _limit_memory()
                found = _examine_all(known, numbers, Path(folder))
                failures = [name for name in found if name.startswith("FAILED")]
                log.write_text("\0".join([f"{found['read']} {found['refused']}", *failures]))
                os._exit(0)
            _, status, usage = os.wait4(child, 0)
            if status:
                now = (Path(folder) / "now").read_text()
                total["failed"] += 1
                print(f"ended with {os.waitstatus_to_exitcode(status)} at {now}", flush=True)
                continue
            counts, *failures = log.read_text().split("\0")
            total.update(dict(zip(("read", "refused"), map(int, counts.split()), strict=True)))
            total["failed"] += len(failures)
            total["kilobytes"] = max(total["kilobytes"], usage.ru_maxrss)
            print("".join(f"{failure}\n" for failure in failures), end="", flush=True)
    return total


def batch(studies: int, folder: Path) -> str:
    """Denoise ``studies`` studies, of which one in fifty is bad, and return the summary that is printed.

    Raises:
        AssertionError: a good study is missing, or a bad one is not reported.
    """
    bad = {f"study{number:04d}" for number in range(7, studies, 50)}
    for number in range(studies):
        name = f"study{number:04d}"
        files = write_series(folder / "in" / name, stored_body(2), series=f"1.2.826.0.1.{number + 1}")
        if name in bad:
            _spoil(files, number // 50)
    said = "nothing was refused"
    try:
        denoise_folder(folder / "in", folder / "out", NoDenoiser(), DERIVATION, DenoiseOptions())  # type: ignore[arg-type]
    except CtcycleError as error:
        assert error.exit_code == 3, error  # noqa: PT017
        said = str(error).partition(";")[0]
    found = json.loads((folder / "out" / "summary.json").read_text())
    named = {part for entry in found["refused"] + found["damaged"] for part in Path(entry["path"]).parts}
    written = {path.parent.name for path in (folder / "out").rglob("*.dcm")}
    assert written == {path.name for path in (folder / "in").iterdir()} - bad, sorted(written & bad)
    assert all(len(list((folder / "out" / name).iterdir())) == 2 for name in written)
    assert bad <= named, bad - named
    assert found["denoised"] == studies - len(bad)
    return said


def _spoil(files: list[Path], way: int) -> None:
    """Damage a study of two slices, in one of four ways."""
    content = files[0].read_bytes()
    if way % 4 == 0:
        files[0].write_bytes(content[: len(content) // 2])
    elif way % 4 == 1:
        files[0].write_bytes(content[:400])
    elif way % 4 == 2:
        files[0].write_bytes(b"")
    else:
        other = pydicom.dcmread(files[1])
        other.PixelSpacing = [2.0, 2.0]  # unlike the first slice
        other.save_as(files[1])


def large_folder(files: int, folder: Path) -> tuple[float, int]:
    """Index a folder of ``files`` slices; return the seconds it took and the peak memory in megabytes."""
    slices = write_series(folder / "in", np.repeat(stored_body(1), files, axis=0))
    assert len(slices) == files
    started = time.monotonic()
    (row,) = scan_sources([Source(folder / "in")], folder / "manifest.csv", SplitSettings()).manifest.rows
    assert row.slices == files
    return time.monotonic() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(arguments: list[str]) -> int:
    """Run the stress test from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=5000, help="number of damaged files (default: 5000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first damaged file (default: 0)")
    parser.add_argument("--studies", type=int, default=1000, help="number of studies in the batch (default: 1000)")
    parser.add_argument("--files", type=int, default=10_000, help="slices in the large folder (default: 10000)")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    found = fuzz(given.mutations, given.first)
    print(
        f"{given.mutations} damaged files in {time.monotonic() - started:.0f} s: {found['read']} read, "
        f"{found['refused']} refused, {found['failed']} failed; at most {found['kilobytes'] // 1024} MB"
    )
    logging.disable()
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        print(f"{given.studies} studies: {batch(given.studies, Path(folder))}; {time.monotonic() - started:.0f} s")
    with tempfile.TemporaryDirectory() as folder:
        seconds, megabytes = large_folder(given.files, Path(folder))
        print(f"a folder of {given.files} slices: indexed in {seconds:.1f} s; at most {megabytes} MB")
    return 1 if found["failed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
