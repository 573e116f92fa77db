"""Items come in order and with their errors, while threads read and write others."""

import threading
import time
from collections.abc import Iterator

import pytest

from ctcycle.inference.engines.ahead import ahead, written_meanwhile


def threads(name: str = "ahead") -> int:
    return sum(thread.name == name for thread in threading.enumerate())


def test_items_come_in_order_and_the_thread_ends() -> None:
    assert list(ahead(range(50), 3)) == list(range(50))
    assert list(ahead([])) == []
    assert threads() == 0


def test_the_next_items_are_computed_meanwhile() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        for number in range(6):
            made.append(number)
            yield number

    found = ahead(items(), 2)
    assert next(found) == 0
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert made == [0, 1, 2, 3]  # one handed over, two waiting, one that found no room
    assert list(found) == [1, 2, 3, 4, 5]


def test_an_error_is_raised_where_the_items_are_used() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("slice 2")

    with pytest.raises(ValueError, match="slice 2"):
        list(ahead(items()))
    assert threads() == 0


def test_a_consumer_that_gives_up_stops_the_thread() -> None:
    def give_up() -> None:
        for item in ahead(iter(range(1000))):
            if item == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert threads() == 0


def test_items_are_written_in_order_in_a_thread_and_computed_in_this_one() -> None:
    computed_by, written_by, written = set(), set(), []

    def items() -> Iterator[int]:
        for number in range(50):
            computed_by.add(threading.current_thread())
            yield number

    def write(incoming: Iterator[int]) -> None:
        for item in incoming:
            written_by.add(threading.current_thread().name)
            written.append(item)

    written_meanwhile(items(), write)
    assert written == list(range(50))
    assert computed_by == {threading.current_thread()}
    assert written_by == {"writing"}
    assert threads("writing") == 0


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_the_writer_cleans_up_if_computing_fails_or_is_interrupted(kind: type[BaseException]) -> None:
    cleaned_up = []

    def items() -> Iterator[int]:
        yield from range(10)
        raise kind("slice 10")

    def write(incoming: Iterator[int]) -> None:
        try:
            for _item in incoming:
                time.sleep(0.01)
        except BaseException:
            cleaned_up.append(True)
            raise

    with pytest.raises(kind, match="slice 10"):
        written_meanwhile(items(), write)
    assert cleaned_up == [True]
    assert threads("writing") == 0


def test_nothing_more_is_computed_once_writing_has_failed() -> None:
    made = []

    def items() -> Iterator[int]:
        for number in range(1000):
            made.append(number)
            yield number

    def write(incoming: Iterator[int]) -> None:
        next(incoming)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        written_meanwhile(items(), write)
    assert len(made) < 1000
    assert threads("writing") == 0
