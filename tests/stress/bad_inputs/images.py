"""Odd and broken images to denoise."""

import gzip
import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from damaged_dicom import as_lossless_jpeg
from numpy.typing import NDArray
from phantom_enhanced import write_enhanced
from phantom_series import body_hu, change, put_pixels, save, slice_dataset, stored_body, write_series
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from bad_inputs.kind import EXIT_CODES, Kind, Outcome, Place
from ctcycle.ct.dicom.silence import quiet

Make = Callable[[Path], object]
SERIES = "1.2.826.0.1.4"


def _kind(name: str, outcome: Outcome, says: str, make: Make, *, alone: bool = False) -> Kind:
    code = 3 if alone else EXIT_CODES[outcome]

    def made(place: Place) -> list[str]:
        make(place.folder)
        return []

    return Kind(name, "denoise", outcome, says, made, code, alone)


def changed(**changes: Any) -> Make:
    """A series with changed elements in all slices; None removes an element."""
    return lambda folder: write_series(folder, series=SERIES, changes=changes)


def one_changed(**changes: Any) -> Make:
    """A series with changed elements in one slice."""

    def make(folder: Path) -> None:
        file = write_series(folder, series=SERIES)[1]
        dataset = dcmread(file)
        change(dataset, changes)
        save(dataset, file)

    return make


def one_more(**changes: Any) -> Make:
    """A series with an additional image in its folder, with changed elements and its own UID."""

    def make(folder: Path) -> None:
        write_series(folder, series=SERIES)
        dataset = slice_dataset(stored_body(1)[0], "1.2.826.0.1.5", 9)
        change(dataset, changes)
        save(dataset, folder / "other.dcm")

    return make


def stored(values: NDArray[Any], **changes: Any) -> Make:
    """A series with these stored values."""
    return lambda folder: write_series(folder, values, series=SERIES, changes=changes)


def one_file(content: bytes | Callable[[bytes], bytes], name: str = "0002.dcm") -> Make:
    """A series with one file of the given content, or computed from the content of its second slice."""

    def make(folder: Path) -> None:
        write_series(folder, series=SERIES)
        file = folder / name
        file.write_bytes(content(file.read_bytes()) if callable(content) else content)

    return make


def written(name: str, content: bytes) -> Make:
    """A single file."""

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / name).write_bytes(content)

    return make


def syntax(kind: UID) -> Make:
    """A series in another transfer syntax."""

    def make(folder: Path) -> None:
        for number, pixels in enumerate(stored_body(), start=1):
            dataset = slice_dataset(pixels, SERIES, number)
            if kind.is_compressed and kind != DeflatedExplicitVRLittleEndian:
                dataset.compress(kind, generate_instance_uid=False)
            else:
                dataset.file_meta.TransferSyntaxUID = kind
                order = "<" if kind.is_little_endian else ">"
                dataset.PixelData = pixels.astype(f"{order}u2").tobytes()
            save(dataset, folder / f"{number}.dcm")

    return make


def lossless_jpeg(folder: Path) -> None:
    """A series in lossless JPEG, as many scanners send it."""
    for file in write_series(folder, series=SERIES):
        as_lossless_jpeg(file, file)


def twelve_bits(folder: Path) -> None:
    """Values up to 4095, as scanners store them."""
    bits = {"BitsStored": 12, "HighBit": 11}
    write_series(folder, np.minimum(stored_body(), 4095), series=SERIES, changes=bits)


def padded(folder: Path) -> None:
    """Padding of -2000 outside the field of view, with PixelPaddingValue."""
    values = stored_body(dtype="int16", intercept=0.0)
    values[:, :4] = -2000
    write_series(folder, values, series=SERIES, changes={"RescaleIntercept": 0, "PixelPaddingValue": -2000})


def tilted(folder: Path) -> None:
    """A gantry tilt of 20 degrees: slices are not stacked along their normal."""
    down, back = float(np.cos(np.deg2rad(20))), float(np.sin(np.deg2rad(20)))
    changes = {"GantryDetectorTilt": 20.0, "ImageOrientationPatient": [1.0, 0.0, 0.0, 0.0, down, -back]}
    write_series(folder, series=SERIES, changes=changes)


def with_gap(folder: Path) -> None:
    """A slice is missing in the middle."""
    write_series(folder, stored_body(5), series=SERIES)[2].unlink()


def with_copy(folder: Path) -> None:
    """A byte-identical copy of one file."""
    (folder / "copy.dcm").write_bytes(write_series(folder, series=SERIES)[1].read_bytes())


def at_one_position(folder: Path) -> None:
    """Two different images at the same position."""
    write_series(folder, series=SERIES)
    dataset = slice_dataset(stored_body(4)[3], SERIES, 2)
    dataset.SOPInstanceUID = "1.2.826.0.1.9"
    save(dataset, folder / "again.dcm")


def one_uid_twice(folder: Path) -> None:
    """Two different images with the same SOPInstanceUID and position."""
    write_series(folder, series=SERIES)
    save(slice_dataset(stored_body(4)[3], SERIES, 2), folder / "again.dcm")


def many_items(content: bytes) -> bytes:
    """Insert a private sequence of 300,000 empty items."""
    items = struct.pack("<HHI", 0xFFFE, 0xE000, 0) * 300_000
    start = content.index(b"\x10\x00\x10\x00PN")
    opened = struct.pack("<HH2sHI", 9, 0x1001, b"SQ", 0, 0xFFFFFFFF)
    return content[:start] + opened + items + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0) + content[start:]


def deflated_without_end(content: bytes) -> bytes:
    """Deflate a slice, followed by 100 MiB of zeros."""
    dataset = dcmread(io.BytesIO(content))
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    target = io.BytesIO()
    dataset.save_as(target, enforce_file_format=True)
    whole = target.getvalue()
    start = 144 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = packer.compress(zlib.decompress(whole[start:], -zlib.MAX_WBITS) + bytes(100 << 20))
    return whole[:start] + packed + packer.flush()


def two_sizes(folder: Path) -> None:
    """One slice is smaller than the others."""
    file = write_series(folder, series=SERIES)[1]
    dataset = dcmread(file)
    put_pixels(dataset, stored_body(1)[0, :-4])
    save(dataset, file)


def two_series(folder: Path) -> None:
    """Two good series in one folder."""
    write_series(folder, series="1.2.826.0.1.41", names=["a1", "a2", "a3"])
    write_series(folder, stored_body(4)[1:], series="1.2.826.0.1.42", names=["b1", "b2", "b3"])


def linked_in_a_circle(folder: Path) -> None:
    """Links to the folder itself, to a missing file, and to themselves."""
    write_series(folder, series=SERIES)
    (folder / "again").symlink_to(folder, target_is_directory=True)
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "nothing.dcm").symlink_to(folder / "not there")
    (folder / "itself.dcm").symlink_to(folder / "itself.dcm")


def npy(values: NDArray[Any], name: str = "ct.npy") -> Make:
    """An npy file."""

    def make(folder: Path) -> None:
        folder.mkdir()
        np.save(folder / name, values, allow_pickle=True)

    return make


def npy_of_two_sizes(folder: Path) -> None:
    """Slices that cannot be stacked."""
    folder.mkdir()
    np.save(folder / "s1.npy", body_hu(1)[0])
    np.save(folder / "s2.npy", body_hu(1)[0, :-4])


def nifti(values: NDArray[Any], name: str = "ct.nii.gz", affine: NDArray[Any] | None = None) -> Make:
    """A NIfTI file of (S, H, W) values."""

    def make(folder: Path) -> None:
        folder.mkdir()
        image = nib.Nifti1Image(values.T, np.eye(4))
        if affine is not None:
            image.header.set_sform(affine, 1)
            image.header["qform_code"] = 0
        image.to_filename(folder / name)

    return make


def denoised_before(folder: Path) -> None:
    """A NIfTI file and an npy file that ctcycle denoised, as their header and the summary beside them say."""
    nifti_claiming((36, 32, 3), descrip=b"chest ctcycle denoised")(folder)
    np.save(folder / "ct.npy", body_hu())
    (folder / "summary.json").write_text('{"results": {"ct.npy": "denoised"}}')


def in_metres(folder: Path) -> None:
    """A NIfTI file that gives its lengths in metres."""
    folder.mkdir()
    image = nib.Nifti1Image(body_hu().T.astype(np.int16), np.diag([-7e-4, -7e-4, 2e-3, 1]))
    image.header.set_xyzt_units("meter")
    image.to_filename(folder / "ct.nii.gz")


def nifti_claiming(dim: Sequence[int], version: int = 1, packed: bool = False, tail: int = 0, **fields: Any) -> Make:
    """A NIfTI file of 7 kB with these sizes in its header, packed or not, followed by zeros."""

    def make(folder: Path) -> None:
        kind = nib.Nifti1Header if version == 1 else nib.Nifti2Header
        header = kind.from_header(nib.Nifti1Image(stored_body(dtype="int16", intercept=0.0).T, np.eye(4)).header)
        header["dim"][: len(dim) + 1] = [len(dim), *dim]
        header["vox_offset"] = header.sizeof_hdr + 4
        for name, value in fields.items():
            header[name] = value
        content = header.binaryblock + b"\0" * 4 + stored_body(dtype="int16", intercept=0.0).T.tobytes(order="F")
        folder.mkdir()
        content += bytes(tail)
        (folder / f"ct.nii{'.gz' if packed else ''}").write_bytes(gzip.compress(content) if packed else content)

    return make


def npy_claiming(shape: Sequence[int], size: int = 0) -> Make:
    """An npy file with this shape in its header, and zeros up to this size that take no place on the disk."""

    def make(folder: Path) -> None:
        folder.mkdir()
        with (folder / "ct.npy").open("wb") as stream:
            header = {"descr": "<i2", "fortran_order": False, "shape": tuple(shape)}
            np.lib.format.write_array_header_1_0(stream, header)
            stream.truncate(max(stream.tell(), size))

    return make


def nifti_cut(folder: Path) -> None:
    """A NIfTI file without its end."""
    nifti(body_hu())(folder)
    content = (folder / "ct.nii.gz").read_bytes()
    (folder / "ct.nii.gz").write_bytes(content[: len(content) // 2])


def cut_stream(folder: Path) -> None:
    """A truncated compressed stream in an otherwise complete file."""
    syntax(JPEG2000Lossless)(folder)
    dataset = dcmread(folder / "2.dcm")
    stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([stream[:-100]])
    save(dataset, folder / "2.dcm")


def unknown_syntax(folder: Path) -> None:
    """Files with a transfer syntax that does not exist."""
    for file in write_series(folder, series=SERIES):
        file.write_bytes(file.read_bytes().replace(*UNKNOWN_SYNTAX))


def endless_sequence(content: bytes) -> bytes:
    """Insert sequences nested thousands deep before all elements."""
    opened = struct.pack("<HH2sHI", 8, 0x1140, b"SQ", 0, 0xFFFFFFFF) + struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    start = content.index(b"\x08\x00\x08\x00CS")
    return content[:start] + opened * 5000 + content[start:]


def named(**texts: str) -> Make:
    """A series with these texts in its elements, however odd."""
    changes: Mapping[str, Any] = {"SpecificCharacterSet": "ISO_IR 192", **texts}

    def make(folder: Path) -> None:
        with quiet():  # pydicom also warns about them
            write_series(folder, series=SERIES, changes=changes)

    return make


def beside(folder: Path, name: str | bytes) -> Path:
    """A path in ``folder``, whose name may be bytes that are not UTF-8."""
    return Path(os.fsdecode(os.fsencode(folder) + b"/" + os.fsencode(name)))


def in_folder(name: str | bytes) -> Make:
    """A series in a folder of this name."""
    return lambda folder: write_series(beside(folder, name), series=SERIES)


def with_links_to_themselves(folder: Path) -> None:
    """A series beside a file and a folder that are links to themselves."""
    write_series(folder, series=SERIES)
    for name in ("self", "self.dcm"):
        (folder / name).symlink_to(name)


def damaged_in_folder(name: str) -> Make:
    """A damaged file in a folder of this name, so that a message has to name it."""

    def make(folder: Path) -> None:
        (folder / name).mkdir(parents=True)
        (folder / name / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"x" * 9)

    return make


ESCAPES = "\x1b]0;owned\x07\x1b[31mred\x9b1m\u202e"
MU = (0.0192 * (body_hu() / 1000 + 1)).astype(np.float32)
NAN = np.where(body_hu() > 600, np.nan, body_hu())
GREY = ((body_hu().clip(-160, 240) + 160) / 400 * 255).astype(np.uint8)
LOCALIZER = {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
ACROSS = {"ImageOrientationPatient": [1.0, 0, 0, 0, 0, -1.0], "SeriesInstanceUID": SERIES, "InstanceNumber": 9}
RGB = {"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3}
UNKNOWN_SYNTAX = (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.9.9.9\0")
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 500

IMAGES: tuple[Kind, ...] = (
    _kind("implicit VR", "done", "", syntax(ImplicitVRLittleEndian)),
    _kind("big endian", "done", "", syntax(ExplicitVRBigEndian)),
    _kind("deflated", "done", "", syntax(DeflatedExplicitVRLittleEndian)),
    _kind("RLE", "done", "", syntax(RLELossless)),
    _kind("JPEG-LS", "done", "", syntax(JPEGLSLossless)),
    _kind("JPEG 2000", "done", "", syntax(JPEG2000Lossless)),
    _kind("lossless JPEG", "done", "", lossless_jpeg),
    _kind("Enhanced multi-frame", "done", "", lambda folder: write_enhanced(folder / "all.dcm", stored_body())),
    _kind("12 bits in 16", "done", "", twelve_bits),
    _kind("signed", "done", "", stored(stored_body(dtype="int16", intercept=0.0), RescaleIntercept=0)),
    _kind("8 bits behind a rescale", "done", "", stored(stored_body(dtype="uint8", slope=8.0), RescaleSlope=8)),
    _kind("padding of -2000", "done", "", padded),
    _kind("gantry tilt", "done", "", tilted),
    _kind("odd sizes, not square", "done", "", stored(stored_body()[:, :31, :17])),
    _kind("one pixel", "done", "", stored(stored_body()[:, 16:17, 16:17])),
    _kind("one slice", "done", "", stored(stored_body(1))),
    _kind("a slice missing", "done", "a slice may be missing", with_gap),
    _kind("a file twice", "done", "byte-for-byte copy of another file of its series", with_copy),
    _kind("no UIDs", "done", "", changed(SOPInstanceUID=None, StudyInstanceUID=None, FrameOfReferenceUID=None)),
    _kind("no positions, but numbers", "done", "", changed(ImagePositionPatient=None)),
    _kind("two series in one folder", "done", "", two_series),
    _kind("links in a circle", "done", "", linked_in_a_circle),
    _kind("names with ../ in them", "done", "", named(PatientName="../../etc/x", PatientID="../../../y", StudyID="/z")),
    _kind("names beyond any length", "done", "", named(PatientName="A" * 5000, SeriesDescription="B" * 5000)),
    _kind("names in Unicode", "done", "", named(PatientName="山田^太郎\u202e", SeriesDescription="Thorax – größer")),
    _kind("a line break in a name", "done", "", named(PatientID="a\nERROR all is lost", SeriesDescription="b\r\nc")),
    _kind("a folder that is not UTF-8", "done", "", in_folder(b"B\xe4uche")),
    _kind("escape sequences in a folder", "done", "", in_folder(ESCAPES)),
    _kind("escape sequences in a message", "refused", "owned\\x07\\x1b[31mred", damaged_in_folder(ESCAPES)),
    _kind("links to themselves", "done", "", with_links_to_themselves),
    _kind("a name of 255 bytes", "done", "", nifti(body_hu(), f"{'x' * 248}.nii.gz")),
    _kind("npy in attenuation", "done", "", npy(MU)),
    _kind("NIfTI with a singular affine", "done", "", nifti(body_hu(), affine=np.diag([0.0, 0, 0, 1]))),
    _kind("NIfTI with a trailing axis", "done", "", nifti(body_hu()[None, None])),
    _kind("text", "left out", "ignored 1 file (hidden or not CT images)", written("notes.txt", b"hello")),
    _kind("a picture", "left out", "ignored 1 file (hidden or not CT images)", written("ct.png", PNG)),
    _kind(
        "DICOMDIR", "left out", "ignored 1 file (hidden or not CT images)", written("DICOMDIR", b"\0" * 128 + b"DICM")
    ),
    _kind("empty text file", "left out", "ignored 1 file (hidden or not CT images)", written("empty.txt", b"")),
    _kind("MR", "left out", "MR, not CT", changed(Modality="MR", SOPClassUID="1.2.840.10008.5.1.4.1.1.4")),
    _kind("PET", "left out", "PT, not CT", changed(Modality="PT", SOPClassUID="1.2.840.10008.5.1.4.1.1.128")),
    _kind("structures for radiotherapy", "left out", "RTSTRUCT, not CT", changed(Modality="RTSTRUCT", PixelData=None)),
    _kind("a screenshot", "left out", "not CT Image Storage", changed(SOPClassUID="1.2.840.10008.5.1.4.1.1.7", **RGB)),
    _kind("no modality, no class", "left out", "neither Modality nor", changed(Modality=None, SOPClassUID=None)),
    _kind("a localizer", "left out", "localizer", changed(**LOCALIZER)),
    _kind("a localizer of the same series", "done", "localizer: it crosses the other slices", one_more(**ACROSS)),
    _kind("npy of labels", "left out", "shape is (7,)", npy(np.arange(7))),
    _kind("npy of words", "left out", "is not an array of real numbers", npy(np.array([["a", "b"]]))),
    _kind("npy of objects", "refused", "cannot be read as npy", npy(np.array([[{"a": 1}]], dtype=object))),
    _kind("a header cut off", "refused", "0002.dcm is unreadable or refused", one_file(lambda content: content[:400])),
    _kind("pixels cut off", "refused", "0002.dcm: cannot decode the pixels", one_file(lambda content: content[:-900])),
    _kind("cut before the pixels", "refused", "0002.dcm", one_file(lambda content: content[:700])),
    _kind("an empty file among slices", "refused", "0002.dcm is unreadable or refused", one_file(b"")),
    _kind(
        "zeros for a file",
        "refused",
        "0002.dcm is unreadable or refused",
        one_file(lambda content: bytes(len(content))),
    ),
    _kind(
        "noise behind the DICOM mark", "refused", "0002.dcm", one_file(b"\0" * 128 + b"DICM" + bytes(range(256)) * 9)
    ),
    _kind("no DICOM mark", "refused", "0002.dcm is unreadable or refused", one_file(lambda content: content[132:])),
    _kind("a compressed stream cut off", "refused", "2.dcm: cannot decode the pixels", cut_stream),
    _kind("sequences without end", "refused", "0002.dcm", one_file(endless_sequence)),
    _kind("300,000 items in a header", "refused", "0002.dcm is unreadable or refused", one_file(many_items)),
    _kind("deflated without end", "refused", "0002.dcm is unreadable or refused", one_file(deflated_without_end)),
    _kind("no pixel data", "refused", "no pixel data", changed(PixelData=None)),
    _kind("one slice without pixels", "refused", "no pixel data", one_changed(PixelData=None)),
    _kind("no RescaleSlope", "refused", "RescaleSlope or RescaleIntercept is missing", changed(RescaleSlope=None)),
    _kind("a RescaleSlope of 0", "refused", "RescaleSlope or RescaleIntercept is missing", changed(RescaleSlope=0)),
    _kind("one slice without a rescale", "refused", "RescaleSlope or RescaleI", one_changed(RescaleIntercept=None)),
    _kind("RescaleType not HU", "refused", "RescaleType US, not HU", changed(RescaleType="US")),
    _kind("MONOCHROME1", "refused", "must be MONOCHROME2", changed(PhotometricInterpretation="MONOCHROME1")),
    _kind("colours", "refused", "RGB with 3 samples per pixel", changed(**RGB)),
    _kind("two reconstructions at a place", "done", "has 4 images at 3 positions", at_one_position),
    _kind("one UID for two images at a place", "done", "4 files, but 3 different SOPInst", one_uid_twice),
    _kind("one UID for all images", "done", "but 1 different SOPInstanceUIDs", changed(SOPInstanceUID="1.2.826.0.1.9")),
    _kind("pixels that are not square", "done", "but denoisers are trained on square", changed(PixelSpacing=[5, 0.7])),
    _kind("a negative pixel spacing", "done", "", changed(PixelSpacing=[-0.7, 0.7])),
    _kind("a negative slice thickness", "done", "", changed(SliceThickness=-3)),
    _kind("RescaleType HU_MOD", "done", "", changed(RescaleType="HU_MOD")),
    _kind("two sizes", "refused", "slices differ in size", two_sizes),
    _kind("two pixel spacings", "refused", "slices differ in pixel spacing", one_changed(PixelSpacing=[0.9, 0.5])),
    _kind(
        "two orientations",
        "refused",
        "slices differ in orientation",
        one_changed(ImageOrientationPatient=[0.0, 1, 0, 1, 0, 0]),
    ),
    _kind(
        "two patients in a series", "refused", "more than one patient or study in a series", one_changed(PatientID="X")
    ),
    _kind(
        "no order of slices",
        "refused",
        "so their order is unknown",
        changed(ImagePositionPatient=None, InstanceNumber=None),
    ),
    _kind("an unknown transfer syntax", "refused", "no decoder for", unknown_syntax),
    _kind(
        "more frames than are described", "refused", "5 frames without a position for each", changed(NumberOfFrames=5)
    ),
    _kind("65535 rows", "refused", "65535 x 36 pixels; must have 1 to 8192", changed(Rows=65535)),
    _kind("more pixels than there are", "refused", "cannot decode the pixels", changed(Rows=8192, Columns=8192)),
    _kind("more bits than allocated", "refused", "no more stored than", changed(BitsStored=17)),
    _kind("stored values without -1024", "refused", "without their rescale intercept", changed(RescaleIntercept=0)),
    _kind("nothing but air", "refused", "only air", stored(np.zeros((3, 32, 36), np.uint16))),
    _kind("NIfTI of grey values", "refused", "0..255", nifti(GREY)),
    _kind("NIfTI in attenuation", "refused", "attenuation (1/mm or 1/cm)", nifti(MU)),
    _kind("NIfTI between -1 and 1", "refused", "normalised to -1..1", nifti(np.tanh(body_hu() / 500))),
    _kind("NIfTI with NaN", "refused", "contains NaN or infinity", nifti(NAN)),
    _kind("NIfTI of a time series", "done", "", nifti(np.stack([body_hu()] * 2))),
    _kind("NIfTI of complex numbers", "refused", "one real number per voxel", nifti(body_hu().astype(np.complex64))),
    _kind("NIfTI cut off", "refused", "copy it again", nifti_cut),
    _kind("NIfTI of no bytes", "refused", "cannot be read as NIfTI", written("ct.nii", b"")),
    _kind("NIfTI of a text", "refused", "cannot be read as NIfTI", written("ct.nii.gz", gzip.compress(b"hello"))),
    _kind("npy of grey values", "refused", "0..255", npy(GREY)),
    _kind(
        "npy with infinity", "refused", "contains NaN or infinity", npy(np.where(body_hu() > 600, np.inf, body_hu()))
    ),
    _kind("NIfTI of a negative size", "refused", "shape is (36, -3, 3)", nifti_claiming((36, -3, 3))),
    _kind("NIfTI of a huge size", "refused", "shape is (30000, 30000, 30000)", nifti_claiming([30000] * 3)),
    _kind("NIfTI of a huge size, packed", "refused", "shape is", nifti_claiming([30000] * 3, packed=True)),
    _kind("NIfTI-2 of sizes beyond 64 bits", "refused", "shape is", nifti_claiming([2**40] * 3, 2)),
    _kind("NIfTI-2 of 100,000,000 slices", "refused", "1 to 65536 slices", nifti_claiming((36, 32, 10**8), 2)),
    _kind("NIfTI larger than its file", "refused", "its header requires", nifti_claiming((512, 512, 2000))),
    _kind(
        "NIfTI larger than its packed file", "refused", "its header requires", nifti_claiming([2000] * 3, packed=True)
    ),
    _kind("NIfTI of seven axes", "refused", "must be a slice, a volume", nifti_claiming((36, 32, 1, 1, 1, 1, 3))),
    _kind(
        "NIfTI with voxels at infinity",
        "refused",
        "cannot be read as NIfTI",
        nifti_claiming((36, 32, 3), vox_offset=np.inf),
    ),
    _kind(
        "NIfTI with voxels in its header",
        "refused",
        "cannot be read as NIfTI",
        nifti_claiming((36, 32, 3), vox_offset=16),
    ),
    _kind(
        "NIfTI that unpacks without end",
        "refused",
        "bytes follow the voxels",
        nifti_claiming((36, 32, 3), packed=True, tail=1 << 26),
    ),
    _kind(
        "NIfTI of NaN spacing",
        "refused",
        "is not finite",
        nifti_claiming((36, 32, 3), pixdim=[1, np.nan, 1, 1, 0, 0, 0, 0]),
    ),
    _kind(
        "NIfTI of infinite spacing",
        "refused",
        "is not finite",
        nifti_claiming((36, 32, 3), pixdim=[1, 1, 1, np.inf, 0, 0, 0, 0]),
    ),
    _kind("NIfTI with NaN for a place", "refused", "is not finite", nifti_claiming((36, 32, 3), srow_z=[np.nan] * 4)),
    _kind("npy of a negative size", "refused", "shape is (-3, 64, 64)", npy_claiming((-3, 64, 64))),
    _kind("npy of 1,000,000,000 slices", "refused", "up to 65536 slices", npy_claiming((10**9, 64, 64), 8192 * 10**9)),
    _kind("npy of zeros, 3 GB", "refused", "only air", npy_claiming((6000, 512, 512), 128 + 6000 * 2**19)),
    _kind("npy larger than its file", "refused", "its header requires", npy_claiming((60000, 512, 512))),
    _kind("npy of two sizes", "refused", "slices differ in size", npy_of_two_sizes),
    _kind("npy cut off", "refused", "cannot be read as npy", written("ct.npy", b"\x93NUMPY\x01\0v\0{'descr'")),
    _kind("npy of (H, W, S)", "done", "cut into 3 slices along axis 2", npy(np.moveaxis(body_hu(), 0, -1))),
    _kind("npy of a cube", "refused", "set slice_axis", npy(np.stack([body_hu(1)[0, :, :32]] * 32))),
    _kind("one slice 1024 HU off", "refused", "off the slice before it", one_changed(RescaleIntercept=0)),
    _kind("one value everywhere", "refused", "all pixels are 40 HU", stored(np.full((3, 32, 36), 1064, np.uint16))),
    _kind("padding value in tissue", "done", "40 HU as padding, which tissue can", changed(PixelPaddingValue=1064)),
    _kind(
        "a padding range of all values",
        "done",
        "as padding, which includes tissue",
        changed(PixelPaddingValue=0, PixelPaddingRangeLimit=4095),
    ),
    _kind("a map of ctcycle", "left out", "a result of ctcycle", changed(SeriesDescription="x ctcycle residual")),
    _kind("results of ctcycle as NIfTI and npy", "left out", "a result of ctcycle (denoised)", denoised_before),
    _kind("NIfTI in metres", "done", "", in_metres),
    _kind("a zip archive", "left out", "an archive; unpack it", written("ct.zip", b"PK")),
    _kind("NRRD", "left out", "an NRRD volume; convert it", written("ct.nrrd", b"NRRD0004")),
    _kind("MetaImage", "left out", "a MetaImage volume; convert it", written("ct.mha", b"ObjectType = Image")),
    _kind("half of a pair (hdr, img)", "left out", "convert the pair", written("ct.img", b"0" * 99)),
    _kind("nothing", "refused", "no CT found; give a folder or file", lambda folder: folder.mkdir(), alone=True),
    _kind(
        "only other things", "refused", "no CT found (ignored 1 file (hidden or not", written("a.txt", b"a"), alone=True
    ),
    _kind("only MR", "refused", "no CT found (MR, not CT", changed(Modality="MR"), alone=True),
)
