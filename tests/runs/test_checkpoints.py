import io
import logging
import pathlib
import pickle
import resource
import signal
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from ctcycle import __version__
from ctcycle.errors import BundleError, DivergedError, OutputError
from ctcycle.runs import checkpoints
from ctcycle.runs.checkpoints import (
    FORMAT,
    VERSION,
    CheckpointFolder,
    denoiser_weights,
    read_checkpoint,
    write_checkpoint,
)


def state(iteration: int = 3) -> dict[str, Any]:
    weight = torch.arange(6.0).reshape(2, 3) + iteration
    return {"iteration": iteration, "networks": {"low2full.w": weight}, "losses": {"sums": {}, "count": 0}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "a.pt", state())
    return tmp_path / "a.pt"


def test_a_checkpoint_gives_back_what_was_written_and_says_what_wrote_it(path: Path) -> None:
    found = read_checkpoint(path)
    assert torch.equal(found["networks"].pop("low2full.w"), state()["networks"]["low2full.w"])
    assert found == {
        "format": FORMAT,
        "format_version": VERSION,
        "ctcycle": __version__,
        "torch": str(torch.__version__),
        "iteration": 3,
        "networks": {},
        "losses": {"sums": {}, "count": 0},
    }
    assert type(found["torch"]) is str


def test_the_state_of_a_training_survives(tmp_path: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    net(torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(0))).sum().backward()
    optimiser.step()
    pool = {"images": [torch.ones(1, 2, 2)]}
    write_checkpoint(tmp_path / "a.pt", {"net": net.state_dict(), "optim": optimiser.state_dict(), "pool": pool})
    found = read_checkpoint(tmp_path / "a.pt")
    other = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    other.load_state_dict(found["net"])
    again = torch.optim.Adam(other.parameters(), lr=7.0)
    again.load_state_dict(found["optim"])
    assert repr(again.state_dict()) == repr(optimiser.state_dict())
    assert torch.equal(found["pool"]["images"][0], pool["images"][0])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_never_written(path: Path, bad: float) -> None:
    before = path.read_bytes()
    with pytest.raises(DivergedError, match=r"a\.pt: not written because a weight is not finite"):
        write_checkpoint(path, {"networks": {"deep": {"w": torch.tensor([1.0, bad])}}})
    assert path.read_bytes() == before


def test_a_write_that_is_cut_off_leaves_the_old_one(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_state: object, stream: io.BytesIO) -> None:
        stream.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.torch, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(path, state(4))
    assert read_checkpoint(path)["iteration"] == 3
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_the_disk_garbles_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save = torch.save

    def garbled(value: object, stream: io.BytesIO) -> None:
        copy = io.BytesIO()
        save(value, copy)
        content = copy.getvalue()
        weight = state(4)["networks"]["low2full.w"].numpy().tobytes()
        stream.write(content.replace(weight, weight[::-1]))

    monkeypatch.setattr(checkpoints.torch, "save", garbled)
    with pytest.raises(OutputError, match=r"verification failed for record .*; check the disk"):
        write_checkpoint(path, state(4))
    monkeypatch.undo()
    assert read_checkpoint(path)["iteration"] == 3


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file may grow over 100 kB: writing fails as on a full disk."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_is_an_output_error(path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.pt: cannot write \(File too large\)"):
        write_checkpoint(path, {"networks": {"w": torch.zeros(100_000)}})
    assert read_checkpoint(path)["iteration"] == 3
    assert list(path.parent.iterdir()) == [path]


def test_every_truncation_is_noticed(path: Path) -> None:
    whole = path.read_bytes()
    for length in {0, 1, 4, 30, len(whole) - 1, *range(0, len(whole), 37)}:
        path.write_bytes(whole[:length])
        with pytest.raises(BundleError, match="damaged, or not a checkpoint"):
            read_checkpoint(path)


def test_a_flipped_byte_is_noticed_or_does_no_harm(path: Path) -> None:
    whole = path.read_bytes()
    right = read_checkpoint(path)
    noticed = 0
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x5A]) + whole[place + 1 :])
        try:
            found = read_checkpoint(path)
        except BundleError:
            noticed += 1
        else:
            assert repr(found) == repr(right)
    assert noticed > 0.4 * len(whole) / 3  # the others are in padding, dates and the like


def test_a_record_that_is_marked_as_a_folder_is_not_read_as_random_memory(path: Path) -> None:
    whole = path.read_bytes()
    entry = whole.rindex(b"archive/data/0")
    flags = entry - 8  # external attributes, in the directory of the zip
    path.write_bytes(whole[:flags] + b"\x10" + whole[flags + 1 :])
    with pytest.raises(BundleError, match="damaged"):
        read_checkpoint(path)


def test_a_flipped_weight_is_noticed(path: Path) -> None:
    weight = state()["networks"]["low2full.w"].numpy().tobytes()
    whole = path.read_bytes()
    assert whole.count(weight) == 1
    path.write_bytes(whole.replace(weight, weight[:-1] + b"\x42"))
    with pytest.raises(BundleError, match="damaged"):
        read_checkpoint(path)


class Evil:
    """What an attacker would put in."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return pathlib.Path.touch, (self.mark,)


def foreign(kind: str, path: Path) -> None:
    """Puts something at ``path`` that is no checkpoint of ours."""
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("readme.txt", "hello")
    elif kind == "empty zip":
        zipfile.ZipFile(path, "w").close()
    elif kind == "text":
        path.write_text("hello")
    elif kind == "pickle":
        path.write_bytes(pickle.dumps({"format": FORMAT, "format_version": VERSION}))
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        others = {"weights": {"w": torch.ones(1)}, "list": [1], "no version": {"format": FORMAT}}
        torch.save(others[kind], path)


@pytest.mark.parametrize("kind", ["zip", "empty zip", "text", "pickle", "folder", "weights", "list", "no version"])
def test_what_is_no_checkpoint_of_ours_is_said_to_be_none(path: Path, kind: str) -> None:
    foreign(kind, path)
    with pytest.raises(BundleError, match=r"a\.pt: .*(not|use) a checkpoint"):
        read_checkpoint(path)


def test_code_in_a_checkpoint_never_runs(path: Path) -> None:
    mark = path.parent / "ran"
    torch.save({"format": FORMAT, "format_version": VERSION, "x": Evil(mark)}, path)
    with pytest.raises(BundleError, match="contains code or objects, which are never loaded"):
        read_checkpoint(path)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # the trap is a real one


def test_records_that_unfold_to_more_than_the_file_are_not_unfolded(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(path, {"networks": {"w": torch.zeros(1_000_000)}})
    assert path.stat().st_size > 4_000_000
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    assert torch.load(path, weights_only=True)["networks"]["w"].numel() == 1_000_000  # torch itself would unfold them
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("unfolded"))
    monkeypatch.setattr(checkpoints.torch, "load", lambda *_, **__: pytest.fail("unfolded"))
    with pytest.raises(BundleError, match=r"a\.pt: damaged, or not a checkpoint"):
        read_checkpoint(path)


def test_records_that_share_bytes_are_not_unfolded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_checkpoint(path, {"networks": {"w": torch.zeros(10_000)}})
    whole, copies = path.read_bytes(), 5
    start, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x06\x06")  # the archive's directory
    directory, tail = whole[start:end], bytearray(whole[whole.index(b"PK\x05\x06") :])
    entries = directory.count(b"PK\x01\x02")
    struct.pack_into("<HHLL", tail, 8, copies * entries, copies * entries, copies * len(directory), start)
    path.write_bytes(whole[:start] + copies * directory + bytes(tail))
    with zipfile.ZipFile(path) as archive:
        assert len(archive.infolist()) == copies * entries  # Python takes it for an archive
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda _: pytest.fail("unfolded"))
    with pytest.raises(BundleError, match=r"a\.pt: damaged, or not a checkpoint"):
        read_checkpoint(path)


def test_a_later_format_and_a_missing_file_are_told_apart(path: Path) -> None:
    with pytest.raises(BundleError, match="checkpoint not found"):
        read_checkpoint(path.with_name("b.pt"))
    write_checkpoint(path, {**state(), "format_version": VERSION + 1})
    with pytest.raises(BundleError, match=f"format {VERSION + 1} is newer than the supported format {VERSION}; update"):
        read_checkpoint(path)


WEIGHT = torch.ones(1)


@pytest.mark.parametrize(
    "found",
    [
        {"denoiser": {"w": WEIGHT}},
        {"ema": {"n_averaged": torch.tensor(3), "module.w": WEIGHT}, "networks": {"low2full.w": -WEIGHT}},
        {"ema": {}, "networks": {"low2full.w": WEIGHT, "full2low.w": -WEIGHT, "swap.low2full.w": -WEIGHT}},
    ],
)
def test_the_denoisers_weights_are_the_mean_where_there_is_one(found: dict[str, Any]) -> None:
    assert denoiser_weights(found) == {"w": WEIGHT}


def test_no_denoiser_is_an_error() -> None:
    with pytest.raises(BundleError, match="no denoiser"):
        denoiser_weights({"ema": {}, "iteration": 3})


def folder_with(tmp_path: Path, *iterations: int) -> CheckpointFolder:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    for iteration in iterations:
        folder.save_last(state(iteration))
    return folder


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1, 2, 3)
    assert folder.load_last()["iteration"] == 3
    assert read_checkpoint(folder.previous)["iteration"] == 2
    assert sorted(path.name for path in folder.last.parent.iterdir()) == ["last.pt", "previous.pt"]


def test_nothing_was_saved_yet(tmp_path: Path) -> None:
    assert folder_with(tmp_path).load_last() is None


def test_the_best_holds_the_denoiser_and_what_it_achieved(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    folder.save_best({"w": WEIGHT}, {"epoch": 4, "val/psnr": 35.5})
    found = read_checkpoint(folder.best)
    assert denoiser_weights(found) == {"w": WEIGHT}
    assert (found["epoch"], found["val/psnr"]) == (4, 35.5)
    assert folder.load_last() is None


def test_a_damaged_last_one_is_set_aside_for_the_one_before(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = folder_with(tmp_path, 1, 2)
    damage(folder.last)
    with caplog.at_level(logging.WARNING):
        assert folder.load_last()["iteration"] == 1
    assert "last.pt.corrupt" in caplog.text
    assert sorted(path.name for path in folder.last.parent.iterdir()) == ["last.pt.corrupt", "previous.pt"]
    folder.save_last(state(2))
    assert folder.load_last()["iteration"] == 2
    assert read_checkpoint(folder.previous)["iteration"] == 1


def test_a_stop_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1, 2)
    folder.last.replace(folder.previous)
    assert folder.load_last()["iteration"] == 2


def test_a_failed_write_keeps_both(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1, 2)
    with pytest.raises(DivergedError):
        folder.save_last({"networks": {"w": torch.tensor(float("nan"))}})
    assert folder.load_last()["iteration"] == 2
    assert read_checkpoint(folder.previous)["iteration"] == 1


def test_no_whole_checkpoint_never_starts_anew_in_silence(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1, 2)
    damage(folder.last)
    damage(folder.previous)
    for _ in range(2):  # the second time, too, when both have been set aside
        with pytest.raises(BundleError, match=r"checkpoints: all checkpoints are damaged; .*overwrite=true"):
            folder.load_last()


def test_a_checkpoint_of_a_later_version_is_no_damage(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, 1)
    folder.save_last({**state(2), "format_version": VERSION + 1})
    with pytest.raises(BundleError, match="update ctcycle"):
        folder.load_last()
    assert folder.last.exists()
