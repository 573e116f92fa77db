"""The folder of all objects on their way: what is acknowledged is on disk, and nothing else is ever written.

::

    incoming/<series>/<instance>.dcm   received; the series is not complete yet
    incoming/<series>/caller.txt       AE title of the first sender
    jobs/<number>/source/              instances of one series, taken together
    jobs/<number>/denoised/            what is made of them
    new/                               files that are being written

Names are hashes of UIDs, never texts of headers. A series is taken by renaming its folder, so late instances start a
new folder.
"""

import hashlib
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from uuid import uuid4

from ctcycle.errors import OutputError

_NAME_DIGITS = 32
_CALLER = "caller.txt"


def hashed_name(*uids: str) -> str:
    """Return a file name of 32 hexadecimal digits for UIDs."""
    return hashlib.sha256("\0".join(uids).encode(errors="surrogatepass")).hexdigest()[:_NAME_DIGITS]


def make_root(out: Path) -> None:
    """Create the folder of a spool for its owner only; it holds patient data.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OutputError(f"{out}: cannot create ({error.strerror}); choose another `out`") from error


@dataclass(frozen=True)
class Stored:
    """An object that is on disk.

    Attributes:
        series: name of its series.
        instance: name of the object.
        count: number of instances of the series that wait to be taken.
        new: whether the object was not there before.
    """

    series: str
    instance: str
    count: int
    new: bool


@dataclass
class Spool:
    """The objects on disk; its methods may be called from any thread.

    Attributes:
        root: the folder of the node.
    """

    root: Path
    _lock: Lock = field(default_factory=Lock, repr=False)
    _bytes: int = 0
    _counts: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self.incoming, self.jobs, self._new = (self.root / name for name in ("incoming", "jobs", "new"))

    def open(self) -> None:
        """Create the folders, and remove what a killed process left half-written.

        Raises:
            OutputError: the folder cannot be written.
        """
        make_root(self.root)
        try:
            shutil.rmtree(self._new, ignore_errors=True)
            for folder in (self.incoming, self.jobs, self._new):
                folder.mkdir(parents=True, exist_ok=True)
            sync_folder(self.root)
            self._bytes = sum(file.stat().st_size for file in self.root.rglob("*.dcm"))
            self._counts = {path.name: sum(1 for _ in path.glob("*.dcm")) for path in self.incoming.iterdir()}
        except OSError as error:
            raise OutputError(f"{self.root}: cannot write ({error.strerror}); choose another `out`") from error

    @property
    def size_bytes(self) -> int:
        """The total size of the objects."""
        return self._bytes

    def free_bytes(self) -> int:
        """Return the free space on the disk of the spool."""
        return shutil.disk_usage(self.root).free

    def store(self, series: str, instance: str, content: bytes, caller: str) -> Stored:
        """Write a received object; when this returns, it is on disk.

        An instance that is already waiting is replaced: a sender repeats it if it did not get our answer.

        Args:
            series: from `hashed_name`.
            instance: likewise.
            content: a DICOM file.
            caller: AE title of the sender.

        Raises:
            OSError: it cannot be written; nothing is left behind.
        """
        temporary = self._new / uuid4().hex
        try:
            with temporary.open("xb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            return self._put(temporary, series, instance, caller)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)

    def _put(self, temporary: Path, series: str, instance: str, caller: str) -> Stored:
        folder = self.incoming / series
        path = folder / f"{instance}.dcm"
        size = temporary.stat().st_size
        with self._lock:
            first = not folder.exists()
            if first:
                self._begin(folder, caller)
            before = path.stat().st_size if path.exists() else None
            descriptor = os.open(folder, os.O_RDONLY)  # stays valid if the series is taken meanwhile
            temporary.rename(path)
            self._bytes += size - (before or 0)
            self._counts[series] = self._counts.get(series, 0) + (before is None)
            count = self._counts[series]
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return Stored(series, instance, count, before is None)

    def _begin(self, folder: Path, caller: str) -> None:
        """Create the folder of a series with a note of its sender, under its name only when the note is on disk."""
        new = self._new / uuid4().hex
        new.mkdir()
        with (new / _CALLER).open("x", encoding="utf-8") as stream:
            stream.write(caller)
            stream.flush()
            os.fsync(stream.fileno())
        sync_folder(new)
        new.rename(folder)
        sync_folder(self.incoming)

    def waiting(self) -> dict[str, int]:
        """Return the number of instances of each series that waits to be taken, by its name."""
        with self._lock:
            return dict(self._counts)

    def caller(self, series: str) -> str:
        """Return the AE title of the first sender of a waiting series; empty if unknown."""
        try:
            return (self.incoming / series / _CALLER).read_text(encoding="utf-8")
        except OSError:
            return ""

    def take(self, series: str, job: int) -> bool:
        """Move a waiting series to a job; return whether there was one.

        It is safe to repeat after a crash.

        Raises:
            OSError: it cannot be moved.
        """
        folder = self.job(job)
        folder.mkdir(exist_ok=True)
        with self._lock:
            if not (folder / "source").exists():
                self._counts.pop(series, None)
                with suppress(FileNotFoundError):
                    (self.incoming / series).rename(folder / "source")
        for parent in (self.incoming, folder, self.jobs):
            sync_folder(parent)
        return (folder / "source").exists()

    def job(self, number: int) -> Path:
        """Return the folder of a job."""
        return self.jobs / f"{number:08d}"

    def sources(self, number: int) -> list[Path]:
        """Return the received files of a job."""
        return sorted((self.job(number) / "source").glob("*.dcm"))

    def instances(self) -> set[str]:
        """Return the names of all received objects that are on disk, waiting or in a job."""
        found = (*self.incoming.glob("*/*.dcm"), *self.jobs.glob("*/source/*.dcm"))
        return {path.stem for path in found}

    def remove(self, number: int) -> None:
        """Remove the files of a job, all or, after a crash, the rest of them."""
        folder = self.job(number)
        size = sum(file.stat().st_size for file in folder.rglob("*.dcm"))
        shutil.rmtree(folder, ignore_errors=True)
        with self._lock:
            self._bytes -= size

    def grown(self, size: int) -> None:
        """Count bytes that were written to a job."""
        with self._lock:
            self._bytes += size


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
