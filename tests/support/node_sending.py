"""Send phantom series to the node, and compare what the archive then holds with what was sent."""

import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from node_peers import STORESCU, NodeProcess, Orthanc, make_series
from pydicom import dcmread

from ctcycle.node.spool import hashed_name

_SENT = re.compile(r"I: Sending file: (.+)")
_ANSWER = re.compile(r"I: Received Store Response \((.+)\)")


@dataclass
class Sent:
    """What senders sent, and which instances the node has acknowledged."""

    acknowledged: set[str] = field(default_factory=set)
    attempts: int = 0
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def once(self, port: int, files: Sequence[Path]) -> bool:
        """Send a series once with storescu; return whether all of it was acknowledged."""
        command = [str(STORESCU), "-v", "-to", "20", "-aet", "SCANNER", "-aec", "CTCYCLE", "127.0.0.1", str(port)]
        done = subprocess.run([*command, *map(str, files)], capture_output=True, text=True, check=False)
        name, acknowledged, refused = "", [], 0
        for line in (done.stdout + done.stderr).splitlines():
            if found := _SENT.search(line):
                name = found[1]
            elif found := _ANSWER.search(line):
                if found[1] == "Success":
                    acknowledged.append(str(dcmread(name, specific_tags=["SOPInstanceUID"]).SOPInstanceUID))
                else:
                    refused += 1
        with self.lock:
            self.attempts += 1
            self.refused += refused
            self.acknowledged |= set(acknowledged)
        return len(acknowledged) == len(files)

    def until_taken(self, port: int, files: Sequence[Path], stop: threading.Event) -> None:
        """Send a series again and again, as a scanner does, until all of it is acknowledged."""
        while not stop.is_set() and not self.once(port, files):
            time.sleep(0.3)


@dataclass
class Found:
    """What the archive holds, compared to what was sent."""

    series: int
    lost: int
    double: int

    def __str__(self) -> str:
        return f"series={self.series} lost={self.lost} double={self.double}"


def compare(archive: Orthanc, sent: Sequence[Sequence[Path]]) -> Found:
    """Compare by the source images that the denoised ones name."""
    wanted = {str(dcmread(file, stop_before_pixels=True).SOPInstanceUID) for files in sent for file in files}
    groups = list(archive.denoised().values())
    got = [uid for group in groups for uid in group]
    whole = {tuple(sorted(str(dcmread(f, stop_before_pixels=True).SOPInstanceUID) for f in files)) for files in sent}
    exactly_once = sum(tuple(group) in whole for group in groups)
    return Found(exactly_once, len(wanted - set(got)), len(got) - len(set(got)))


def missing_on_disk(node: NodeProcess, archive: Orthanc, acknowledged: set[str]) -> set[str]:
    """What was acknowledged, and is neither in the spool nor, denoised, in the archive."""
    there = {path.stem for path in node.spool.rglob("*.dcm")}
    absent = {uid for uid in acknowledged if hashed_name(uid) not in there}
    return absent - {uid for group in archive.denoised().values() for uid in group} if absent else set()


def settled(node: NodeProcess) -> bool:
    """Whether everything that the node has received was denoised and sent; a series may have taken several jobs."""
    return not any((node.spool / "incoming").iterdir()) and set(node.jobs()) == {"done"}


def series_of(folder: Path, count: int, slices: int = 3, size: int = 32) -> list[list[Path]]:
    return [make_series(folder / f"{number:04d}", number, slices, size=size) for number in range(count)]


@contextmanager
def place(folder: Path | None = None) -> Iterator[Path]:
    """A new folder, in memory where there is one: the disk is not what is measured."""
    root = folder or (Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None)  # noqa: S108
    made = Path(tempfile.mkdtemp(prefix="node-", dir=root))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
