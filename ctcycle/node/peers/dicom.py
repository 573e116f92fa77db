"""A destination that takes objects by C-STORE."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.presentation import PresentationContext, build_context

from ctcycle.config.tasks.node import DestinationSettings
from ctcycle.ct.dicom.silence import quiet
from ctcycle.node.classes import VERIFICATION
from ctcycle.node.peers.peer import PeerError
from ctcycle.node.peers.secure import client_context
from ctcycle.node.queue.deliveries import Answer, Delivery

_config.STORE_SEND_CHUNKED_DATASET = True  # files are sent as they are, without loading them
_PLAIN = [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
_MOST_CONTEXTS = 126
_STORED = {0x0000, 0x0111, 0x0001, 0x0107, 0x0116}
"""Success, "exists already", and warnings; so are all of 0xB000 to 0xBFFF."""
_LATER = {0x0110, 0x0213}
"""Processing failure and resource limitation, of which a peer may recover."""

_log = logging.getLogger(__name__)


class DicomPeer:
    """A peer that is an application entity.

    Args:
        settings: its title and address.
        ae_title: ours.
    """

    def __init__(self, settings: DestinationSettings, ae_title: str) -> None:
        self._settings, self._ae_title = settings, ae_title
        self._tls = None if settings.tls is None else (client_context(settings.tls), settings.host or "")

    def check(self) -> None:
        """Check that the peer answers C-ECHO.

        Raises:
            PeerError: it does not.
        """
        with self.associated([build_context(VERIFICATION)]) as association:
            if association.send_c_echo().get("Status") != 0:
                raise PeerError("does not answer C-ECHO; check its AE title and whether it knows ours")

    def send(self, items: Iterable[tuple[Delivery, Path]]) -> Iterator[tuple[Delivery, Answer, str]]:
        """Send objects over one association, see `ctcycle.node.peers.peer.Peer.send`.

        Raises:
            PeerError: the rest could not be sent.
        """
        known = list(items)
        with self.associated(_contexts([delivery for delivery, _ in known])) as association:
            for delivery, path in known:
                yield (delivery, *_answer(_stored(association, path), delivery))

    @contextmanager
    def associated(
        self, contexts: Sequence[PresentationContext], handlers: Sequence[EventHandlerType] = ()
    ) -> Iterator[Association]:
        """Yield an association, released at the end, aborted after an error.

        Args:
            contexts: what to propose.
            handlers: for what the peer may send.

        Raises:
            PeerError: there is none, or it ended.
        """
        settings = self._settings
        entity = AE(self._ae_title)
        for name in ("acse_timeout", "dimse_timeout", "network_timeout", "connection_timeout"):
            setattr(entity, name, settings.timeout_seconds)
        association = entity.associate(
            settings.host or "",
            settings.port or 0,
            contexts=list(contexts),
            ae_title=settings.ae_title or "",
            tls_args=self._tls,
            evt_handlers=list(handlers),
        )
        if not association.is_established:
            what = "refuses the association" if association.is_rejected else "does not answer"
            raise PeerError(f"{what}; check address, AE titles and whether it runs")
        try:
            yield association
        except BaseException:
            association.abort()
            raise
        association.release()


def _contexts(deliveries: Sequence[Delivery]) -> list[PresentationContext]:
    wanted = [(one.sop_class, one.syntax) for one in deliveries]
    plain = [(one.sop_class, str(syntax)) for one in deliveries if one.syntax in _PLAIN for syntax in _PLAIN]
    pairs = dict.fromkeys((*wanted, *plain))
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in islice(pairs, _MOST_CONTEXTS)]
    return [*contexts, build_context(VERIFICATION)]  # accepted by every peer, so that each object gets its own answer


def _stored(association: Association, path: Path) -> Dataset | None:
    """Return the answer to C-STORE; None if no context for the object was accepted.

    Raises:
        PeerError: there is no association any more.
    """
    try:
        try:
            return association.send_c_store(path)
        except ValueError:  # not accepted as it is encoded; pynetdicom converts between uncompressed encodings
            with quiet():
                return association.send_c_store(dcmread(path))
    except ValueError:
        return None
    except RuntimeError as error:
        raise PeerError("has ended the association") from error


def _answer(status: Dataset | None, delivery: Delivery) -> tuple[Answer, str]:
    """Return what an answer means.

    Raises:
        PeerError: the same may work later.
    """
    if status is None:
        return "refused", f"does not accept objects of class {delivery.sop_class} in syntax {delivery.syntax}"
    code = status.get("Status")
    if code is None:
        raise PeerError("did not answer C-STORE in time, or ended the association")
    if code in _STORED or code >> 12 == 0xB:
        return "stored", ""
    if code >> 8 == 0xA7 or code in _LATER:
        raise PeerError(f"is out of resources or failed (0x{code:04X})")
    return "refused", f"refused the object (0x{code:04X})"
