"""A pull remembers what it has fetched."""

from pathlib import Path

from ctcycle.node.queue.database import Database
from ctcycle.node.queue.pulls import Pulls


def test_studies_are_fetched_once_and_those_that_failed_come_last(tmp_path: Path) -> None:
    pulls = Pulls(Database(tmp_path / "queue.db"))
    assert pulls.add("p", ["1.1", "1.2", "1.1"]) == 2
    assert pulls.add("p", ["1.1", "1.3"]) == 1
    assert pulls.next("p") == "1.1"
    assert pulls.begin("p", "1.1") == 1
    assert pulls.next("p") == "1.2"
    pulls.end("p", "1.2", "fetched")
    pulls.end("p", "1.3", "failed")
    again = Pulls(Database(tmp_path / "queue.db"))
    assert again.next("p") == "1.1"
    assert again.count("p") == 3
    assert again.counts() == [("p", "failed", 1), ("p", "fetched", 1), ("p", "found", 1)]
    assert again.next("other") is None
