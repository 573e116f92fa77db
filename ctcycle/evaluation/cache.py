"""Cache of evaluation results by content: what made them is their name, so they are never taken for another's.

A key is a hash of the method (weights, strength, files), the input pixels, the options, and the source code that
computes. A file that is damaged or was written by another version counts as missing.
"""

import hashlib
import io
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ctcycle.atomic import remove_leftovers, write_file, write_text
from ctcycle.evaluation.findings import Curve, Finding, Picture, StudyResult
from ctcycle.evaluation.results import SliceRecord

_log = logging.getLogger(__name__)
_PACKAGE = Path(__file__).parent.parent
_COMPUTES = ("ct", "data", "evaluation", "inference", "metrics", "networks", "simulation")
"""Packages whose code affects results."""

_SHOWS = ("evaluation/page", "evaluation/verdict")
"""Packages in them that only show results."""

_LIBRARIES = ("numpy", "scipy", "scikit-image", "torch", "monai", "bm3d")
Json = Any


@cache
def code_digest() -> str:
    """Return a hash of the source code and of the versions of the libraries that compute results."""
    found = hashlib.sha256()
    for package in _COMPUTES:
        for file in sorted((_PACKAGE / package).rglob("*.py")):
            if file.relative_to(_PACKAGE).as_posix().startswith(_SHOWS):
                continue
            found.update(f"{file.relative_to(_PACKAGE)}\0".encode() + file.read_bytes())
    for name in _LIBRARIES:
        found.update(f"{name} {_version(name)}\0".encode())
    return found.hexdigest()


class ResultCache:
    """Reads and writes results in a folder; several processes may use it, and it can be deleted at any time.

    What killed processes had begun to write is removed.

    Args:
        folder: the folder; created when needed. None keeps nothing.

    Raises:
        OutputError: a file that a killed process left cannot be removed.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        if folder is not None:
            remove_leftovers(folder)

    def read_json(self, key: str) -> Json | None:
        """Return the plain data stored under a key; None if it is missing or damaged."""
        if self._folder is None:
            return None
        path = self._folder / f"{key}.json"
        try:
            entry = json.loads(path.read_bytes())
            if entry["key"] == key and entry["digest"] == _digest(_text(entry["content"]).encode()):
                return entry["content"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass
        _log.warning("%s: damaged; the result is computed again", path.name)
        return None

    def write_json(self, key: str, content: Json) -> None:
        """Store plain data, which may hold NaN and infinity.

        Raises:
            OutputError: the file cannot be written.
        """
        if self._folder is not None:
            entry = {"key": key, "digest": _digest(_text(content).encode()), "content": content}
            write_text(self._folder / f"{key}.json", _text(entry))

    def read_records(self, key: str) -> tuple[SliceRecord, ...] | None:
        """Return the records stored under a key; None if they are missing or damaged."""
        content = self.read_json(key)
        try:
            return None if content is None else tuple(SliceRecord(**line) for line in content)
        except TypeError:
            return None

    def write_records(self, key: str, records: Sequence[SliceRecord]) -> None:
        """Store records.

        Raises:
            OutputError: the file cannot be written.
        """
        self.write_json(key, [asdict(record) for record in records])

    def read_study(self, key: str) -> StudyResult | None:
        """Return the result of a study stored under a key; None if a part of it is missing or damaged."""
        content = self.read_json(key)
        if content is None:
            return None
        try:
            images = self._read_images(key, content["images"])
            return StudyResult(
                tuple(Finding(**line) for line in content["findings"]),
                tuple(Curve(**{**line, "x": tuple(line["x"]), "y": tuple(line["y"])}) for line in content["curves"]),
                tuple(_picture(line, images, number) for number, line in enumerate(content["pictures"])),
                tuple(content["notes"]),
            )
        except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
            _log.warning("%s.npz: damaged (%s); the result is computed again", key, type(error).__name__)
            return None

    def write_study(self, key: str, result: StudyResult) -> None:
        """Store the result of a study: JSON, with its pictures in an npz file.

        Raises:
            OutputError: a file cannot be written.
        """
        if self._folder is None:
            return
        images = {f"{n}.{m}": a for n, p in enumerate(result.pictures) for m, a in enumerate(p.images.values())}
        digest = self._write_images(key, images) if images else ""
        content = {
            "findings": [asdict(finding) for finding in result.findings],
            "curves": [asdict(curve) for curve in result.curves],
            "pictures": [_described(picture) for picture in result.pictures],
            "notes": list(result.notes),
            "images": digest,
        }
        self.write_json(key, content)

    def read_image(self, key: str) -> NDArray[np.float32] | None:
        """Return the image (H, W) stored under a key; None if it is missing or damaged."""
        content = self.read_json(key)
        try:
            return None if content is None else self._read_images(key, content["image"])["image"]
        except (OSError, ValueError, KeyError, TypeError, EOFError):
            return None

    def write_image(self, key: str, image: NDArray[np.float32]) -> None:
        """Store an image (H, W).

        Raises:
            OutputError: a file cannot be written.
        """
        if self._folder is not None:
            self.write_json(key, {"image": self._write_images(key, {"image": image})})

    def _write_images(self, key: str, images: Mapping[str, Any]) -> str:
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, **images)
        content = stream.getvalue()
        write_file(self._path(key), lambda file: file.write(content))
        return _digest(content)

    def _read_images(self, key: str, digest: str) -> dict[str, Any]:
        if not digest:
            return {}
        content = self._path(key).read_bytes()
        if _digest(content) != digest:
            raise ValueError("the pictures are damaged")
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            return dict(archive)

    def _path(self, key: str) -> Path:
        if self._folder is None:
            raise FileNotFoundError(key)
        return self._folder / f"{key}.npz"


def _described(picture: Picture) -> dict[str, Json]:
    return {
        "method": picture.method,
        "bench": picture.bench,
        "topic": picture.topic,
        "caption": picture.caption,
        "titles": list(picture.images),
        "hu_window": list(picture.hu_window),
    }


def _picture(line: Mapping[str, Json], images: Mapping[str, Any], number: int) -> Picture:
    own = {title: images[f"{number}.{index}"] for index, title in enumerate(line["titles"])}
    low, high = line["hu_window"]
    return Picture(line["method"], line["bench"], line["topic"], line["caption"], own, (low, high))


def _text(value: Json) -> str:
    return json.dumps(value, sort_keys=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
