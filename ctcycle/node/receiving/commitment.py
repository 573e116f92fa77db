"""Storage commitment (PS3.4 annex J): say formally what is on disk, and take note of what a destination says."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from threading import Thread

from pydicom import Dataset
from pydicom.sequence import Sequence
from pynetdicom import AE, build_role, evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from ctcycle.config.tasks.node import CallerSettings, Serve
from ctcycle.node.classes import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from ctcycle.node.peers.secure import client_context
from ctcycle.node.queue.deliveries import Deliveries
from ctcycle.node.rarely import Rarely
from ctcycle.node.spool import Spool, hashed_name

_SUCCESS, _NO_SUCH_ACTION, _INVALID_ARGUMENT, _PROCESSING_FAILURE = 0x0000, 0x0123, 0x0115, 0x0110
_NO_SUCH_INSTANCE = 0x0112
_REQUEST, _ALL_COMMITTED, _SOME_FAILED = 1, 1, 2
_BEFORE_REPORT_S = 0.5
_MOST_INSTANCES = 100_000

_log = logging.getLogger(__name__)
_rarely = Rarely(_log)


@dataclass(frozen=True)
class Commitment:
    """Handlers of the two messages of storage commitment.

    Attributes:
        config: callers, to whom reports go.
        spool: the objects on disk.
        deliveries: what destinations have stored.
        complete: called with the number of a job that may be complete.
    """

    config: Serve
    spool: Spool
    deliveries: Deliveries
    complete: Callable[[int], object]

    def handlers(self) -> list[evt.EventHandlerType]:
        """Return the handlers for a server."""
        return [(evt.EVT_N_ACTION, self.requested), (evt.EVT_N_EVENT_REPORT, self.reported)]

    def requested(self, event: evt.Event) -> tuple[int, None]:
        """Answer a request, and report soon after what is on disk."""
        if event.action_type != _REQUEST:
            return _NO_SUCH_ACTION, None
        try:
            wanted = event.action_information
            items = [
                (str(one.ReferencedSOPClassUID), str(one.ReferencedSOPInstanceUID))
                for one in wanted.ReferencedSOPSequence
            ]
            report = self._report(str(wanted.TransactionUID), items[:_MOST_INSTANCES])
        except Exception:  # noqa: BLE001 (pydicom can raise anything on a broken request)
            return _INVALID_ARGUMENT, None
        Thread(target=self._send, args=(event.assoc, report), name="commitment", daemon=True).start()
        return _SUCCESS, None

    def reported(self, event: evt.Event) -> tuple[int, None]:
        """Take note of what a destination has committed itself to keep."""
        try:
            report = event.event_information
            committed, failed = _instances(report, "ReferencedSOPSequence"), _instances(report, "FailedSOPSequence")
            job = self.deliveries.reported(str(report.TransactionUID), committed, failed)
        except Exception:  # noqa: BLE001 (pydicom can raise anything on a broken report)
            return _PROCESSING_FAILURE, None
        if job is not None:
            if failed:
                _log.warning("job %d: storage commitment failed for %d objects; sending them again", job, len(failed))
            self.complete(job)
        return _SUCCESS, None

    def _report(self, transaction: str, items: Iterable[tuple[str, str]]) -> Dataset:
        there = self.spool.instances()
        committed, failed = [], []
        for sop_class, instance in items:
            one = Dataset()
            one.ReferencedSOPClassUID, one.ReferencedSOPInstanceUID = sop_class, instance
            if hashed_name(instance) in there:
                committed.append(one)
            else:
                one.FailureReason = _NO_SUCH_INSTANCE
                failed.append(one)
        report = Dataset()
        report.TransactionUID = transaction
        report.ReferencedSOPSequence = Sequence(committed)
        if failed:
            report.FailedSOPSequence = Sequence(failed)
        return report

    def _send(self, association: Association, report: Dataset) -> None:
        """Send a report: over a new association if we know where the peer listens, or over the one it has opened."""
        time.sleep(_BEFORE_REPORT_S)
        caller = self._caller(str(association.requestor.ae_title))
        kind = _SOME_FAILED if "FailedSOPSequence" in report else _ALL_COMMITTED
        try:
            if caller is None or caller.port is None:
                association.send_n_event_report(report, kind, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
                return
            address, tls = str(association.requestor.address), self.config.tls
            entity = AE(self.config.ae_title)
            opened = entity.associate(
                address,
                caller.port,
                contexts=[build_context(STORAGE_COMMITMENT)],
                ae_title=str(association.requestor.ae_title),
                ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
                tls_args=None if tls is None else (client_context(tls), address),
            )
            if not opened.is_established:
                _rarely.warning("commitment", "a storage commitment report could not be delivered; check callers")
                return
            opened.send_n_event_report(report, kind, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
            opened.release()
        except (RuntimeError, ValueError, OSError) as error:
            text = f"a storage commitment report could not be delivered ({type(error).__name__})"
            _rarely.warning("commitment", f"{text}; set the port of this caller in callers")

    def _caller(self, title: str) -> CallerSettings | None:
        return self.config.callers.get(title) or self.config.callers.get("*")


def _instances(report: Dataset, keyword: str) -> list[str]:
    return [str(one.ReferencedSOPInstanceUID) for one in report.get(keyword) or ()]
