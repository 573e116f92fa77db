"""The order, the record and the pauses of sending, with a peer that does what a test says."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Event

import pytest

from ctcycle.config.tasks.node import DestinationSettings
from ctcycle.node.counts import Counts
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.peers.sender import Sender
from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Answer, Deliveries, Delivery
from ctcycle.node.queue.jobs import Jobs, Outcome
from ctcycle.node.spool import Spool


class Scripted:
    """A peer that answers by the name of the file."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.down_before = ""
        self.refuses = ""

    def check(self) -> None: ...

    def send(self, items: Iterable[tuple[Delivery, Path]]) -> Iterator[tuple[Delivery, Answer, str]]:
        for delivery, path in items:
            if self.down_before and path.stem >= self.down_before:
                raise PeerError("does not answer")
            self.got.append(path.stem)
            yield (delivery, "refused", "refused it") if path.stem == self.refuses else (delivery, "stored", "")


class Waits(Event):
    """An event that records how long it was waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout or 0.0)
        return False


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[tuple[Sender, Scripted, list[int]]]:
    spool = Spool(tmp_path / "spool")
    spool.open()
    database = Database(tmp_path / "queue.db")
    settings = DestinationSettings(ae_title="A", host="127.0.0.1", port=1, retry_seconds=5.0, retry_max_seconds=30.0)
    peer, completed = Scripted(), []
    jobs, deliveries = Jobs(database), Deliveries(database)
    yield Sender("x", settings, peer, spool, jobs, deliveries, Counts(), completed.append), peer, completed
    database.close()


def add_job(sender: Sender, *names: str) -> int:
    number = sender.jobs.add("s", "SCANNER")
    folder = sender.spool.job(number)
    folder.mkdir()
    for name in names:
        (folder / f"{name}.dcm").write_bytes(b"x")
    made = [Delivery(number, f"{name}.dcm", "1.2", f"1.3.{number}", "1.4") for name in names]
    sender.jobs.settle(number, Outcome([("x", one) for one in made]))
    return number


def test_jobs_are_sent_in_order(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, completed = sender
    first, second = add_job(one, "b", "a"), add_job(one, "c")
    while one.step(Waits()):
        pass
    assert peer.got == ["a", "b", "c"]
    assert list(dict.fromkeys(completed)) == [first, second]


def test_after_an_outage_only_the_rest_is_sent(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, completed = sender
    add_job(one, "a", "b", "c")
    peer.down_before, stop = "b", Waits()
    for _ in range(5):
        assert one.step(stop)
    assert stop.waits == [5.0, 10.0, 20.0, 30.0, 30.0]
    assert one.problem == "does not answer"
    assert not one.deliveries.is_complete(completed[0])
    peer.down_before = ""
    one.step(stop)
    assert peer.got == ["a", "b", "c"]
    assert one.problem == ""
    assert not one.step(stop)


def test_a_job_that_was_sent_before_a_failure_is_completed(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, completed = sender
    first, second = add_job(one, "a"), add_job(one, "b")
    peer.down_before = "b"
    one.step(Waits())
    assert completed == [first, second]  # the node asks the queue whether each is complete
    assert one.deliveries.is_complete(first)
    assert not one.deliveries.is_complete(second)


def test_a_refused_object_does_not_stop_the_others(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, _ = sender
    number = add_job(one, "a", "b", "c")
    peer.refuses = "b"
    one.step(Waits())
    assert peer.got == ["a", "b", "c"]
    assert one.deliveries.refusal(number) == "x refused it"


def test_a_file_that_is_missing_is_reported_and_stops_nothing(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, completed = sender
    number = add_job(one, "a", "b")
    (one.spool.job(number) / "a.dcm").unlink()
    one.step(Waits())
    assert peer.got == ["b"]
    assert "missing from the spool" in one.deliveries.refusal(number)
    assert completed == [number]


def test_a_stop_ends_after_the_object_that_is_being_sent(sender: tuple[Sender, Scripted, list[int]]) -> None:
    one, peer, _ = sender
    add_job(one, "a", "b")
    stop = Event()
    stop.set()
    one.step(stop)
    assert peer.got == ["a"]
    assert [item.file for item in one.deliveries.next("x")] == ["b.dcm"]
