"""Each destination gets what is due, in order, and once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Deliveries, Delivery
from ctcycle.node.queue.jobs import Jobs, Outcome


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "queue.db")
    yield made
    made.close()


def sending(database: Database, names: str, *destinations: str) -> list[Delivery]:
    jobs = Jobs(database)
    number = jobs.add("s", "SCANNER")
    made = [Delivery(number, f"denoised/{name}.dcm", "1.2", f"1.3.{ord(name)}", "1.4") for name in names]
    jobs.settle(number, Outcome([(destination, one) for one in made for destination in destinations]))
    return made


def test_what_is_due_comes_in_the_order_of_the_jobs(database: Database) -> None:
    deliveries = Deliveries(database)
    first, second = sending(database, "ab", "x", "y"), sending(database, "c", "x")
    assert deliveries.next("x") == [*first, *second]
    assert deliveries.next("x", most=1) == first[:1]
    deliveries.answered(first[0], "x", "sent")
    assert deliveries.next("x") == [first[1], *second]
    assert deliveries.next("y") == first
    assert not deliveries.is_complete(first[0].job)


def test_a_refused_object_stops_nothing_and_gives_its_reason(database: Database) -> None:
    deliveries = Deliveries(database)
    one, two = sending(database, "ab", "x")
    deliveries.answered(one, "x", "refused", "x refused the object (0xA900)")
    assert deliveries.next("x") == [two]
    deliveries.answered(two, "x", "sent")
    assert deliveries.is_complete(one.job)
    assert deliveries.refusal(one.job) == "x refused the object (0xA900)"


def test_committed_objects_are_sent_and_the_others_due_again(database: Database) -> None:
    deliveries = Deliveries(database)
    one, two = sending(database, "ab", "x")
    deliveries.answered(one, "x", "stored")
    assert deliveries.uncommitted("x", 0.0) == {}  # not before all of the job is stored
    deliveries.answered(two, "x", "stored")
    assert deliveries.uncommitted("x", 0.0) == {one.job: [one, two]}
    deliveries.asked("1.9", one.job, "x")
    assert deliveries.uncommitted("x", 0.0) == {}
    assert deliveries.uncommitted("x", 4e9) == {one.job: [one, two]}  # asked too long ago
    assert not deliveries.is_complete(one.job)
    assert deliveries.reported("1.9", [one.instance], [two.instance]) == one.job
    assert deliveries.next("x") == [two]
    assert deliveries.counts()["x", "sent"] == 1
    assert deliveries.reported("1.9", [two.instance], []) is None


def test_a_destination_without_commitment_is_believed(database: Database) -> None:
    deliveries = Deliveries(database)
    (one,) = sending(database, "a", "x")
    deliveries.answered(one, "x", "stored")
    deliveries.asked("1.9", one.job, "x")
    deliveries.withdrawn("1.9")
    deliveries.not_offered(one.job, "x")
    assert deliveries.is_complete(one.job)
