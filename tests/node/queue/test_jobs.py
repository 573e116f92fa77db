"""Jobs move through their states, and a new process continues where the last one was."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from ctcycle.errors import OutputError
from ctcycle.node.queue.database import Database
from ctcycle.node.queue.deliveries import Deliveries, Delivery
from ctcycle.node.queue.jobs import Jobs, Outcome


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(tmp_path / "queue.db")
    yield made
    made.close()


@pytest.fixture
def jobs(database: Database) -> Jobs:
    return Jobs(database)


def delivery(job: int, name: str = "a") -> Delivery:
    return Delivery(job, f"denoised/{name}.dcm", "1.2.3", f"1.2.{name}", "1.2.840.10008.1.2.1")


def queued(jobs: Jobs, series: str = "s") -> int:
    number = jobs.add(series, "SCANNER")
    jobs.queue(number, 3)
    return number


def test_a_job_from_taken_to_done(jobs: Jobs) -> None:
    number = jobs.add("s", "SCANNER")
    assert [job.state for job in jobs.in_state("taken")] == ["taken"]
    assert jobs.begin() is None
    jobs.queue(number, 3)
    job = jobs.begin()
    assert job is not None
    assert (job.number, job.series, job.caller, job.slices, job.deaths) == (number, "s", "SCANNER", 3, 0)
    jobs.settle(number, Outcome([("archive", delivery(number))], model="m", strength=0.5, seconds=2.0))
    (job,) = jobs.in_state("sending")
    assert (job.model, job.strength, job.seconds) == ("m", 0.5, 2.0)
    jobs.finish(number)
    assert jobs.counts() == {"done": 1}


def test_a_job_with_nothing_to_send_is_left_with_its_reason(jobs: Jobs) -> None:
    number = queued(jobs)
    jobs.settle(number, Outcome(reason="localizer"))
    (job,) = jobs.in_state("left")
    assert job.reason == "localizer"


def test_jobs_are_begun_in_order_unless_postponed(jobs: Jobs) -> None:
    first, second = queued(jobs, "a"), queued(jobs, "b")
    assert jobs.begin().number == first  # type: ignore[union-attr]
    jobs.postpone(first)
    assert jobs.begin().number == second  # type: ignore[union-attr]


def test_a_death_is_counted_unless_the_stop_was_orderly(jobs: Jobs) -> None:
    queued(jobs)
    job = jobs.begin()
    assert job is not None
    jobs.interrupted(job)
    assert jobs.begin().deaths == 0  # type: ignore[union-attr]
    assert jobs.begin().deaths == 1  # type: ignore[union-attr]


def test_failed_jobs_get_another_chance_from_where_they_failed(jobs: Jobs, database: Database) -> None:
    sent, crashed = queued(jobs, "a"), queued(jobs, "b")
    jobs.settle(sent, Outcome([("archive", delivery(sent))]))
    Deliveries(database).answered(delivery(sent), "archive", "refused", "archive refused it")
    jobs.fail(sent, "archive refused it")
    jobs.fail(crashed, "internal error")
    assert jobs.retry_failed() == 2
    assert {job.number: job.state for job in jobs.in_state("sending", "queued")} == {sent: "sending", crashed: "queued"}
    assert [one.job for one in Deliveries(database).next("archive")] == [sent]


def test_the_queue_survives_without_a_goodbye(tmp_path: Path) -> None:
    number = queued(Jobs(Database(tmp_path / "queue.db")))
    again = Jobs(Database(tmp_path / "queue.db"))
    assert again.begin().number == number  # type: ignore[union-attr]


def test_a_chosen_strength_stays(jobs: Jobs) -> None:
    assert jobs.strength("s", "m") is None
    jobs.keep_strength("s", "m", 0.4)
    jobs.keep_strength("s", "m", 0.9)
    assert jobs.strength("s", "m") == 0.4


def test_old_jobs_are_forgotten_and_open_ones_never(jobs: Jobs) -> None:
    done, waiting = queued(jobs, "a"), queued(jobs, "b")
    jobs.finish(done)
    assert jobs.forget_before(0.0) == []
    assert jobs.forget_before(4e9) == [done]
    assert [job.number for job in jobs.in_state("queued")] == [waiting]


def test_a_job_found_on_disk_is_adopted(jobs: Jobs) -> None:
    jobs.adopt(7, "s", 2)
    assert (jobs.state(7), jobs.state(8)) == ("queued", None)
    assert queued(jobs) > 7


def test_numbers_are_not_used_again(jobs: Jobs) -> None:
    first = queued(jobs)
    jobs.drop(first)
    assert queued(jobs) > first


def test_an_error_undoes_the_whole_change(jobs: Jobs, database: Database) -> None:
    number = queued(jobs)
    twice = [("archive", delivery(number)), ("archive", delivery(number))]
    with pytest.raises(sqlite3.IntegrityError):
        jobs.settle(number, Outcome(twice))
    assert [job.state for job in jobs.in_state("queued")] == ["queued"]
    assert database.all("SELECT COUNT(*) FROM deliveries") == [(0,)]


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database, at all" * 100)
    with pytest.raises(OutputError, match="cannot open the queue"):
        Database(tmp_path / "queue.db")
