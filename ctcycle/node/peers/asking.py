"""Ask a destination to commit itself to keep what it has stored."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.presentation import build_context

from ctcycle.node.classes import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE, VERIFICATION
from ctcycle.node.peers.dicom import DicomPeer
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.queue.deliveries import Deliveries, Delivery

_REQUEST = 1
_WAIT_S = 1.0
"""How long the association stays open for a report; most peers open one of their own later."""

_log = logging.getLogger(__name__)


@dataclass
class Asker:
    """Asks one destination.

    Attributes:
        name: of the destination.
        peer: the destination.
        minutes: ask again if there was no report for so long.
        deliveries: what it has stored.
        complete: called with the number of a job that may be complete.
        reported: handles a report that comes on the same association.
    """

    name: str
    peer: DicomPeer
    minutes: float
    deliveries: Deliveries
    complete: Callable[[int], object]
    reported: Callable[[evt.Event], Any]

    def ask(self) -> bool:
        """Ask for everything that was stored and not asked for yet; return whether there was any.

        Raises:
            PeerError: the destination does not answer.
        """
        stored = self.deliveries.uncommitted(self.name, time.time() - 60 * self.minutes)
        for job, items in stored.items():
            self._ask(job, items)
        return bool(stored)

    def _ask(self, job: int, items: Sequence[Delivery]) -> None:
        transaction = str(generate_uid(prefix=None))
        self.deliveries.asked(transaction, job, self.name)
        try:
            offered = self._send(transaction, items)
        except BaseException:
            self.deliveries.withdrawn(transaction)
            raise
        if not offered:
            _log.info("%s: offers no storage commitment; its answers to C-STORE count", self.name)
            self.deliveries.withdrawn(transaction)
            self.deliveries.not_offered(job, self.name)
            self.complete(job)

    def _send(self, transaction: str, items: Sequence[Delivery]) -> bool:
        """Send a request; return False if the destination does not offer storage commitment."""
        handlers: list[evt.EventHandlerType] = [(evt.EVT_N_EVENT_REPORT, self.reported)]
        contexts = [build_context(STORAGE_COMMITMENT), build_context(VERIFICATION)]
        with self.peer.associated(contexts, handlers) as association:
            if all(one.abstract_syntax != STORAGE_COMMITMENT for one in association.accepted_contexts):
                return False
            status, _ = association.send_n_action(
                _request(transaction, items), _REQUEST, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
            )
            if status.get("Status") != 0:
                raise PeerError("did not accept a request for storage commitment")
            time.sleep(_WAIT_S)
        return True


def _request(transaction: str, items: Sequence[Delivery]) -> Dataset:
    request = Dataset()
    request.TransactionUID = transaction
    wanted = []
    for item in items:
        one = Dataset()
        one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = item.sop_class, item.instance
        wanted.append(one)
    request.ReferencedSOPSequence = DicomSequence(wanted)
    return request
