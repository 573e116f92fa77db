"""Real peers of the node on 127.0.0.1, and the node itself as a process: Orthanc, dcmtk, `ctcycle serve`."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

import numpy as np
import pytest
from nursery import Forked, nursery
from phantom_series import change, save, slice_dataset, stored_body

ROOT = Path(__file__).parents[2]
_PATH = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin"  # not that of a virtual environment with pynetdicom's own
ORTHANC = shutil.which("Orthanc", path=_PATH)
STORESCU, ECHOSCU = shutil.which("storescu", path=_PATH), shutil.which("echoscu", path=_PATH)
PLUGINS = Path("/usr/share/orthanc/plugins")
NEEDS_PEERS = [
    pytest.mark.skipif(
        not (ORTHANC and STORESCU and (PLUGINS / "libOrthancDicomWeb.so").exists())
        and not os.environ.get("CTCYCLE_REQUIRE_PEERS"),
        reason="needs Debian's orthanc, orthanc-dicomweb and dcmtk",
    ),
    pytest.mark.slow,
    # pynetdicom leaves the socket of a peer that hangs to the garbage collector
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
"""Marks of tests with real peers."""

_open = build_opener(ProxyHandler({})).open


def free_port() -> int:
    """Return a TCP port that was free a moment ago."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(what: Callable[[], Any], seconds: float = 30.0, pause: float = 0.05) -> Any:
    """Return the first true value; fail after some time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := what():
            return found
        time.sleep(pause)
    raise AssertionError(f"did not happen within {seconds} s")


def listens(port: int) -> bool:
    """Whether something listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@dataclass
class Orthanc:
    """An archive with a data base in a folder; `start` and `stop` it as often as you like."""

    folder: Path
    modalities: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    web: bool = False
    extra: Mapping[str, Any] = field(default_factory=dict)
    process: "subprocess.Popen[bytes] | None" = None

    def __post_init__(self) -> None:
        self.port, self.http = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.http}"

    def start(self) -> "Orthanc":
        self.folder.mkdir(parents=True, exist_ok=True)
        config = {
            "Name": "archive",
            "StorageDirectory": str(self.folder / "storage"),
            "IndexDirectory": str(self.folder / "index"),
            "HttpPort": self.http,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "DicomCheckCalledAet": True,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomModalities": dict(self.modalities),
            "Plugins": [str(PLUGINS / "libOrthancDicomWeb.so")] if self.web else [],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "Servers": {}},
            "StorageCommitmentReportsSize": 100,
            **self.extra,
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(config))
        with (self.folder / "orthanc.log").open("ab") as log:
            self.process = subprocess.Popen([str(ORTHANC), str(path)], stdout=log, stderr=log)
        wait_for(lambda: listens(self.http) and listens(self.port), 120)
        return self

    def stop(self, *, hard: bool = False) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL if hard else signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def get(self, path: str) -> Any:
        with _open(f"{self.url}{path}", timeout=30) as answer:
            return json.loads(answer.read())

    def content(self, path: str) -> bytes:
        with _open(f"{self.url}{path}", timeout=30) as answer:
            return bytes(answer.read())

    def post(self, path: str, value: Any) -> Any:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        with _open(Request(f"{self.url}{path}", data=data), timeout=120) as answer:  # noqa: S310 (127.0.0.1)
            return json.loads(answer.read() or b"null")

    def denoised(self) -> dict[str, list[str]]:
        """The SOPInstanceUIDs of the source images, as the denoised ones name them, by their series."""
        found: dict[str, list[str]] = {}
        for series in self.get("/series?expand"):
            if "ctcycle denoised" not in series["MainDicomTags"].get("SeriesDescription", ""):
                continue
            tags = self.get(f"/series/{series['ID']}/instances-tags?simplify")
            sources = [item["SourceImageSequence"][0]["ReferencedSOPInstanceUID"] for item in tags.values()]
            found[series["MainDicomTags"]["SeriesInstanceUID"]] = sorted(sources)
        return found


@dataclass
class NodeProcess:
    """`ctcycle serve` as a process."""

    folder: Path
    config: dict[str, Any]
    process: Forked | None = None

    @property
    def port(self) -> int:
        return int(self.config["port"])

    @property
    def spool(self) -> Path:
        return Path(self.config["out"])

    def arguments(self, *more: str) -> list[str]:
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "node.yaml"
        path.write_text(json.dumps(self.config))
        return ["serve", "--config", str(path), *more]

    def start(self) -> "NodeProcess":
        log = self.folder / "node.err"
        process = self.process = nursery(ROOT).start(self.arguments(), self.folder, log)
        try:
            wait_for(lambda: process.poll() is not None or listens(self.port), 300)
            alive = process.poll() is None
        except AssertionError:
            process.send_signal(signal.SIGABRT)  # its threads say where they are
            process.wait()
            alive = False
        assert alive, log.read_text()[-6000:]
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(60)
        self.process = None
        return code

    def check(self) -> tuple[int, str]:
        """The exit code of ``serve --check`` and what it prints."""
        log = self.folder / "check.txt"
        code = nursery(ROOT).start(self.arguments("--check"), self.folder, log).wait()
        return code, log.read_text()

    def jobs(self) -> dict[str, int]:
        """The number of jobs by state, as the queue says."""
        import sqlite3

        with sqlite3.connect(self.spool / "queue.db", timeout=30) as connection:
            return dict(connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())

    def rows(self, query: str) -> list[Any]:
        import sqlite3

        with sqlite3.connect(self.spool / "queue.db", timeout=30) as connection:
            return connection.execute(query).fetchall()

    def log(self) -> str:
        return (self.spool / "log.txt").read_text()


def node_config(folder: Path, archive_port: int, **more: Any) -> dict[str, Any]:
    """A config with short times; strength 0 of the shipped bundle needs no computing."""
    config: dict[str, Any] = {
        "task": "serve",
        "out": str(folder / "spool"),
        "port": free_port(),
        "callers": {"*": {"addresses": ["127.0.0.1"]}},
        "completion": {"quiet_seconds": 0.6},
        "limits": {"free_mb": 10},
        "rules": [{"strength": 0.0}],
        "destinations": {
            "archive": {"ae_title": "ORTHANC", "host": "127.0.0.1", "port": archive_port, "retry_seconds": 0.2,
                        "retry_max_seconds": 1.0, "timeout_seconds": 10.0}
        },
        "status": {"port": None},
        "device": "cpu",
    }  # fmt: skip
    return {**config, **more}


def make_series(
    folder: Path, number: int, slices: int = 3, changes: Mapping[str, Any] | None = None, size: int = 32
) -> list[Path]:
    """Write a phantom series whose UIDs and pixels depend on a number."""
    uid = f"1.2.826.0.1.3680043.9.{number + 1}"
    stored = stored_body(slices, size=size)
    stored = np.roll(stored, number % 7, axis=2)
    files = []
    for index, pixels in enumerate(stored, 1):
        dataset = slice_dataset(pixels, uid, index)
        dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.8.{number // 5 + 1}"
        change(dataset, changes or {})
        files.append(save(dataset, folder / f"{index:04d}.dcm"))
    return files


def storescu(port: int, *files: Path, more: Sequence[str] = ()) -> int:
    """Send files with dcmtk; return its exit code."""
    command = [str(STORESCU), *more, "-aet", "SCANNER", "-aec", "CTCYCLE", "127.0.0.1", str(port), *map(str, files)]
    return subprocess.run(command, capture_output=True, check=False, timeout=300).returncode


@contextmanager
def running(*parts: Any) -> Iterator[None]:
    """Start peers in order, and end them whatever happens."""
    try:
        for part in parts:
            part.start()
        yield
    finally:
        for part in reversed(parts):
            if part.process is not None:
                part.process.kill()
                part.process.wait()
                part.process = None
