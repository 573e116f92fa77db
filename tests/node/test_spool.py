"""What is acknowledged is on disk, and a series is taken once."""

import os
from pathlib import Path

import pytest

from ctcycle.errors import OutputError
from ctcycle.node.spool import Spool, hashed_name


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    made.open()
    return made


def test_names_are_hashes_that_keep_uids_apart() -> None:
    names = {hashed_name("1.2"), hashed_name("1", "2"), hashed_name("12"), hashed_name("../../etc/x")}
    assert len(names) == 4
    assert all(len(name) == 32 and set(name) <= set("0123456789abcdef") for name in names)


def test_only_its_owner_sees_it(spool: Spool) -> None:
    assert spool.root.stat().st_mode & 0o777 == 0o700


def test_an_object_is_where_its_series_waits(spool: Spool) -> None:
    first = spool.store("s", "a", b"one", "SCANNER")
    second = spool.store("s", "b", b"two!", "OTHER")
    assert (first.count, second.count, first.new) == (1, 2, True)
    assert (spool.incoming / "s" / "a.dcm").read_bytes() == b"one"
    assert spool.caller("s") == "SCANNER"
    assert spool.size_bytes == 7
    assert spool.waiting() == {"s": 2}


def test_a_repeated_object_replaces_the_first(spool: Spool) -> None:
    spool.store("s", "a", b"one", "SCANNER")
    again = spool.store("s", "a", b"three", "SCANNER")
    assert (again.new, again.count, spool.size_bytes) == (False, 1, 5)


def test_everything_is_synced_before_the_answer(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").resolve().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    spool.store("s", "a", b"one", "SCANNER")
    content, *_, folder = synced
    assert content not in {"incoming", "s"}  # the file under its temporary name, first
    assert folder == "s"  # the folder with its final name, last
    assert {"caller.txt", "incoming"} <= set(synced)


def test_a_failed_write_leaves_nothing(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        spool.store("s", "a", b"one", "SCANNER")
    monkeypatch.undo()
    assert not list(spool.root.rglob("*.dcm"))
    assert not list((spool.root / "new").iterdir())
    assert spool.waiting() == {}


def test_a_taken_series_starts_again_with_late_instances(spool: Spool) -> None:
    spool.store("s", "a", b"one", "SCANNER")
    assert spool.take("s", 1)
    late = spool.store("s", "b", b"two", "SCANNER")
    assert late.count == 1
    assert [path.stem for path in spool.sources(1)] == ["a"]
    assert spool.take("s", 2)
    assert [path.stem for path in spool.sources(2)] == ["b"]


def test_taking_can_be_repeated(spool: Spool) -> None:
    spool.store("s", "a", b"one", "SCANNER")
    assert spool.take("s", 1)
    assert spool.take("s", 1)
    assert not spool.take("unknown", 2)


def test_a_restart_finds_what_is_there_and_clears_half_written_files(spool: Spool) -> None:
    spool.store("s", "a", b"one", "SCANNER")
    spool.store("t", "b", b"two!", "SCANNER")
    spool.take("t", 1)
    (spool.root / "new" / "half").write_bytes(b"x")
    again = Spool(spool.root)
    again.open()
    assert again.waiting() == {"s": 1}
    assert again.size_bytes == 7
    assert again.instances() == {"a", "b"}
    assert not list((spool.root / "new").iterdir())


def test_removing_a_job_frees_its_bytes(spool: Spool) -> None:
    spool.store("s", "a", b"one", "SCANNER")
    spool.take("s", 1)
    spool.remove(1)
    spool.remove(1)
    assert spool.size_bytes == 0
    assert not spool.job(1).exists()


def test_a_spool_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="choose another `out`"):
        Spool(tmp_path / "file").open()
