"""Items come in order and with their errors, while a thread computes the next ones."""

import threading
import time
from collections.abc import Iterator

import pytest
import torch

from ctcycle.inference.engines.ahead import ahead


def threads() -> int:
    return sum(thread.name == "ahead" for thread in threading.enumerate())


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


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("slice 2")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="slice 2"):
        next(found)
    assert threads() == 0


def test_a_consumer_that_gives_up_stops_the_thread() -> None:
    def give_up() -> None:
        for item in ahead(iter(range(1000))):
            if item == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        give_up()
    assert threads() == 0


def test_the_thread_computes_with_as_many_torch_threads() -> None:
    before = torch.get_num_threads()
    assert list(ahead(torch.get_num_threads() for _ in range(2))) == [before, before]
