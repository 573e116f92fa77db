"""Randomly damaged files, file orders and values never cause anything but the documented outcomes."""

import logging
import resource
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damaged_dicom import damaged, victims
from hypothesis import given, settings
from hypothesis import strategies as st
from mutations import batch, examine
from phantom_series import body_hu, save, slice_dataset, stored_body, write_series
from pydicom import Dataset
from pydicom.uid import JPEGLSLossless, RLELossless

from ctcycle.ct import dicom, npy
from ctcycle.ct.hounsfield import HUWindow
from ctcycle.ct.series_io import find_series, read_series
from ctcycle.ct.stored_values import StoredValues, integer_limits
from ctcycle.inference.denoiser import Denoiser
from ctcycle.inference.inferers import make_inferer

MUTATIONS = 300
MEGABYTES = 300


@pytest.fixture
def quiet_log() -> Any:
    """Disable logging, which takes longer than the refusals being logged."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_log")
def test_whatever_is_done_to_a_file_it_is_read_or_refused(tmp_path: Path) -> None:
    known = victims(tmp_path / "good")
    assert [examine(victim.content, tmp_path) for victim in known] == ["read"] * len(known)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = []
    for number in range(MUTATIONS):
        file = damaged(known, number)
        try:
            outcomes.append(examine(file.content, tmp_path))
        except BaseException as error:
            error.add_note(f"file {file.name}")
            raise
    assert outcomes.count("refused") > MUTATIONS / 2
    assert outcomes.count("read") > MUTATIONS / 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEGABYTES * 1024


@pytest.mark.slow
@pytest.mark.usefixtures("quiet_log")
def test_one_bad_study_in_fifty_stops_none_of_the_others(tmp_path: Path) -> None:
    assert batch(150, tmp_path).startswith("147 denoised, 0 already done, ")


def _claim(dataset: Dataset, **values: int) -> None:
    for keyword, value in values.items():
        setattr(dataset, keyword, value)


# Found by fuzzing: each of these used to crash the process or raise another exception.
FOUND: dict[str, Callable[[Dataset], object]] = {
    "RLE of fewer pixels than rows and columns say": lambda dataset: _claim(dataset, Rows=255),
    "JPEG-LS with more samples than there are": lambda dataset: _claim(dataset, BitsAllocated=255, BitsStored=9),
    "JPEG-LS of no bits": lambda dataset: _claim(dataset, BitsStored=0),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_fuzzing_found(name: str, tmp_path: Path) -> None:
    dataset = slice_dataset(stored_body(1)[0])
    if name.startswith(("RLE", "JPEG-LS")):
        dataset.compress(RLELossless if name.startswith("RLE") else JPEGLSLossless, generate_instance_uid=False)
    FOUND[name](dataset)
    assert examine(save(dataset, tmp_path / "x.dcm").read_bytes(), tmp_path) == "refused"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.\x8d.2.1\0"),  # not a valid UID; pydicom warns
        (b"\x28\x00\x01\x01US\x02\x00", b"\x28\x00\x01\x01FD\x02\x00"),  # two bytes for a number of eight
        (b"\x28\x00\x52\x10DS", b"\x28\x00\x52\x10IS"),  # an intercept declared as an integer
    ],
)
def test_what_fuzzing_found_in_bytes(old: bytes, new: bytes, tmp_path: Path) -> None:
    content = save(slice_dataset(stored_body(1)[0]), tmp_path / "x.dcm").read_bytes()
    assert content.count(old) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert examine(content.replace(old, new), tmp_path) in {"read", "refused"}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return files of three series, two in one folder, with a copy, a localizer, a damaged file and an MR image."""
    folder = tmp_path_factory.mktemp("mixed")
    one = write_series(folder / "a", stored_body(4), series="1.2.826.0.1.1", names=["d", "a", "c", "b"])
    two = write_series(folder / "a", series="1.2.826.0.1.2", names=["7", "e", "01"])
    three = write_series(folder / "b", series="1.2.826.0.1.1", changes={"ImagePositionPatient": None})
    scout = write_series(
        folder / "a", stored_body(1), "1.2.826.0.1.3", names=["s"], changes={"ImageType": ["X", "Y", "LOCALIZER"]}
    )
    other = write_series(folder / "b", stored_body(1), "1.2.826.0.1.4", names=["m"], changes={"Modality": "MR"})
    copy, cut = folder / "a" / "copy", folder / "b" / "cut"
    copy.write_bytes(one[2].read_bytes())
    cut.write_bytes(one[1].read_bytes()[:500])
    return [*one, *two, *three, *scout, *other, copy, cut]


@settings(max_examples=40)
@given(data=st.data())
def test_the_order_of_files_changes_nothing(mixed: list[Path], data: st.DataObject) -> None:
    found, skipped = dicom.find_series(data.draw(st.permutations(mixed)))
    again, left_out = dicom.find_series(mixed)
    assert len(found) == 3
    assert sorted(found, key=str) == sorted(again, key=str)
    assert sorted(map(str, skipped)) == sorted(map(str, left_out))


@settings(max_examples=40)
@given(st.permutations(range(12)))
def test_npy_slices_come_in_the_order_of_their_numbers(tmp_path_factory: pytest.TempPathFactory, order: Any) -> None:
    folder = tmp_path_factory.getbasetemp() / "numbers"
    folder.mkdir(exist_ok=True)
    files = [folder / f"L067_{number}_input.npy" for number in range(12)]
    for file in files:
        if not file.exists():
            np.save(file, body_hu(1)[0])
    (info,), _ = npy.find_series([files[number] for number in order])
    assert list(info.files) == files
    assert info.positions_mm == tuple(map(float, range(12)))


stored_values = st.builds(
    lambda dtype, seed, slope, intercept: StoredValues(
        np.random.default_rng(seed).integers(np.iinfo(dtype).min // 8, np.iinfo(dtype).max // 8, (4, 5)).astype(dtype),
        slope,
        intercept,
        integer_limits(np.dtype(dtype)),
    ),
    st.sampled_from(["uint8", "int8", "uint16", "int16", "int32", ">i2"]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([1.0, 0.5, 2.0, 0.0123, -1.0, 8.0]),
    st.sampled_from([0.0, -1024.0, 100.5]),
)


@given(stored_values)
def test_values_survive_the_way_to_hu_and_back(stored: StoredValues) -> None:
    kept = ~stored.padding
    back = stored.replaced(stored.hu())
    assert back.dtype == stored.values.dtype
    hu_error = np.abs(stored.hu()[kept].astype(np.float64)).max(initial=0) * 2**-23  # HU are float32
    np.testing.assert_allclose(
        back[kept].astype(float), stored.values[kept].astype(float), atol=hu_error / abs(stored.slope)
    )


@given(stored_values, st.integers(-50, 50))
def test_whole_steps_of_the_rescale_are_added_exactly(stored: StoredValues, steps: int) -> None:
    correction = np.full(stored.values.shape, steps * stored.slope, np.float32)
    expected = np.clip(stored.values.astype(np.int64) + steps, *(stored.limits or (0, 0)))
    expected[stored.padding] = stored.values[stored.padding]
    np.testing.assert_array_equal(stored.corrected(correction), expected)


class Brighter(torch.nn.Module):
    """Adds a constant everywhere, so that any seam between tiles is visible."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Map (N, 1, H, W) to the same shape."""
        return values + 0.125


@settings(max_examples=30)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from([0, 64, 96]))
def test_tiles_cover_slices_of_any_size_without_a_seam(rows: int, columns: int, tile: int) -> None:
    window = HUWindow(-1024, 1024, 1024)
    denoiser = Denoiser(Brighter(), window, torch.device("cpu"), inferer=make_inferer(tile))
    correction = denoiser.correction(np.zeros((rows, columns), np.float32))
    assert correction.shape == (rows, columns)
    np.testing.assert_allclose(correction, 0.125 * window.hu_per_unit, rtol=1e-5)


@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
@settings(max_examples=20)
def test_dicom_of_any_size_is_read_exactly(
    tmp_path_factory: pytest.TempPathFactory, count: int, rows: int, columns: int, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("any")
    values = np.random.default_rng(seed).integers(100, 1100, (count, rows, columns)).astype(np.uint16)
    write_series(folder, values)
    (info,), _ = find_series(folder)
    np.testing.assert_array_equal(read_series(info, assume_hu=True).hu, values - 1024.0)
