"""The interface of a destination."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from ctcycle.node.queue.deliveries import Answer, Delivery


class PeerError(Exception):
    """A peer cannot be reached, or does not answer, or is out of resources; the same may work later.

    The message is one sentence without identity.
    """


class Peer(Protocol):
    """A destination."""

    def check(self) -> None:
        """Check that the peer answers.

        Raises:
            PeerError: it does not.
        """

    def send(self, items: Iterable[tuple[Delivery, Path]]) -> Iterator[tuple[Delivery, Answer, str]]:
        """Send objects over one connection; yield the answer to each, with the reason of a refusal.

        Raises:
            PeerError: the rest could not be sent.
        """
