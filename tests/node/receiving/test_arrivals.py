"""A series is complete after a quiet time or when its announced number is there; late instances reopen it."""

import time
from pathlib import Path

import pytest

from ctcycle.config.tasks.node import CompletionSettings
from ctcycle.node.queue.database import Database
from ctcycle.node.queue.jobs import Jobs
from ctcycle.node.receiving.arrivals import Arrivals
from ctcycle.node.spool import Spool


class Clock:
    """Replaces time.monotonic."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def opened(folder: Path, **settings: object) -> Arrivals:
    spool = Spool(folder / "spool")
    spool.open()
    jobs = Jobs(Database(folder / "spool" / "queue.db"))
    return Arrivals(CompletionSettings.model_validate(settings), spool, jobs)


def arrive(arrivals: Arrivals, instance: str, announced: int = 0, series: str = "s") -> None:
    arrivals.arrived(arrivals.spool.store(series, instance, b"x", "SCANNER"), announced)


def sizes(arrivals: Arrivals) -> list[int]:
    return [job.slices for job in arrivals.jobs.in_state("queued")]


def test_after_a_quiet_time(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0)
    arrive(arrivals, "a")
    clock.now += 29
    arrive(arrivals, "b")
    clock.now += 29
    assert arrivals.take_complete() == 0
    clock.now += 1
    assert arrivals.take_complete() == 1
    assert sizes(arrivals) == [2]
    assert arrivals.receiving() == 0


def test_when_the_announced_number_is_there(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0)
    arrive(arrivals, "a", announced=2)
    clock.now += 5
    assert arrivals.take_complete() == 0
    arrive(arrivals, "b")
    clock.now += 1
    assert arrivals.take_complete() == 1


def test_a_repeated_instance_does_not_count_twice(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0)
    for _ in range(2):
        arrive(arrivals, "a", announced=2)
    clock.now += 5
    assert arrivals.take_complete() == 0


def test_the_announced_number_can_be_ignored(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0, announced=False)
    arrive(arrivals, "a", announced=1)
    clock.now += 5
    assert arrivals.take_complete() == 0


def test_late_instances_are_a_job_of_the_same_series(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0)
    arrive(arrivals, "a")
    clock.now += 31
    arrivals.take_complete()
    arrive(arrivals, "b")
    clock.now += 31
    arrivals.take_complete()
    assert [(job.series, job.slices) for job in arrivals.jobs.in_state("queued")] == [("s", 1), ("s", 1)]


def test_series_are_taken_apart(tmp_path: Path, clock: Clock) -> None:
    arrivals = opened(tmp_path, quiet_seconds=30.0)
    arrive(arrivals, "a", series="s")
    arrive(arrivals, "a", series="t")
    clock.now += 31
    assert arrivals.take_complete() == 2


@pytest.mark.parametrize("moved", [False, True])
def test_a_kill_while_a_series_is_taken(tmp_path: Path, clock: Clock, *, moved: bool) -> None:
    before = opened(tmp_path, quiet_seconds=30.0)
    arrive(before, "a")
    number = before.jobs.add("s", "SCANNER")
    if moved:
        before.spool.take("s", number)
    after = opened(tmp_path, quiet_seconds=30.0)
    after.recover()
    assert sizes(after) == [1]
    clock.now += 31
    assert after.take_complete() == 0


def test_a_kill_before_a_series_is_complete(tmp_path: Path, clock: Clock) -> None:
    arrive(opened(tmp_path, quiet_seconds=30.0), "a")
    after = opened(tmp_path, quiet_seconds=30.0)
    after.recover()
    assert after.receiving() == 1
    clock.now += 31
    assert after.take_complete() == 1
    assert sizes(after) == [1]
