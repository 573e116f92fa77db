import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from phantom_series import write_series

from ctcycle.ct import series_io
from ctcycle.ct.series import Series, SeriesInfo
from ctcycle.data import store as store_module
from ctcycle.data.manifest import write_manifest
from ctcycle.data.scan import scan_sources
from ctcycle.data.settings import Source, SplitSettings
from ctcycle.data.store import Locator, SliceStore, StoredSeries, to_int16
from ctcycle.errors import ManifestError, OutputError, SeriesError


def slice_hu(number):
    rng = np.random.default_rng(number)
    hu = rng.integers(-150, 250, (16, 24)).astype(np.int16)
    hu[:6] = -1000
    hu[6, 0] = number
    return hu


def make(folder, numbers=(1, 2, 10), stem=""):
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        np.save(folder / f"{stem}{number}.npy", slice_hu(number))
    return folder


def info_of(folder, *mu_water):
    (info,), _ = series_io.find_series(folder, *mu_water)
    return info


@pytest.fixture
def settled(monkeypatch):
    """Files just made count as old, so that the index is used."""
    monkeypatch.setattr(store_module, "SETTLED_NS", -1)


@pytest.fixture
def decoded(monkeypatch):
    """The series that were decoded, and the files that were hashed."""
    calls = {"series": [], "files": []}
    read, digest = series_io.read_series, store_module._file_digest
    monkeypatch.setattr(
        series_io, "read_series", lambda info, *rest: calls["series"].append(info.path) or read(info, *rest)
    )
    monkeypatch.setattr(store_module, "_file_digest", lambda path: calls["files"].append(path) or digest(path))
    return calls


def test_a_series_is_its_hu_in_slice_order(tmp_path):
    stored = SliceStore(tmp_path / "cache").open(info_of(make(tmp_path / "a")))
    assert stored.shape == stored.hu.shape == (3, 16, 24)
    assert stored.hu.dtype == np.int16
    np.testing.assert_array_equal(stored.hu, np.stack([slice_hu(number) for number in (1, 2, 10)]))
    assert stored.positions_mm == (1.0, 2.0, 10.0)
    assert isinstance(stored.hu, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        stored.hu[0, 0, 0] = 1


def test_hu_are_rounded_clipped_and_padding_is_air():
    info = SeriesInfo("dicom", Path(), (), "", (1, 1, 5), (0, 0, 0), (0,), "", 0, "")
    hu = np.array([[[0.5, 1.6, -1e6, 1e6, -2000.0]]], np.float32)
    padding = np.array([[[False, False, False, False, True]]])
    assert to_int16(Series(info, hu, padding)).tolist() == [[[0, 2, -32768, 32767, -1024]]]
    assert to_int16(Series(info, hu, None))[0, 0, 4] == -2000


def test_an_unchanged_series_is_neither_read_nor_hashed_again(tmp_path, settled, decoded):
    info = info_of(make(tmp_path / "a"))
    first = SliceStore(tmp_path / "cache").open(info)
    assert (len(decoded["series"]), len(decoded["files"])) == (1, 3)
    again = SliceStore(tmp_path / "cache").open(info)
    assert (len(decoded["series"]), len(decoded["files"])) == (1, 3)
    assert again == first


def test_a_touched_series_is_hashed_and_not_decoded(tmp_path, settled, decoded):
    info = info_of(make(tmp_path / "a"))
    store = SliceStore(tmp_path / "cache")
    first = store.open(info)
    os.utime(info.files[1])
    assert store.open(info) == first
    assert (len(decoded["series"]), len(decoded["files"])) == (1, 6)
    store.open(info)
    assert len(decoded["files"]) == 6


def test_a_changed_series_is_decoded_anew_even_if_size_and_time_are_as_before(tmp_path, settled):
    info = info_of(make(tmp_path / "a"))
    store = SliceStore(tmp_path / "cache")
    first = store.open(info)
    before = info.files[1].stat()
    time.sleep(0.02)  # past a tick of the file system's clock
    np.save(info.files[1], slice_hu(77))
    os.utime(info.files[1], ns=(before.st_atime_ns, before.st_mtime_ns))
    second = store.open(info)
    np.testing.assert_array_equal(second.hu[1], slice_hu(77))
    np.testing.assert_array_equal(first.hu[1], slice_hu(2))


def test_young_files_are_hashed_whatever_the_index_says(tmp_path, monkeypatch):
    info = info_of(make(tmp_path / "a"))
    store = SliceStore(tmp_path / "cache")
    tick = time.time_ns()
    monkeypatch.setattr(store_module, "_states", lambda paths: {str(path): [1, tick, tick] for path in paths})
    store.open(info)
    np.save(info.files[0], slice_hu(5))
    np.testing.assert_array_equal(store.open(info).hu[0], slice_hu(5))


def test_the_same_files_in_another_order_are_another_series(tmp_path, settled):
    info = info_of(make(tmp_path / "a"))
    store = SliceStore(tmp_path / "cache")
    stored = store.open(info)
    turned = store.open(replace(info, files=info.files[::-1], positions_mm=info.positions_mm[::-1]))
    np.testing.assert_array_equal(turned.hu, stored.hu[::-1])
    assert turned.positions_mm == (10.0, 2.0, 1.0)


def test_a_copy_shares_the_decoded_file(tmp_path, decoded):
    store = SliceStore(tmp_path / "cache")
    one, two = (store.open(info_of(make(tmp_path / name))) for name in "ab")
    assert one.path == two.path
    assert len(decoded["series"]) == 1


def test_settings_of_the_decoding_have_their_own_files(tmp_path, settled):
    folder = tmp_path / "data" / "mu"
    folder.mkdir(parents=True)
    np.save(folder / "1.npy", np.where(slice_hu(1) < -500, 0.0, 0.0192).astype(np.float32))
    (row,) = scanned(tmp_path).rows
    for mu_water, expected in ((0.0192, 0), (0.0194, round(1000 * (0.0192 / 0.0194 - 1))), (0.0192, 0)):
        store = SliceStore(tmp_path / "cache", mu_water)
        assert store.open_row(row, tmp_path).hu[0, -1, -1] == expected
        assert store.known(row, tmp_path) == store.open(info_of(folder, mu_water))
    assert len(list((tmp_path / "cache" / "volumes").iterdir())) == 2


@pytest.mark.parametrize("damage", ["empty", "cut", "header", "shape", "gone"])
def test_a_damaged_volume_is_decoded_again(tmp_path, settled, damage):
    info = info_of(make(tmp_path / "a"))
    path = SliceStore(tmp_path / "cache").open(info).path
    content = path.read_bytes()
    path.unlink()
    if damage == "shape":
        np.save(path, np.zeros((3, 16, 23), np.int16))
    elif damage != "gone":
        path.write_bytes({"empty": b"", "cut": content[:-1], "header": b"x" * len(content)}[damage])
    stored = SliceStore(tmp_path / "cache").open(info)
    np.testing.assert_array_equal(stored.hu[2], slice_hu(10))
    assert path.read_bytes() == content


@pytest.mark.parametrize("index", [b"", b"{", b"[]", b"{}", b'{"states": {}}', b"\xff"])
def test_a_damaged_index_is_written_again(tmp_path, settled, index):
    info = info_of(make(tmp_path / "a"))
    SliceStore(tmp_path / "cache").open(info)
    (path,) = (tmp_path / "cache" / "index").iterdir()
    content = path.read_bytes()
    path.write_bytes(index)
    np.testing.assert_array_equal(SliceStore(tmp_path / "cache").open(info).hu[2], slice_hu(10))
    assert path.read_bytes() == content


def test_a_stored_series_pickles_small_and_maps_again(tmp_path):
    stored = SliceStore(tmp_path / "cache").open(info_of(make(tmp_path / "a", range(1, 200))))
    assert stored.hu.nbytes > 150_000
    pickled = pickle.dumps(stored)
    assert len(pickled) < 4_000
    copy = pickle.loads(pickled)  # noqa: S301 (made a line above)
    assert copy == stored
    np.testing.assert_array_equal(copy.hu, stored.hu)


def test_a_cache_deleted_in_use_says_so(tmp_path):
    stored = SliceStore(tmp_path / "cache").open(info_of(make(tmp_path / "a")))
    stored.path.unlink()
    with pytest.raises(OutputError, match="rerun to decode it again"):
        _ = stored.hu


def test_a_series_whose_files_have_gone_is_refused(tmp_path):
    info = info_of(make(tmp_path / "a"))
    info.files[1].unlink()
    with pytest.raises(SeriesError, match="cannot read"):
        SliceStore(tmp_path / "cache").open(info)


def test_a_series_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    info = info_of(make(tmp_path / "a"))
    read = series_io.read_series

    def slow(*args):
        series = read(*args)
        info.files[0].write_bytes(b"other")
        return series

    monkeypatch.setattr(series_io, "read_series", slow)
    with pytest.raises(SeriesError, match="changed while being read"):
        SliceStore(tmp_path / "cache").open(info)
    assert not (tmp_path / "cache").exists()


def scanned(tmp_path, **split):
    manifest = scan_sources([Source(tmp_path / "data")], tmp_path / "m.csv", SplitSettings(**split)).manifest
    write_manifest(tmp_path / "m.csv", manifest)
    return manifest


def test_rows_open_as_their_series_also_in_folders_of_many(tmp_path, settled, monkeypatch):
    for stem, numbers in (("L067_FD_", (1, 2)), ("L096_FD_", (3, 4)), ("L143_QD_", (5, 6))):
        make(tmp_path / "data" / "mixed", numbers, stem)
    make(tmp_path / "data" / "mixed" / "below", (9,), "L067_FD_")
    manifest = scanned(tmp_path)
    scans = []
    find = series_io.find_series
    monkeypatch.setattr(series_io, "find_series", lambda *args, **mu: scans.append(args[0]) or find(*args, **mu))
    opened = {row.patient + row.path[-5:]: SliceStore(tmp_path / "c").open_row(row, manifest.root) for row in manifest}
    assert {name: stored.positions_mm for name, stored in opened.items()} == {
        "L067mixed": (1, 2),
        "L067below": (9,),
        "L096mixed": (3, 4),
        "L143mixed": (5, 6),
    }
    scans.clear()
    for row in manifest:
        SliceStore(tmp_path / "c").open_row(row, manifest.root)
    assert scans == []
    locator = Locator()
    infos = [locator.locate(row, manifest.root) for row in manifest]
    assert len(scans) == 2
    assert sorted(len(info.files) for info in infos) == [1, 2, 2, 2]


def test_a_row_and_its_series_share_the_index(tmp_path, settled, decoded):
    make(tmp_path / "data" / "p")
    (row,) = scanned(tmp_path).rows
    store = SliceStore(tmp_path / "c")
    assert store.open(info_of(tmp_path / "data" / "p")) == store.open_row(row, tmp_path)
    assert len(decoded["files"]) == 3


def test_a_row_whose_path_has_gone_is_named(tmp_path):
    make(tmp_path / "data" / "p")
    (row,) = scanned(tmp_path).rows
    (tmp_path / "data" / "p").rename(tmp_path / "data" / "q")
    for locate in (Locator().locate, SliceStore(tmp_path / "c").open_row):
        with pytest.raises(ManifestError, match=f"^series {row.series}: .*data/p is missing; restore it"):
            locate(row, tmp_path)


def test_a_row_whose_series_is_another_is_refused(tmp_path):
    make(tmp_path / "data" / "p")
    (row,) = scanned(tmp_path).rows
    with pytest.raises(ManifestError, match=r"data/p no longer contains it; scan again"):
        SliceStore(tmp_path / "c").open_row(replace(row, uid="1.2.3"), tmp_path)


def test_a_row_that_says_another_size_is_refused(tmp_path, settled):
    make(tmp_path / "data" / "p")
    (row,) = scanned(tmp_path).rows
    for _ in ("found", "from the index"):
        with pytest.raises(ManifestError, match=r"data/p is 3x16x24, but the manifest says 3x16x25; scan again"):
            SliceStore(tmp_path / "c").open_row(replace(row, columns=25), tmp_path)
        SliceStore(tmp_path / "c").open_row(row, tmp_path)


def test_added_and_removed_slices_are_noticed(tmp_path, settled):
    make(tmp_path / "data" / "p")
    (row,) = scanned(tmp_path).rows
    store = SliceStore(tmp_path / "c")
    store.open_row(row, tmp_path)
    time.sleep(0.02)  # past a tick of the file system's clock
    make(tmp_path / "data" / "p", (11,))
    with pytest.raises(ManifestError, match=r"is 4x16x24, but the manifest says 3x16x24; scan again"):
        store.open_row(row, tmp_path)
    time.sleep(0.02)
    for number in (10, 11):
        (tmp_path / "data" / "p" / f"{number}.npy").unlink()
    with pytest.raises(ManifestError, match=r"is 2x16x24, but the manifest says 3x16x24; scan again"):
        store.open_row(row, tmp_path)


def test_the_index_holds_no_identity(tmp_path, settled):
    info = replace(info_of(make(tmp_path / "a")), patient_id="Doe^Jane")
    SliceStore(tmp_path / "cache").open(info)
    (path,) = (tmp_path / "cache" / "index").iterdir()
    assert "Jane" not in path.read_text()
    keys = {"key", "files", "states", "digests", "shape", "spacing_mm", "positions_mm", "plane", "volume"}
    assert set(json.loads(path.read_text())) == keys


def test_geometry_is_kept_in_the_index(tmp_path, settled, decoded):
    write_series(tmp_path / "a")
    info = info_of(tmp_path / "a")
    assert info.plane.corners_mm == tuple((-10.0, -20.0, 2.0 * number) for number in (1, 2, 3))
    for _ in range(2):
        stored = SliceStore(tmp_path / "cache").open(info)
        assert (stored.spacing_mm, stored.positions_mm) == (info.spacing_mm, info.positions_mm)
        assert stored.plane == info.plane
    assert len(decoded["series"]) == 1
    assert SliceStore(tmp_path / "cache").open(info_of(make(tmp_path / "b"))).plane is None


def test_an_index_of_another_format_is_rebuilt(tmp_path, settled, decoded, monkeypatch):
    write_series(tmp_path / "a")
    info = info_of(tmp_path / "a")
    SliceStore(tmp_path / "cache").open(info)
    (path,) = (tmp_path / "cache" / "index").iterdir()
    entry = json.loads(path.read_text())
    del entry["plane"]
    path.write_text(json.dumps(entry))
    assert SliceStore(tmp_path / "cache").open(info).plane == info.plane
    monkeypatch.setattr(store_module, "_VERSION", 1)
    assert SliceStore(tmp_path / "cache").open(info).plane == info.plane
    assert len(decoded["series"]) == 2  # the lost entry is filled in without decoding, another version decodes


def test_a_hundred_series_open_fast(tmp_path, settled):
    for number in range(100):
        make(tmp_path / "data" / f"p{number}", (1, 2, number + 3))
    manifest = scanned(tmp_path)
    for row in manifest:
        SliceStore(tmp_path / "c").open_row(row, manifest.root)
    store = SliceStore(tmp_path / "c")
    start = time.process_time()
    assert sum(store.open_row(row, manifest.root).shape[0] for row in manifest) == 300
    assert time.process_time() - start < 0.5


def test_the_same_slices_are_known_again_in_other_files_and_blank_ones_are_not(tmp_path, settled):
    make(tmp_path / "a", (1, 2, 3))
    np.save(tmp_path / "a" / "2.npy", np.full((16, 24), -1000, np.int16))
    (tmp_path / "b").mkdir()
    np.save(tmp_path / "b" / "ct.npy", np.stack([slice_hu(3), slice_hu(4)]).astype(np.float32))
    store = SliceStore(tmp_path / "cache")
    one, other = (store.open(info_of(tmp_path / name)).digests for name in "ab")
    assert one[1] == ""
    assert one[2] == other[0]
    assert len({*one, *other}) == 4
    assert store.open(info_of(tmp_path / "a")).digests == one, "from the index, too"


def test_another_attenuation_of_air_is_decoded_anew(tmp_path):
    folder = tmp_path / "mu"
    folder.mkdir()
    np.save(folder / "1.npy", np.array([[0.0, 0.0002], [0.0192, 0.0382]]))
    for mu_air, expected in (
        (0.0, [-1000, -990, 0, 990]),
        (0.0002, [-1011, -1000, 0, 1000]),
        (0.0, [-1000, -990, 0, 990]),
    ):
        (info,), _ = series_io.find_series(folder, 0.0192, mu_air=mu_air)
        store = SliceStore(tmp_path / "cache", 0.0192, mu_air)
        np.testing.assert_array_equal(store.open(info).hu[0].ravel(), expected)


@pytest.mark.parametrize(
    ("spacing", "expected"), [((5.0, 0.8, 0.8), 0.8), ((5.0, 0.5, 0.72), 0.6), ((1.0, 0.0, 0.0), 360 / 512)]
)
def test_the_pixel_size_is_that_of_a_square_of_equal_area_or_of_a_usual_field_of_view(
    spacing: tuple[float, float, float], expected: float
) -> None:
    assert StoredSeries(Path("unused"), (10, 512, 256), spacing, ()).pixel_mm == pytest.approx(expected)


@pytest.mark.parametrize("damage", ["rotten", "rotten checksum", "cut", "empty"])
def test_a_volume_with_other_bytes_is_decoded_again(damage: str, tmp_path: Path) -> None:
    np.save(tmp_path / "ct.npy", np.stack([np.full((16, 16), -1000.0), np.eye(16) * 50]).astype(np.float32))
    (info,), _ = series_io.find_series(tmp_path / "ct.npy")
    expected = np.array(SliceStore(tmp_path / "cache").open(info).hu)
    (volume,) = (tmp_path / "cache" / "volumes").iterdir()
    content = bytearray(volume.read_bytes())
    if damage in {"rotten", "rotten checksum"}:
        content[-1 if damage == "rotten checksum" else 200] ^= 64  # the first slice is constant
    volume.write_bytes(content[:300] if damage == "cut" else b"" if damage == "empty" else content)
    np.testing.assert_array_equal(SliceStore(tmp_path / "cache").open(info).hu, expected)


def test_a_volume_cut_while_it_is_mapped_is_an_error_and_no_signal(tmp_path: Path) -> None:
    volume = np.full((8, 64, 64), -1000, np.float32)
    volume[:, 16:48] = 40
    np.save(tmp_path / "ct.npy", volume)
    (info,), _ = series_io.find_series(tmp_path / "ct.npy")
    stored = SliceStore(tmp_path / "cache").open(info)
    assert stored.hu[7, 0, 0] == -1000
    os.truncate(stored.path, 4096)
    with pytest.raises(OutputError, match="was removed or damaged while in use; rerun to decode it again"):
        stored.hu[7].sum()
