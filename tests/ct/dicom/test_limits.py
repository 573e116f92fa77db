import struct
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from phantom_series import slice_dataset, stored_body, write_series
from pydicom.uid import DeflatedExplicitVRLittleEndian

from ctcycle.ct.dicom import limits
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.errors import SeriesError

PRIVATE, FRAMES = (0x0009, 0x1001), (0x5200, 0x9230)
ITEM, END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD
UNDEFINED = 0xFFFFFFFF


def sequence(count: int, tag: tuple[int, int], *, defined: bool) -> bytes:
    """A sequence of items with one element each, in explicit VR; of defined or undefined length."""
    element = struct.pack("<HH2sH", 8, 0x1150, b"UI", 8) + b"1.2.3.4\0"
    if defined:
        items = (struct.pack("<HHI", 0xFFFE, ITEM, len(element)) + element) * count
        return struct.pack("<HH2sHI", *tag, b"SQ", 0, len(items)) + items
    item = struct.pack("<HHI", 0xFFFE, ITEM, UNDEFINED) + element + struct.pack("<HHI", 0xFFFE, END, 0)
    start = struct.pack("<HH2sHI", *tag, b"SQ", 0, UNDEFINED)
    return start + item * count + struct.pack("<HHI", 0xFFFE, SEQUENCE_END, 0)


def insert(file: Path, content: bytes, before: bytes) -> None:
    whole = file.read_bytes()
    at = whole.index(before)
    file.write_bytes(whole[:at] + content + whole[at:])


@pytest.mark.parametrize("defined", [False, True], ids=["undefined length", "defined length"])
@pytest.mark.parametrize(
    ("tag", "before"),
    [(PRIVATE, b"\x10\x00\x10\x00PN"), (FRAMES, b"\xe0\x7f\x10\x00OW")],
    ids=["private", "frames"],
)
def test_a_header_of_very_many_items_is_refused_before_they_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tag: tuple[int, int], before: bytes, defined: bool
) -> None:
    """Peak memory and time follow from the limit, not from the 300,000 items."""
    monkeypatch.setattr(limits, "MAX_ITEMS", 1000)
    files = write_series(tmp_path)
    insert(files[1], sequence(300_000, tag, defined=defined), before)
    start = time.monotonic()
    tracemalloc.start()
    found, skipped = find_series(tmp_path)
    message = "".join(entry.reason for entry in skipped if entry.damaged)
    if not message:  # sequences that are not needed to find the series are not looked into before it is decoded
        with pytest.raises(SeriesError) as caught:
            read_series(found[0])
        message = str(caught.value)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 1000 sequence items in the header" in message
    assert time.monotonic() - start < 20
    assert peak < 4 * files[1].stat().st_size


def test_a_header_of_many_items_is_read(tmp_path: Path) -> None:
    files = write_series(tmp_path)
    insert(files[1], sequence(2000, PRIVATE, defined=False), b"\x10\x00\x10\x00PN")
    (info,), skipped = find_series(tmp_path)
    assert skipped == []
    assert read_series(info).hu.shape == (3, 32, 36)


def deflated(path: Path, extra: int) -> None:
    """A deflated slice, behind whose pixels zeros follow that pack very well."""
    dataset = slice_dataset(stored_body()[0], "1.2.826.0.1.4", 1)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    body = packer.compress(zlib.decompress(content[start:], -15))
    for _ in range(extra >> 20):
        body += packer.compress(bytes(1 << 20))
    path.write_bytes(content[:start] + body + packer.flush())


def test_a_deflated_file_that_unpacks_without_end_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    deflated(tmp_path / "1.dcm", extra=80 << 20)
    tracemalloc.start()
    found, (entry,) = find_series(tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == []
    assert entry.damaged
    assert entry.reason.startswith("unpacks to more than 64 MiB")
    assert peak < 20 << 20


def test_a_deflated_file_is_read(tmp_path: Path) -> None:
    deflated(tmp_path / "1.dcm", extra=0)
    limits.check_unpacked(tmp_path / "1.dcm")
    (info,), _ = find_series(tmp_path)
    assert read_series(info).hu.shape == (1, 32, 36)
