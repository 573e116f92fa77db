# Copied from ctcycle 0.1.0 (Apache-2.0) when the bundle was made.
"""How the series of a folder are shared by several processes that denoise them together."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol, TypeVar

ValueT = TypeVar("ValueT")


class Sharing(Protocol):
    """What the processes exchange; the module `ctcycle.runs.ranks` is one."""

    def is_first(self) -> bool:
        """Return whether this process writes what all have in common."""

    def is_mine(self, number: int) -> bool:
        """Return whether this process denoises series ``number``."""

    def from_first(self, make: Callable[[], ValueT]) -> ValueT:
        """Return what ``make`` returns in the first process."""

    def opened_by_first(self, open_it: Callable[[], AbstractContextManager[ValueT]]) -> AbstractContextManager[ValueT]:
        """Enter a context in the first process only."""

    def from_all(self, value: ValueT) -> list[ValueT]:
        """Return the values of all processes, that of the first one first."""


@dataclass(frozen=True)
class Alone:
    """One process, which does everything."""

    def is_first(self) -> bool:
        """Return True."""
        return True

    def is_mine(self, _number: int) -> bool:
        """Return True."""
        return True

    def from_first(self, make: Callable[[], ValueT]) -> ValueT:
        """Return what ``make`` returns."""
        return make()

    @contextmanager
    def opened_by_first(self, open_it: Callable[[], AbstractContextManager[ValueT]]) -> Iterator[ValueT]:
        """Enter the context."""
        with open_it() as value:
            yield value

    def from_all(self, value: ValueT) -> list[ValueT]:
        """Return the value."""
        return [value]
