"""DICOM files in every encoding, and reproducible ways to damage them, each identified by a number."""

import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import gdcm
import numpy as np
from phantom_enhanced import enhanced_dataset
from phantom_series import save, slice_dataset, stored_body
from pydicom import dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)


@dataclass(frozen=True)
class Victim:
    """A valid file to damage.

    Attributes:
        name: name of the encoding.
        content: its bytes.
        elements: offset and length in bytes of each top-level value.
    """

    name: str
    content: bytes
    elements: tuple[tuple[int, int], ...]


def victims(folder: Path) -> list[Victim]:
    """Return a small image in every encoding that a reader handles differently, and an Enhanced one."""
    pixels = stored_body(2)
    found = [_victim(save(slice_dataset(pixels[0]), folder / "explicit"))]
    for syntax in (ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian):
        dataset = slice_dataset(pixels[0])
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = pixels[0].astype(">u2").tobytes()
        found.append(_victim(save(dataset, folder / syntax.keyword)))
    for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
        dataset = slice_dataset(pixels[0])
        dataset.compress(syntax, generate_instance_uid=False)
        found.append(_victim(save(dataset, folder / syntax.keyword)))
    found.append(_victim(as_lossless_jpeg(folder / "explicit", folder / "JPEGLossless")))
    found.append(_victim(save(enhanced_dataset(pixels, [2.0, 4.0]), folder / "enhanced")))
    return found


def as_lossless_jpeg(source: Path, target: Path) -> Path:
    """Rewrite a file as lossless JPEG, as many scanners send it."""
    reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
    reader.SetFileName(str(source))
    assert reader.Read()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGLosslessProcess14_1))
    change.SetInput(reader.GetImage())
    assert change.Change()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def _victim(path: Path) -> Victim:
    dataset, content = dcmread(path), path.read_bytes()
    elements = [dataset.get_item(tag) for tag in dataset.keys()]  # noqa: SIM118 (iterating decodes)
    found = [(int(getattr(element, "value_tell", None) or element.file_tell), element.length) for element in elements]
    return Victim(path.name, content, tuple((start, size) for start, size in found if size < len(content)))


Mutation = Callable[[Victim, np.random.Generator], bytes]


def flip_bytes(victim: Victim, rng: np.random.Generator) -> bytes:
    """Replace some bytes by random values, in half of the cases only in the header."""
    content = bytearray(victim.content)
    end = len(content) if rng.random() < 0.5 else min(len(content), 1200)
    for offset in rng.integers(132, end, size=rng.integers(1, 30)):
        content[offset] = rng.integers(256)
    return bytes(content)


def cut(victim: Victim, rng: np.random.Generator) -> bytes:
    """Remove the end, or a piece from the middle."""
    start = int(rng.integers(0, len(victim.content)))
    if rng.random() < 0.6:
        return victim.content[:start]
    return victim.content[:start] + victim.content[start + int(rng.integers(1, 300)) :]


def repeat(victim: Victim, rng: np.random.Generator) -> bytes:
    """Duplicate a piece."""
    start = int(rng.integers(132, len(victim.content)))
    end = start + int(rng.integers(1, 500))
    return victim.content[:end] + victim.content[start:]


def lie_about_length(victim: Victim, rng: np.random.Generator) -> bytes:
    """Overwrite the length of a value, with two or four bytes."""
    start, _size = _element(victim, rng)
    if rng.random() < 0.5:
        return _overwritten(victim, start - 2, struct.pack("<H", rng.choice([0, 1, 7, 255, 65534, 65535])))
    lengths = [0, 1, 3, 0xFFFF, 0x7FFFFFFE, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF]
    return _overwritten(victim, start - 4, struct.pack("<I", rng.choice(lengths)))


def change_vr(victim: Victim, rng: np.random.Generator) -> bytes:
    """Overwrite the VR of a value with a known or unknown one."""
    start, _size = _element(victim, rng)
    types = [b"SQ", b"UN", b"OB", b"OW", b"US", b"FD", b"DS", b"IS", b"PN", b"UI", b"AT", b"UT", b"??", b"\0\0", b"SV"]
    return _overwritten(victim, start - int(rng.choice([4, 8])), types[rng.integers(len(types))])


def change_value(victim: Victim, rng: np.random.Generator) -> bytes:
    """Replace a value by an unexpected one of the same length: a huge number, nothing, another sign."""
    start, size = _element(victim, rng)
    texts = [b"1e999", b"nan", b"-inf", b"-1", b"0", b"9" * 16, b"\\" * 8, b"\xff\xfe", b"", b"1e308\\-1e308\\1e308"]
    words = [b"\0\0", b"\xff\xff", b"\0\x80", b"\1\0", b"\x09\0", b"\xff\x7f"]
    if size == 2 and rng.random() < 0.8:
        return _overwritten(victim, start, words[rng.integers(len(words))])
    return _overwritten(victim, start, texts[rng.integers(len(texts))].ljust(size)[:size])


def nest_sequences(victim: Victim, rng: np.random.Generator) -> bytes:
    """Insert nested sequences before an element, some without an end."""
    start, _size = _element(victim, rng)
    depth = int(rng.choice([1, 20, 500, 3000]))
    opened = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack(
        "<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF
    )
    closed = struct.pack("<HHI", 0xFFFE, 0xE00D, 0) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    tail = closed * (depth if rng.random() < 0.5 else 0)
    return victim.content[: start - 8] + opened * depth + tail + victim.content[start - 8 :]


def claim_size(victim: Victim, rng: np.random.Generator) -> bytes:
    """Claim more rows, columns, frames, bits or samples than there are pixels, or than fit into memory."""
    dataset = dcmread(io.BytesIO(victim.content))
    sizes = [0, 1, 9, 255, 4096, 8192, 8193, 32768, 65535]
    keywords = ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel", "PixelRepresentation"]
    for keyword in rng.choice(keywords, size=rng.integers(1, 4)):
        setattr(dataset, keyword, int(rng.choice(sizes)))
    if rng.random() < 0.3:
        dataset.NumberOfFrames = int(rng.choice([0, 1, 1000, 2**31 - 1]))
    if rng.random() < 0.3:
        dataset.PixelPaddingValue = 65535
        dataset["PixelPaddingValue"].VR = "US"
    stream = io.BytesIO()
    dataset.save_as(stream)
    return stream.getvalue()


def _element(victim: Victim, rng: np.random.Generator) -> tuple[int, int]:
    return victim.elements[rng.integers(len(victim.elements))]


def _overwritten(victim: Victim, start: int, new: bytes) -> bytes:
    return victim.content[:start] + new + victim.content[start + len(new) :]


MUTATIONS: tuple[Mutation, ...] = (
    *(flip_bytes, cut, repeat, lie_about_length, change_vr, change_value, nest_sequences, claim_size),
)


@dataclass(frozen=True)
class Damaged:
    """A damaged file.

    Attributes:
        name: number, mutation and encoding.
        content: its bytes.
    """

    name: str
    content: bytes


def damaged(known: list[Victim], number: int) -> Damaged:
    """Return the damaged file with a number; the same number always gives the same file."""
    rng = np.random.default_rng([20240607, number])
    victim, mutation = known[rng.integers(len(known))], MUTATIONS[number % len(MUTATIONS)]
    return Damaged(f"{number}: {mutation.__name__} of {victim.name}", mutation(victim, rng))
